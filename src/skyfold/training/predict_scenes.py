"""Tiled inference of scenes: averaged over members and test-time augmentations, stored on the competition's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from skyfold.data.images import resize
from skyfold.data.normalization import normalized
from skyfold.data.rescale import Rescale
from skyfold.data.scene_arrays import SceneArrays
from skyfold.data.windows import Windows
from skyfold.progress import Progress
from skyfold.store.rows import RowStore, row_shape
from skyfold.training import tta
from skyfold.training.network import Network
from skyfold.training.predict import LoadWeights, on_grid, require_finite, sigmoid
from skyfold.training.tiles import Tiling, predict_scene, tile_count
from skyfold.types import IntPair


def write_scenes(
    network: Network,
    members: Sequence[LoadWeights],
    arrays: SceneArrays,
    rows: np.ndarray,
    store: RowStore,
    *,
    label: str,
) -> None:
    """Write the mean prediction of `members` for the scenes `rows` into `store`, on its grid.

    Scenes that are complete stay as they are. Each scene is written as soon as it is predicted; a killed run resumes
    with the next one, to the same bytes.
    """
    image = network.config.images
    assert image.crop is not None
    least = min(image.size)
    tiling = Tiling(image.size, min(round(image.crop.overlap * least), least // 2))
    missing = [int(row) for row in rows if not store.complete[row]]
    tiles = sum(tile_count(arrays.images[row], tiling) for row in missing)
    with Progress(f"{label}: predicting", tiles * len(members), "tiles") as progress:
        for row in missing:
            windows, on_tile = arrays.images[row], progress.advance
            height, width, _ = row_shape(store.values, row)
            grid = height, width
            scene = scene_probabilities(network, members, windows, tiling, grid, on_tile=on_tile, row=row)
            store.write(np.array([row]), on_grid(scene[np.newaxis], grid))
    store.flush()


def scene_probabilities(
    network: Network,
    members: Sequence[LoadWeights],
    scene: Windows,
    tiling: Tiling,
    grid: IntPair,
    *,
    on_tile: Callable[[], object],
    row: int = 0,
) -> np.ndarray:
    """Probabilities float32 (H, W, K) on `grid`, the mean over members and test-time augmentations.

    on_tile: called after each tile. row: of the scene, which NotFinite names where an output is not finite. Besides
    what `predict_scene` holds, the prediction at the scene's height and the grid's width is in memory.
    """
    normalization = network.objective.normalization
    assert normalization is not None
    views = tta.views(network.config.tta)

    def predict(tiles: np.ndarray, member: int, rescale: Rescale | None) -> np.ndarray:
        inputs = normalized(tiles if rescale is None else rescale(tiles), normalization)
        total = np.zeros((), dtype=np.float32)
        for view in views:
            outputs = network.logits(np.ascontiguousarray(tta.apply(inputs, view)))
            require_finite(outputs, np.full(len(outputs), row), member)
            total = total + tta.undo(sigmoid(outputs), view)
        return np.asarray(total / np.float32(len(views)))

    total = np.zeros((), dtype=np.float32)
    for member, load in enumerate(members):
        of_member = partial(predict, member=member, rescale=load())
        strips = predict_scene(scene, of_member, tiling, batch_size=network.predicted_batch_size, on_tile=on_tile)
        total = total + strips_on_grid(strips, scene.shape[0], grid)
    return total / np.float32(len(members))


def strips_on_grid(strips: Iterable[np.ndarray], height: int, grid: IntPair) -> np.ndarray:
    """Resize the strips (rows, W, K) of a scene, `height` rows in all, to `grid` (H, W) as `images.resize` does:
    columns first, then rows.

    Each side is averaged over areas where it shrinks, and interpolated linearly where it grows.
    """
    narrow: np.ndarray | None = None
    done = 0
    for strip in strips:
        if narrow is None:
            narrow = np.empty((height, grid[1], strip.shape[-1]), dtype=np.float32)
        narrow[done : done + len(strip)] = resize(strip, (len(strip), grid[1]))
        done += len(strip)
    assert narrow is not None, "a scene without rows"
    return resize(narrow, grid)
