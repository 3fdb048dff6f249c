"""Copies of an image share a group, and images that only look plain do not."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from skyfold.data.duplicates import duplicate_groups, files_of_samples, identical_samples, near_pairs
from skyfold.data.images import BandFiles, ImageFiles, image_paths


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (192, 128), interpolation=cv2.INTER_CUBIC))


def saved(path: Path, image: np.ndarray, **options: object) -> Path:
    Image.fromarray(image).save(path, **options)
    return path


def test_a_copy_and_a_recompressed_smaller_copy_join_the_original(tmp_path: Path) -> None:
    first, second = picture(0), picture(1)
    files = ImageFiles(
        [
            saved(tmp_path / "a.png", first),
            saved(tmp_path / "b.png", second),
            saved(tmp_path / "c.png", first),
            saved(tmp_path / "d.jpg", np.asarray(cv2.resize(second, (96, 64), interpolation=cv2.INTER_AREA))),
        ]
    )
    assert duplicate_groups(files, bits=3).tolist() == [0, 1, 0, 1]
    assert duplicate_groups(files, bits=-1).tolist() == [0, 1, 0, 2]


def test_given_groups_are_joined_through_a_copy(tmp_path: Path) -> None:
    # b is a copy of a; b and c are of one scene: all three belong together.
    pictures = [picture(0), picture(0), picture(1), picture(2)]
    files = ImageFiles([saved(tmp_path / f"{i}.png", image) for i, image in enumerate(pictures)])
    scenes = np.array(["north", "south", "south", "east"])
    assert duplicate_groups(files, bits=3, groups=scenes).tolist() == [0, 0, 0, 1]


def test_plain_images_are_compared_byte_for_byte(tmp_path: Path) -> None:
    mostly_black = [np.zeros((64, 96, 3), np.uint8) for _ in range(2)]
    mostly_black[0][:20, :20] = 255
    mostly_black[1][:20, 5:30] = 250
    plain = [np.full((64, 96, 3), level, np.uint8) for level in (10, 200, 10)]
    files = ImageFiles([saved(tmp_path / f"{i}.png", image) for i, image in enumerate(mostly_black + plain)])
    assert duplicate_groups(files, bits=3).tolist() == [0, 1, 2, 3, 2]


def test_samples_of_several_files_are_copies_where_all_their_files_are(tmp_path: Path) -> None:
    """One file a band; the first band of all is dark, as at night."""
    bands = {"a": (0, 1), "b": (0, 2), "c": (0, 1), "d": (1, 0)}
    files = BandFiles(
        [
            tuple(saved(tmp_path / f"{name}{place}.png", picture(seed)[..., 0]) for place, seed in enumerate(seeds))
            for name, seeds in bands.items()
        ]
    )
    assert duplicate_groups(files, bits=-1).tolist() == [0, 1, 0, 2]
    assert identical_samples(files_of_samples(files)) == [[0, 2]]


@pytest.mark.parametrize("scale", [257, 1 / 255])
def test_near_copies_of_deep_images_are_found_as_those_of_bytes(tmp_path: Path, scale: float) -> None:
    """In units of 65,535 and of 1, with pixels of no measurement."""

    class DeepFiles(ImageFiles):
        def resized(self, index: int, size: tuple[int, int]) -> np.ndarray:
            values = super().resized(index, size).astype(np.float32) * np.float32(scale)
            values[:1, :2] = np.nan
            return values

    pictures = [picture(0), picture(1), cv2.resize(picture(0), (96, 64), interpolation=cv2.INTER_AREA)]
    files = DeepFiles([saved(tmp_path / f"{i}.png", np.asarray(image)) for i, image in enumerate(pictures)])
    assert duplicate_groups(files, bits=3).tolist() == [0, 1, 0]


def test_blocked_comparison_finds_the_same_pairs_as_the_slow_way() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (600, 4)).astype(np.uint64)
    hashes[[300, 599]] = hashes[[5, 299]]
    hashes[300, 1] ^= np.uint64(0b10101)
    hashes[599, 0] ^= np.uint64(0b1111)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(bool)
    slow = [(i, j) for i in (5, 299) for j in range(i + 1, 600) if (bits[i] ^ bits[j]).sum() <= 3]
    assert near_pairs(hashes, 3).tolist() == [list(pair) for pair in slow] == [[5, 300]]
    assert near_pairs(hashes, 4).tolist() == [[5, 300], [299, 599]]


@pytest.mark.real_data
@pytest.mark.skipif("SKYFOLD_DATA" not in os.environ, reason="SKYFOLD_DATA names no folder of real data")
@pytest.mark.parametrize(("name", "copies"), [("wsiseg", 10), ("l8biome_rgb", 0)])
def test_copies_in_real_data_are_found_and_distinct_images_stay_apart(name: str, copies: int) -> None:
    files = ImageFiles(image_paths(Path(os.environ["SKYFOLD_DATA"]) / name / "images"))
    sizes = np.bincount(duplicate_groups(files, bits=-1))
    assert (sizes - 1).sum() == copies
    assert sizes.max() <= 2
    assert len(sizes) == duplicate_groups(files, bits=3).max() + 1
