"""Probabilities of big scenes, predicted by tiles, averaged over trained weights and views, on a competition's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyfold.data.images import resize
from skyfold.data.normalization import normalized
from skyfold.data.scene_arrays import SceneArrays
from skyfold.data.windows import Windows
from skyfold.progress import Progress
from skyfold.store.rows import RowStore
from skyfold.training import tta
from skyfold.training.predict import Forward, LoadWeights, on_grid, sigmoid
from skyfold.training.tiles import Strip, Tiling, predict_scene, tile_count
from skyfold.types import IntPair

if TYPE_CHECKING:
    from skyfold.training.network import Network


def write_scenes(
    network: Network,
    arrays: SceneArrays,
    rows: np.ndarray,
    store: RowStore,
    *,
    members: Sequence[LoadWeights],
    label: str,
) -> None:
    """Write the mean prediction of `members` for the scenes `rows` into `store`, on its grid; scenes done before stay.

    Each scene is written as soon as it is predicted. Killed, the same call goes on with the next, to the same bytes.
    """
    image, normalization = network.config.images, network.objective.normalization
    assert image.crop is not None
    assert normalization is not None
    tiling = Tiling(image.size, round(image.crop.overlap * min(image.size)))
    missing = [int(row) for row in rows if not store.complete[row]]
    tiles = sum(tile_count(arrays.images[row], tiling) for row in missing)
    with Progress(f"{label}: predicting", tiles * len(members), "tiles") as progress:
        for row in missing:
            probabilities = scene_probabilities(
                network,
                arrays.images[row],
                members=members,
                normalization=normalization,
                flips=network.config.tta,
                tiling=tiling,
                grid=(store.values.shape[1], store.values.shape[2]),
                on_tile=progress.advance,
            )
            store.write(np.array([row]), on_grid(probabilities[np.newaxis], probabilities.shape[:2]))
    store.flush()


def scene_probabilities(
    network: Forward,
    scene: Windows,
    *,
    members: Sequence[LoadWeights],
    normalization: str,
    flips: Sequence[str],
    tiling: Tiling,
    grid: IntPair,
    on_tile: Callable[[], object],
) -> np.ndarray:
    """float32 (H, W, K) on `grid`, the mean over members and views.

    members: each puts its weights into `network`; flips: names of `tta.views`. In memory is the prediction at the
    scene's height and the grid's width, besides what `predict_scene` holds.
    """
    predict = partial(_tile_probabilities, network, normalization=normalization, views=tta.views(flips))
    total: np.ndarray | None = None
    for load in members:
        load()
        strips = predict_scene(scene, predict, tiling, batch_size=network.batch_size, on_tile=on_tile)
        own = strips_on_grid(strips, grid)
        total = own if total is None else total + own
    assert total is not None, "no members"
    return total / np.float32(len(members))


def strips_on_grid(strips: Iterator[Strip], grid: IntPair) -> np.ndarray:
    """A whole scene's values brought to `grid`, as `images.resize` of it: columns of each strip as it comes, then rows.

    Each side is averaged over areas where it shrinks, and interpolated linearly where it grows.
    """
    narrow = [resize(strip.values, (len(strip.values), grid[1])) for strip in strips]
    return resize(np.concatenate(narrow), grid)


def _tile_probabilities(
    network: Forward, tiles: np.ndarray, *, normalization: str, views: Sequence[tta.View]
) -> np.ndarray:
    inputs = normalized(tiles, normalization)
    total: np.ndarray | None = None
    for view in views:
        own = tta.undo(sigmoid(network.logits(np.ascontiguousarray(tta.apply(inputs, view)))), view)
        total = own if total is None else total + own
    assert total is not None, "no views"
    return total / np.float32(len(views))
