"""Crops lie in their scenes, show rare classes as often as common ones, and are the same whenever they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skyfold.data.crops import CELL, CropPlan, EpochCrops, Scene, count_classes, draw_crop, open_scenes
from skyfold.data.masks import NONE, UNDEFINED, ClassTable
from skyfold.data.windows import ArrayWindows
from skyfold.errors import DataLayoutError

COLOURS = {"ground": "#000000", "cloud": "#ffffff", "speck": "#ff0000"}
TABLE = ClassTable.parse(COLOURS, background=None, ignore_value=None)


def scene_of(labels: np.ndarray, classes: int = 3) -> Scene:
    """Its image says where a pixel is: row and column, modulo 256."""
    rows, columns = np.indices(labels.shape)
    image = np.stack([rows, columns, labels], axis=-1).astype(np.uint8)
    windows = ArrayWindows(labels[..., np.newaxis], 1)
    return Scene(ArrayWindows(image, 3), windows, count_classes(windows, classes))


def rare() -> np.ndarray:
    """Ground, a corner of cloud, and a speck of 3 x 4 pixels, a three-thousandth of the scene."""
    labels = np.zeros((200, 170), np.uint8)
    labels[:60, :50] = 1
    labels[150:153, 100:104] = 2
    return labels


def test_pixels_of_each_class_are_counted_in_squares_and_numbered() -> None:
    labels = np.random.default_rng(0).choice(3, size=(150, 90), p=[0.9, 0.09, 0.01]).astype(np.uint8)
    labels[0, 0], labels[0, 1] = UNDEFINED, NONE
    scene = scene_of(labels)
    assert scene.counts.shape == (3, 2, 3)
    for row, column in np.ndindex(3, 2):
        square = labels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        assert scene.counts[row, column].tolist() == [(square == place).sum() for place in range(3)]
    for place in range(3):
        found = [scene.pixel(place, number) for number in range(int((labels == place).sum()))]
        assert sorted(found) == sorted(zip(*map(np.ndarray.tolist, np.nonzero(labels == place)), strict=True))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120), st.integers(1, 120), st.integers(0, 99))
def test_a_crop_lies_in_its_scene_and_keeps_its_proportions(height: int, width: int, h: int, w: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    crop = draw_crop(scene_of(labels), (h, w), balanced=0.5, rng=np.random.default_rng(seed))
    assert 0 <= crop.top <= height - crop.height
    assert 0 <= crop.left <= width - crop.width
    shrink = min(1, height / h, width / w)
    assert (crop.height, crop.width) == (max(1, round(h * shrink)), max(1, round(w * shrink)))


def test_balanced_crops_show_a_speck_as_often_as_the_ground() -> None:
    """Each of three classes is the aim of a third of the crops; the speck is then always in it."""
    scene = scene_of(rare())

    def share_with_speck(balanced: float) -> float:
        crops = EpochCrops([scene], CropPlan((24, 24), crops_per_image=600, balanced=balanced), 3, seed=0, epoch=0)
        return float(np.mean([crops.targets[row][..., 2].any() for row in range(len(crops))]))

    anywhere = share_with_speck(0)
    assert anywhere < 0.05  # of 177 x 147 places, (24 + 2) x (24 + 3) see a part of it: 2.7 %
    assert share_with_speck(1) == pytest.approx(1 / 3 + 2 / 3 * anywhere, abs=0.06)


def test_only_classes_that_a_scene_has_are_aimed_at() -> None:
    labels = np.full((80, 80), UNDEFINED, np.uint8)
    assert draw_crop(scene_of(labels), (16, 16), balanced=1, rng=np.random.default_rng(0)).height == 16
    labels[70, 10] = 2
    crop = draw_crop(scene_of(labels), (16, 16), balanced=1, rng=np.random.default_rng(0))
    assert crop.top <= 70 < crop.top + 16
    assert crop.left <= 10 < crop.left + 16


def test_all_crops_of_an_epoch_have_one_size_and_epochs_have_others() -> None:
    plan = CropPlan((32, 48), crops_per_image=5, scales=(0.5, 2.0))
    sizes = []
    for epoch in range(40):
        crops = EpochCrops([scene_of(rare())] * 2, plan, 3, seed=1, epoch=epoch)
        assert len(crops) == 10
        drawn = {(crops.crop(row).height, crops.crop(row).width) for row in range(len(crops))}
        assert drawn == {plan.side(seed=1, epoch=epoch)}
        sizes.append(drawn.pop())
    heights = np.array([height for height, _ in sizes])
    assert len(set(sizes)) > 20
    assert 16 <= heights.min() <= heights.max() <= 64
    assert 0.3 < (heights < 32).mean() < 0.7  # even by ratio: as often halved as doubled
    assert all(abs(width - 1.5 * height) <= 1.5 for height, width in sizes)
    assert plan.side(seed=2, epoch=0) != sizes[0]


def test_image_and_masks_of_a_crop_are_of_the_same_place() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (100, 120)).astype(np.uint8)
    labels[:, 100:] = UNDEFINED
    crops = EpochCrops([scene_of(labels)], CropPlan((20, 30), crops_per_image=20), 3, seed=0, epoch=3)
    undefined = 0
    for row in range(len(crops)):
        image, target, crop = crops.inputs[row], crops.targets[row], crops.crop(row)
        assert (image.shape, target.shape) == ((20, 30, 3), (20, 30, 4))
        assert image[0, 0, :2].tolist() == [crop.top, crop.left]
        for place in range(3):
            assert np.array_equal(target[..., place] == 1, image[..., 2] == place)
        assert np.array_equal(target[..., 3] == 0, image[..., 2] == UNDEFINED)
        undefined += int((target[..., 3] == 0).sum())
    assert undefined
    reduced = EpochCrops([scene_of(rare())], CropPlan((16, 16), scales=(3.0, 3.0)), 3, seed=0, epoch=0)
    assert reduced.crop(0).height == 48
    assert (reduced.inputs[0].shape, reduced.targets[0].shape) == ((16, 16, 3), (16, 16, 4))


def test_a_crop_depends_on_seed_epoch_and_row_alone() -> None:
    scene, plan = scene_of(rare()), CropPlan((16, 16), crops_per_image=8)

    def crops(seed: int, epoch: int) -> EpochCrops:
        return EpochCrops([scene, scene], plan, 3, seed=seed, epoch=epoch)

    once = [crops(0, 0).crop(row) for row in range(16)]
    assert [crops(0, 0).crop(row) for row in reversed(range(16))] == once[::-1]
    assert len({(crop.top, crop.left) for crop in once}) > 12
    assert [crops(0, 1).crop(row) for row in range(16)] != once
    assert [crops(1, 0).crop(row) for row in range(16)] != once


def test_a_crop_reads_itself_and_a_square_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((1500, 1400), np.uint8)
    labels[700:900] = 1
    crops = EpochCrops([scene_of(labels, 2)], CropPlan((32, 32), crops_per_image=10, balanced=1), 2, seed=0, epoch=0)
    read, pixels = ArrayWindows.read, []

    def watched(self: ArrayWindows, top: int, left: int, height: int, width: int) -> np.ndarray:
        pixels.append(height * width)
        return read(self, top, left, height, width)

    monkeypatch.setattr(ArrayWindows, "read", watched)
    for row in range(10):
        crops.inputs[row], crops.targets[row]
    assert min(pixels) == 32 * 32
    assert max(pixels) <= CELL * CELL


def test_scenes_are_opened_from_files_and_counted_once(tmp_path: Path) -> None:
    labels = rare()
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.uint8)[labels]
    paths = []
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "a.png")
        Image.fromarray(colours).save(paths[-1])

    def opened() -> tuple[Scene, dict[Path, int]]:
        (scene,) = open_scenes(paths[:1], paths[1:], TABLE, cache=tmp_path / "cache")
        return scene, {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}

    scene, written = opened()
    assert np.array_equal(scene.counts, scene_of(labels).counts)
    assert np.array_equal(scene.labels.read(0, 0, 200, 170)[..., 0], labels)
    assert np.array_equal(scene.image.read(0, 0, 200, 170), colours)
    assert len(written) == 3
    assert opened()[1] == written
    Image.fromarray(colours[:100]).save(paths[1])
    with pytest.raises(DataLayoutError, match=r"images/a\.png: 200x170 pixels, its label 100x170"):
        opened()
