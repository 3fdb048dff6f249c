"""Scenes stand in for arrays: epochs see their crops, their content is that of the files, and they are never held."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.competition import build
from skyfold.data.cache import TrainingArrays
from skyfold.data.crops import CropPlan, EpochCrops
from skyfold.data.images import ImageFiles, resize
from skyfold.data.masks import ClassTable, MaskFiles
from skyfold.data.rescale import Rescale
from skyfold.data.scene_arrays import SceneArrays, scene_arrays
from skyfold.data.windows import ArrayWindows
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.training.network import Network
from skyfold.training.predict_scenes import scene_probabilities, strips_on_grid
from skyfold.training.tiles import Tiling
from skyfold.types import Samples

PLAN = CropPlan((16, 16), crops_per_image=4, scales=(0.5, 2.0), balanced=1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "files"
    write_sample = build("cloud_cover").write_sample
    write_sample(folder, train=3, validation=1, test=2, side=64)
    return folder


def opened(folder: Path, cache: Path, part: str = "train", **options: Any) -> SceneArrays:
    return scene_arrays(build("cloud_cover", options, folder).load(folder, part), PLAN, cache=cache)


def crops(arrays: SceneArrays, rows: list[int], epoch: int) -> EpochCrops:
    found, numbers = arrays.epoch_rows(np.array(rows), seed=0, epoch=epoch)
    assert numbers.tolist() == list(range(4 * len(rows)))
    return found


def test_an_epoch_sees_all_crops_of_its_scenes_and_the_next_one_others(files: Path, tmp_path: Path) -> None:
    arrays = opened(files, tmp_path)
    assert arrays.input_shape == (16, 16, 3)
    first = crops(arrays, [3, 1], epoch=0)
    assert list(first.scenes) == [arrays.scenes[3], arrays.scenes[1]]
    again, other = crops(arrays, [3, 1], epoch=0), crops(arrays, [3, 1], epoch=1)
    assert [again.crop(row) for row in range(8)] == [first.crop(row) for row in range(8)]
    assert [other.crop(row) for row in range(8)] != [first.crop(row) for row in range(8)]


def test_a_scene_that_is_drawn_twice_is_cropped_in_other_places(files: Path, tmp_path: Path) -> None:
    twice = crops(opened(files, tmp_path), [2, 2], epoch=0)
    assert [twice.crop(row) for row in range(4)] != [twice.crop(row) for row in range(4, 8)]


def test_every_epoch_is_validated_on_the_same_crops_at_the_scale_of_the_scene(files: Path, tmp_path: Path) -> None:
    arrays = opened(files, tmp_path)
    (one, numbers), (other, _) = (arrays.validation_rows(np.array([0, 2])) for _ in range(2))
    drawn = [one.crop(int(row)) for row in numbers]
    assert [other.crop(int(row)) for row in numbers] == drawn
    assert {(crop.height, crop.width) for crop in drawn} == {(16, 16)}
    assert one.plan.balanced == 0  # a score says how much of all scenes is right
    assert len({(crop.top, crop.left) for crop in drawn}) > 4


def test_arrays_of_whole_images_are_learned_from_as_they_are() -> None:
    whole = TrainingArrays(np.array(["a"]), np.zeros((1, 8, 8, 3), np.uint8), None)
    rows = np.array([0])
    for arrays, numbers in (whole.epoch_rows(rows, seed=0, epoch=5), whole.validation_rows(rows)):
        assert arrays is whole
        assert numbers is rows


def test_content_is_that_of_the_files_and_of_what_their_colours_mean(files: Path, tmp_path: Path) -> None:
    checksum = opened(files, tmp_path / "cache").checksum
    moved = Path(shutil.copytree(files, tmp_path / "moved"))
    label = moved / "labels" / "train" / "scene_0001.png"
    os.utime(label, (1, 1))
    assert opened(moved, tmp_path / "cache of moved").checksum == checksum
    colours = {"background": "#000000", "thick_cloud": "#00ff00", "thin_cloud": "#ff0000", "shadow": "#0000ff"}
    assert opened(files, tmp_path / "cache", colours=colours).checksum != checksum
    shutil.copy(moved / "labels" / "train" / "scene_0000.png", tmp_path / "other.png")
    shutil.copy(tmp_path / "other.png", label)
    shutil.copy(moved / "images" / "train" / "scene_0000.png", moved / "images" / "train" / "scene_0001.png")
    assert opened(moved, tmp_path / "cache of moved").checksum != checksum


def test_scenes_to_predict_have_no_labels(files: Path, tmp_path: Path) -> None:
    arrays = opened(files, tmp_path, part="test")
    assert arrays.scenes is None
    assert arrays.ids.tolist() == ["scene_0004", "scene_0005"]
    assert [max(image.shape) for image in arrays.images] == [64, 64]


def test_data_that_are_no_image_files_are_refused(tmp_path: Path) -> None:
    samples = Samples(ids=np.array(["a"]), inputs=[np.zeros((8, 8, 3), np.uint8)], targets=None)
    with pytest.raises(ConfigError, match=r"image\.crop: crops are cut from image files"):
        scene_arrays(samples, PLAN, cache=tmp_path)


@dataclass(frozen=True)
class PartlyMeasured(ImageFiles):
    """Scenes whose first one has no measurement in its left half."""

    def defined(self, index: int) -> np.ndarray | None:
        return None if index else np.arange(48) >= np.full((40, 1), 24)


def deep_scenes(folder: Path, dtype: type = np.uint16) -> Samples:
    """Two scenes of 40 x 48 in tiled TIFFs: 1 to 4 in the bands of the first, 11 to 14 in those of the second."""
    folder.mkdir()
    paths, masks = [], []
    for i in range(2):
        paths.append(folder / f"{i}.tif")
        image = np.full((40, 48, 4), [1, 2, 3, 4]).astype(dtype) + dtype(10 * i)
        tifffile.imwrite(paths[-1], image, photometric="rgb", tile=(16, 16), compression="zlib")
        masks.append(folder / f"{i}.png")
        cv2.imwrite(str(masks[-1]), np.zeros((40, 48), np.uint8))
    table = ClassTable.parse({"ground": 0}, background=None, ignore_value=None)
    return Samples(np.array(["a", "b"]), PartlyMeasured(paths, bands=4), MaskFiles(masks, table, (40, 48)))


def test_deep_scenes_keep_their_type_and_tell_the_pixels_that_are_measured(tmp_path: Path) -> None:
    arrays = scene_arrays(deep_scenes(tmp_path / "files"), PLAN, cache=tmp_path / "cache")
    assert arrays.input_shape == (16, 16, 4)
    assert [image.dtype for image in arrays.images] == [np.uint16] * 2
    pixels = [np.concatenate(list(arrays.pixels(np.array([row])))) for row in (0, 1)]
    assert [len(some) for some in pixels] == [40 * 24, 40 * 48]
    assert [np.unique(some, axis=0).tolist() for some in pixels] == [[[1, 2, 3, 4]], [[11, 12, 13, 14]]]
    assert arrays.images[0].read(3, 22, 1, 4)[0, :, 0].tolist() == [0, 0, 1, 1]  # filled with the least of the type
    assert arrays.scenes is not None
    assert [scene.counts.sum() for scene in arrays.scenes] == [40 * 24, 40 * 48]  # no crop is drawn around the others
    crops, _ = arrays.epoch_rows(np.array([0]), seed=0, epoch=3)
    for row in range(4):
        crop, valid = crops.crop(row), crops.targets[row][..., -1] > 0
        assert set(np.unique(crops.inputs[row][valid][:, 0])) <= {1}  # a mean of what is measured, of nothing else
        assert valid.any() == (crop.left + crop.width > 24)
        assert valid.all() == (crop.left >= 24)


def test_scenes_of_several_types_are_named(tmp_path: Path) -> None:
    samples = deep_scenes(tmp_path / "files")
    tifffile.imwrite(tmp_path / "files/1.tif", np.zeros((40, 48, 4), np.int16), photometric="rgb")
    with pytest.raises(DataLayoutError, match=r"1\.tif: int16, .*0\.tif uint16\. Write all images with one type"):
        scene_arrays(samples, PLAN, cache=tmp_path / "cache")


def test_a_deep_scene_is_predicted_as_its_bytes_are() -> None:
    """257 v of 65,535 is v of 255."""
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    network = network_of(lambda inputs: inputs[..., :2] - 0.5, batch_size=2, tta=("hflip",))
    rescale = Rescale((0.0,), (65535.0,), "uint16")
    of_bytes, of_words = (
        scene_probabilities(
            network, [lambda own=own: own], ArrayWindows(values, 3), Tiling((16, 16), 4), (40, 30), on_tile=lambda: None
        )
        for values, own in ((image, None), (image.astype(np.uint16) * 257, rescale))
    )
    np.testing.assert_allclose(of_words, of_bytes, atol=1e-6)
    assert of_bytes.std() > 0.05


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    grid=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    step=st.integers(1, 20),
)
def test_strips_are_brought_to_the_grid_as_the_whole_would_be(size, grid, step):
    values = np.random.default_rng(0).random((*size, 4), dtype=np.float32)
    strips = (values[top : top + step] for top in range(0, size[0], step))
    shrinks_or_grows = (np.less_equal(grid, size).all(), np.greater_equal(grid, size).all())
    found = strips_on_grid(strips, size[0], grid)
    assert found.shape == (*grid, 4)
    if any(shrinks_or_grows):
        np.testing.assert_allclose(found, resize(values, grid), atol=1e-5)
    else:  # columns first, then rows, each as it needs it
        np.testing.assert_allclose(found, resize(resize(values, (size[0], grid[1])), grid), atol=1e-5)


def network_of(logits: Any, *, batch_size: int, tta: tuple[str, ...] = ()) -> Network:
    """A network that only predicts, by the function `logits`."""
    objective, config = SimpleNamespace(normalization="unit"), SimpleNamespace(tta=tta)
    return cast(
        Network, SimpleNamespace(predicted_batch_size=batch_size, logits=logits, objective=objective, config=config)
    )


class BigScene:
    """8 megapixels that are made when they are read, so that memory is that of the prediction alone."""

    shape = (4000, 2000, 3)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), 255 * (top // 64 % 2), np.uint8)


def test_a_big_scene_is_predicted_in_the_memory_of_a_row_of_tiles() -> None:
    def logits(inputs: np.ndarray) -> np.ndarray:
        assert inputs.shape == (4, 64, 64, 3)
        return np.repeat(inputs[..., :1], 2, axis=-1)

    network = network_of(logits, batch_size=4)
    tracemalloc.start()
    members = [lambda: None, lambda: None]
    found = scene_probabilities(network, members, BigScene(), Tiling((64, 64), 8), (32, 32), on_tile=lambda: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (32, 32, 2)
    row_of_tiles = 64 * 2000 * (3 + 3 * 2 * 4)
    narrow = 4000 * 32 * 2 * 4
    batch = 4 * 64 * 64 * 3 * 4
    assert peak < 1.3 * (row_of_tiles + 2 * narrow + 6 * batch)
    assert peak < 4000 * 2000 * 3 / 3  # a third of the image


def test_members_and_views_are_averaged() -> None:
    """Two networks, 0.2 and 0.6 on the left of a tile, 0 on the right; and each seen in a mirror."""
    level = [0.0]

    def logits(inputs: np.ndarray) -> np.ndarray:
        probability = np.full((*inputs.shape[:3], 1), 1e-9, np.float32)
        probability[:, :, :8] = level[0]
        return np.log(probability / (1 - probability))

    def members() -> Iterator[Any]:
        for value in (0.2, 0.6):
            yield lambda value=value: level.__setitem__(0, value)

    def predicted(flips: tuple[str, ...]) -> np.ndarray:
        network = network_of(logits, batch_size=1, tta=flips)
        scene = SimpleNamespace(shape=(16, 16, 3), read=lambda *window: np.zeros((16, 16, 3), np.uint8))
        tiling = Tiling((16, 16), 0)
        return scene_probabilities(network, list(members()), scene, tiling, (16, 16), on_tile=lambda: None)

    np.testing.assert_allclose(predicted(())[:, :8], 0.4, atol=1e-6)
    np.testing.assert_allclose(predicted(())[:, 8:], 0.0, atol=1e-6)
    np.testing.assert_allclose(predicted(("hflip",)), 0.2, atol=1e-6)
