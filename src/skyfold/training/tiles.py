"""Tiled inference: predict a scene of any size with a network that reads small tiles, without seams.

Tiles overlap. Where several cover a pixel its value is their mean, weighted by the pixel's distance from each tile's
border, near which a network sees too little context. The weights fall to zero along a raised cosine, so that no tile
begins or ends visibly, and are divided by their sum. The scene is never held in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from skyfold.data.windows import Windows
from skyfold.types import IntPair

# (B, h, w, C) as stored -> float32 (B, h, w, K)
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tiling:
    """size: (h, w) of a tile, as the network sees it; overlap: pixels that neighbours share at least, at most half a
    tile. More overlap is smoother and slower: a quarter costs 1.8 times the tiles of none, a half 4 times."""

    size: IntPair
    overlap: int

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not 0 <= self.overlap <= min(self.size) // 2:
            raise ValueError(f"overlap {self.overlap} of tiles {self.size}: expected 0 to {min(self.size) // 2}")


def predict_scene(
    scene: Windows,
    predict: Predict,
    tiling: Tiling,
    *,
    batch_size: int = 1,
    on_tile: Callable[[], object] = lambda: None,
) -> Iterator[np.ndarray]:
    """Predict `scene` tile by tile. Yields its rows from top to bottom, as strips float32 (rows, W, K).

    predict: called with `batch_size` tiles of `tiling.size` each time, so that a network is traced once; the last
    batch of a scene repeats its first tile. on_tile: called after each of the `tile_count` tiles. A scene smaller than
    a tile is padded by reflection, and its prediction cropped. Memory: one row of tiles of the scene and at most three
    of the prediction, h x W x (C + 12 K) bytes, besides a batch.

    Where all tiles agree on a pixel the result is their value, bit for bit.
    """
    height, width, _ = scene.shape
    rows, columns = (_Axis(*sides, tiling.overlap) for sides in zip((height, width), tiling.size, strict=True))
    band: np.ndarray | None = None  # running mean of the rows from `done` on
    done = 0
    tiles = _predicted(_tiles(scene, tiling, rows.starts, columns.starts), predict, batch_size)
    for i in range(len(rows.starts)):
        for j, tile in enumerate(islice(tiles, len(columns.starts))):
            if band is None:
                band = np.zeros((rows.tile, columns.length, tile.shape[-1]), dtype=np.float32)
            left = columns.starts[j]
            mean = band[:, left : left + columns.tile]
            mean += _fraction(rows, columns, i, j)[..., np.newaxis] * (tile - mean)
            on_tile()
        assert band is not None
        end = rows.starts[i + 1] if i + 1 < len(rows.starts) else rows.length
        yield band[: min(end, height) - done, :width].copy()
        kept = band[end - done :].copy()
        band[: len(kept)], band[len(kept) :] = kept, 0
        done = end


def tile_count(scene: Windows, tiling: Tiling) -> int:
    """Number of tiles that `predict_scene` predicts."""
    sides = zip(scene.shape[:2], tiling.size, strict=True)
    rows, columns = (len(_starts(max(side, tile), tile, tiling.overlap)) for side, tile in sides)
    return rows * columns


def _tiles(scene: Windows, tiling: Tiling, tops: list[int], lefts: list[int]) -> Iterator[np.ndarray]:
    """The tiles of a scene, row by row: (h, w, C) each."""
    height, width, _ = scene.shape
    tile_height, tile_width = tiling.size
    missing = ((0, max(0, tile_height - height)), (0, max(0, tile_width - width)), (0, 0))
    for top in tops:
        # All columns at once: a striped file holds whole rows, which would otherwise be decoded anew for each tile.
        image = np.pad(scene.read(top, 0, min(tile_height, height - top), width), missing, mode="symmetric")
        for left in lefts:
            yield image[:, left : left + tile_width].copy()


def _predicted(tiles: Iterator[np.ndarray], predict: Predict, batch_size: int) -> Iterator[np.ndarray]:
    """Predictions of the tiles in their order, float32 (h, w, K) each."""
    while chosen := list(islice(tiles, batch_size)):
        yield from predict(np.stack(chosen + chosen[:1] * (batch_size - len(chosen))))[: len(chosen)]


class _Axis:
    """Tiles along one side, and the weights of their pixels.

    length          the side, at least a tile
    starts          first pixel of each tile
    window (tile,)  weights within a tile
    before, total   per tile, (tile,): at its pixels, the summed weights of all tiles before it, and of all tiles
    """

    def __init__(self, side: int, tile: int, overlap: int) -> None:
        self.length, self.tile = max(side, tile), tile
        self.starts = _starts(self.length, tile, overlap)
        self.window = _window(tile, overlap)
        total = np.zeros(self.length, dtype=np.float32)
        places = [slice(start, start + tile) for start in self.starts]
        self.before = []
        for place in places:
            self.before.append(total[place].copy())
            total[place] += self.window
        self.total = [total[place] for place in places]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """The fewest tiles that overlap enough, evenly spread.

    >>> _starts(10, 4, 1), _starts(11, 4, 1), _starts(4, 4, 2)
    ([0, 3, 6], [0, 2, 5, 7], [0])
    """
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [round(i * (length - tile) / max(1, count - 1)) for i in range(count)]


def _window(tile: int, overlap: int) -> np.ndarray:
    """Weights within a tile, float32 (tile,): rising over `overlap` pixels, 1, falling; nowhere 0."""
    rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(1, overlap)) ** 2
    return np.concatenate([rise, np.ones(tile - 2 * overlap), rise[::-1]]).astype(np.float32)


def _fraction(rows: _Axis, columns: _Axis, i: int, j: int) -> np.ndarray:
    """Weight of tile (i, j) over that of the tiles up to it, float32 (h, w): its part in the running mean.

    A running mean is exact where all tiles agree, which a sum divided by its weights is not.
    """
    earlier_rows = rows.before[i][:, np.newaxis] * columns.total[j]
    own_row = rows.window[:, np.newaxis]
    own = own_row * columns.window
    return np.asarray(own / (earlier_rows + own_row * columns.before[j] + own))
