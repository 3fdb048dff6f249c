"""A scene predicted tile by tile is predicted as if it had been seen at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.data.windows import ArrayWindows
from skyfold.training.tiles import Tiling, predict_scene, tile_count

Model = Callable[[np.ndarray], np.ndarray]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def predicted(image: np.ndarray, model: Model, tiling: Tiling, batch_size: int = 1) -> np.ndarray:
    """The strips of a scene put together."""
    return np.concatenate(list(predict_scene(ArrayWindows(image, 3), model, tiling, batch_size=batch_size)))


def pointwise(tiles: np.ndarray) -> np.ndarray:
    """Two classes that depend on the pixel alone, with numbers that no sum of rounded weights gives back exactly."""
    grey = tiles.astype(np.float32).mean(axis=-1, keepdims=True)
    return np.concatenate([grey / np.float32(255), np.sin(grey)], axis=-1)


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((*tiles.shape[:3], 2), 0.3, dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.tuples(st.integers(2, 33), st.integers(2, 33)),
    overlap=st.integers(0, 16),
    batch_size=st.integers(1, 4),
)
def test_tiles_of_a_model_without_surroundings_are_the_image_bit_for_bit(height, width, tile, overlap, batch_size):
    image = noise(height, width)
    tiling = Tiling(tile, min(overlap, min(tile) // 2))
    for model in (pointwise, constant):
        assert np.array_equal(predicted(image, model, tiling, batch_size), model(image[np.newaxis])[0])


@pytest.mark.parametrize(
    ("overlap", "rows", "columns"),
    [
        # (37 - 16) / 10 and (50 - 16) / 10, rounded up, are 3 and 4 steps of 7 and 8.5; by 16 they are 2 and 3.
        (6, [0, 7, 14, 21], [0, 8, 17, 26, 34]),
        (0, [0, 10, 21], [0, 11, 23, 34]),
    ],
)
def test_overlapping_tiles_are_the_mean_weighted_by_the_raised_cosine(overlap, rows, columns):
    """Against the obvious way: sum of weighted tiles over the sum of weights."""
    height, width, tile = 37, 50, 16
    image, tiling = noise(height, width), Tiling((tile, tile), overlap)
    found = predicted(image, surroundings, tiling, batch_size=3)
    side = np.ones(tile)
    side[:overlap] = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
    side *= side[::-1]
    total, weights = np.zeros((height, width, 1)), np.zeros((height, width, 1))
    for top in rows:
        for left in columns:
            part = np.s_[top : top + tile, left : left + tile]
            total[part] += surroundings(image[part][np.newaxis])[0] * np.outer(side, side)[..., np.newaxis]
            weights[part] += np.outer(side, side)[..., np.newaxis]
    assert found == pytest.approx(total / weights, abs=1e-5)
    one = image[:tile, :tile]
    np.testing.assert_array_equal(predicted(one, surroundings, tiling), surroundings(one[np.newaxis])[0])


def surroundings(tiles: np.ndarray) -> np.ndarray:
    """A blur that knows nothing beyond its tile, as a network that pads with zeros; and the tile's own mean removed."""
    grey = tiles.astype(np.float32).mean(axis=-1)
    grey = grey - grey.mean(axis=(1, 2), keepdims=True)
    blurred = [cv2.GaussianBlur(plane, (0, 0), 3, borderType=cv2.BORDER_CONSTANT) for plane in grey]
    return np.stack(blurred)[..., np.newaxis]


def test_a_scene_smaller_than_a_tile_is_mirrored() -> None:
    seen = []

    def model(tiles: np.ndarray) -> np.ndarray:
        seen.append(tiles[0, ..., 0])
        return pointwise(tiles)

    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    assert predicted(image, model, Tiling((5, 4), 2)).shape == (2, 3, 2)
    assert seen[0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2], [0, 1, 2, 2]]


@dataclass
class NoScene:
    """6,015 columns and rows that are made when they are read, so that any memory beyond a strip is the tiler's."""

    shape: tuple[int, int, int] = (5226, 6015, 3)
    pixels: list[int] = field(default_factory=list)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        self.pixels.append(height * width)
        return np.full((height, width, 3), top % 251, np.uint8)


def test_a_scene_of_31_megapixels_takes_the_memory_of_a_row_of_tiles() -> None:
    scene = NoScene()
    tracemalloc.start()
    shapes = [strip.shape for strip in predict_scene(scene, constant, Tiling((256, 256), 32), batch_size=4)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {shape[1:] for shape in shapes} == {(6015, 2)}
    assert sum(shape[0] for shape in shapes) == 5226
    # 256 rows of 6015 pixels: 3 bytes each of the scene, 3 times 2 classes of 4 bytes of the prediction, and a little.
    assert peak < 256 * 6015 * (3 + 3 * 2 * 4) * 1.25
    assert max(scene.pixels) == 256 * 6015
    assert len(scene.pixels) == 24  # (5226 - 256) / (256 - 32) steps, rounded up, and one: none is read twice


@pytest.mark.parametrize(
    ("size", "tiles"),
    [((40, 30), 6), ((41, 30), 8), ((9, 16), 1), ((1, 1), 1), ((16, 24), 1), ((5, 100), 5), ((90, 70), 32)],
)
def test_tiles_are_counted_before_and_while_they_are_predicted_in_whole_batches(size, tiles):
    """Tiles of 16 (or 24) that overlap by 4 reach from 16 to 28, 40 and 52 pixels (from 24 to 44, 64, 84 and 104)."""
    scene, tiling, seen, shapes = ArrayWindows(noise(*size), 3), Tiling((16, 24), 4), [], []

    def model(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return constant(batch)

    list(predict_scene(scene, model, tiling, batch_size=5, on_tile=lambda: seen.append(1)))
    assert len(seen) == tile_count(scene, tiling) == tiles
    # No batch but the last one of a scene is filled up, however many tiles a row has.
    assert shapes == [(5, 16, 24, 3)] * -(-tiles // 5)


@pytest.mark.parametrize(("size", "overlap"), [((16, 16), 9), ((16, 8), 5), ((16, 16), -1), ((0, 8), 0)])
def test_overlaps_of_more_than_half_a_tile_are_refused(size: tuple[int, int], overlap: int) -> None:
    with pytest.raises(ValueError, match=r"overlap .* expected 0 to"):
        Tiling(size, overlap)
