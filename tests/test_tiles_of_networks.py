"""Tiles of a trained network show no seams, though a network that pads with zeros knows little at a tile's border."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from skyfold.competitions.cloud_cover.sample import CLASSES, scene
from skyfold.config.data import CropConfig
from skyfold.data.crops import CropPlan, EpochCrops, Scene, count_classes
from skyfold.data.windows import ArrayWindows
from skyfold.training import backend
from skyfold.training.tiles import Tiling, predict_scene

SIZE = (320, 448)
CROP, CROPS = 64, 32
TILE = 128


@pytest.fixture(scope="module")
def model() -> Any:
    """Three convolutions around a reduction to a quarter, trained for some seconds on balanced crops of four scenes."""
    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    backend.seed(0)
    import keras

    up = partial(keras.layers.Conv2DTranspose, kernel_size=4, strides=2, padding="same")
    image = keras.Input((None, None, 3))
    fine = keras.layers.Conv2D(12, 5, strides=2, padding="same", activation="relu")(image)
    coarse = keras.layers.Conv2D(24, 5, strides=2, padding="same", activation="relu")(fine)
    coarse = keras.layers.Conv2D(24, 3, padding="same", activation="relu")(coarse)
    both = keras.layers.Concatenate()([up(24)(coarse), fine])
    classes = keras.layers.Softmax()(up(len(CLASSES))(both))
    network = keras.Model(image, classes)
    network.compile(keras.optimizers.Adam(5e-3), "categorical_crossentropy")
    scenes = [labelled(index) for index in range(4)]
    for epoch in range(5):
        crops = EpochCrops(scenes, CropPlan((CROP, CROP), CROPS, (0.7, 1.4), 0.7), len(CLASSES), seed=0, epoch=epoch)
        inputs = np.stack([crops.inputs[row] for row in range(len(crops))])
        targets = np.stack([crops.targets[row][..., :-1] for row in range(len(crops))])
        network.fit(normalized(inputs), targets.astype(np.float32), batch_size=8, shuffle=False, verbose=0)
    return network


def labelled(index: int) -> Scene:
    image, classes = scene(np.random.default_rng(index), SIZE)
    labels = ArrayWindows(classes[..., np.newaxis], 1)
    return Scene(ArrayWindows(image, 3), labels, count_classes(labels, len(CLASSES)))


def normalized(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)


def test_the_gradient_across_tile_borders_is_that_elsewhere(model: Any) -> None:
    """Within 5 %, with the overlap that runs have unless told otherwise; without one there are seams."""
    assert abs(excess(model, overlap=round(CropConfig().overlap * TILE))) < 0.05
    assert excess(model, overlap=0) > 1


def test_the_network_has_learned_where_clouds_are(model: Any) -> None:
    image, classes = scene(np.random.default_rng(10), SIZE)
    found = model.predict_on_batch(normalized(image)[np.newaxis])[0].argmax(axis=-1)
    commonest = np.bincount(classes.ravel()).max() / classes.size
    assert (found == classes).mean() > commonest + 0.15


def excess(model: Any, overlap: int) -> float:
    """Of `step_excess` in new scenes, relative to that of the network on the whole scene, minus 1: a cloud's edge
    may lie at the border of a tile, too."""
    borders = [tile_borders(side, TILE, overlap) for side in SIZE]
    found = []
    for index in range(10, 14):
        image = ArrayWindows(scene(np.random.default_rng(index), SIZE)[0], 3)
        predict = partial(predicted, model)
        tiled = np.concatenate(list(predict_scene(image, predict, Tiling((TILE, TILE), overlap), batch_size=4)))
        whole = predict(image.array[np.newaxis])[0]
        found.append((1 + step_excess(tiled, borders)) / (1 + step_excess(whole, borders)))
    return float(np.mean(found)) - 1


def predicted(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(normalized(images)))


def step_excess(values: np.ndarray, borders: list[list[int]]) -> float:
    """Mean step between neighbouring rows and columns where tiles begin or end, over that elsewhere, minus 1."""
    at, other = [], []
    for axis, starts in enumerate(borders):
        steps = np.abs(np.diff(values, axis=axis)).mean(axis=(1 - axis, 2))
        is_border = np.isin(np.arange(1, values.shape[axis]), starts)
        at.append(steps[is_border])
        other.append(steps[~is_border])
    return float(np.concatenate(at).mean() / np.concatenate(other).mean()) - 1


def tile_borders(side: int, tile: int, overlap: int) -> list[int]:
    """First rows (or columns) of tiles, and first ones after them, within the scene."""
    steps = -(-(side - tile) // (tile - overlap))
    starts = np.linspace(0, side - tile, steps + 1).round().astype(int)
    return sorted({*starts, *(starts + tile)} - {0, side})
