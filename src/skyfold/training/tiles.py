"""How a network that sees small tiles predicts a scene of any size, without seams and without holding the scene.

Tiles overlap. Where several cover a pixel its value is their mean, weighted by how far the pixel lies from each tile's
border, since a network knows least there: it sees no surroundings. The weights fall to nothing along a raised cosine,
so that no tile begins or ends visibly, and their sum is divided out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from skyfold.data.windows import Windows
from skyfold.types import IntPair

# uint8 (B, h, w, C) -> float32 (B, h, w, K)
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Strip:
    """Finished rows of a scene: values float32 (rows, W, K), the first of them row `top`."""

    top: int
    values: np.ndarray


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
) -> Iterator[Strip]:
    """Predict `scene` tile by tile; its rows come in strips, from top to bottom, each row once.

    predict: gets always `batch_size` tiles of `tiling.size`, so that a network is traced once; the last batch of a
    scene repeats its first tile. on_tile: called after each of the `tile_count` tiles. A scene smaller than a tile is
    continued by mirroring, and cut to its size again. In memory are one row of tiles of the scene and at most three of
    the prediction: h x W x (C + 12 K) bytes, besides a batch.

    Where the model says the same from every tile, or one tile covers all, the result is the model's, bit for bit.
    """
    height, width, _ = scene.shape
    rows = _Axis.of(height, tiling.size[0], tiling.overlap)
    columns = _Axis.of(width, tiling.size[1], tiling.overlap)
    band: np.ndarray | None = None  # the running mean of the rows from `done` on
    done = 0
    tiles = _predicted(_tiles(scene, tiling, rows.starts, columns.starts), predict, batch_size)
    for i in range(len(rows.starts)):
        for j, tile in enumerate(islice(tiles, len(columns.starts))):
            if band is None:
                band = np.zeros((rows.tile, columns.length, tile.shape[-1]), dtype=np.float32)
            left = columns.starts[j]
            mean = band[:, left : left + columns.tile]
            mean += _share(rows, columns, i, j)[..., np.newaxis] * (tile - mean)
            on_tile()
        assert band is not None
        end = rows.starts[i + 1] if i + 1 < len(rows.starts) else rows.length
        finished = band[: end - done, :width]
        yield Strip(done, finished[: height - done].copy())
        kept = band[end - done :].copy()
        band[: len(kept)], band[len(kept) :] = kept, 0
        done = end


def tile_count(scene: Windows, tiling: Tiling) -> int:
    """How many tiles `predict_scene` predicts."""
    sides = zip(scene.shape[:2], tiling.size, strict=True)
    rows, columns = (len(_starts(max(side, tile), tile, tiling.overlap)) for side, tile in sides)
    return rows * columns


def _tiles(scene: Windows, tiling: Tiling, top_thresholds: list[int], lefts: list[int]) -> Iterator[np.ndarray]:
    """The tiles of a scene, row by row: uint8 (h, w, C) each."""
    height, width, _ = scene.shape
    tile_height, tile_width = tiling.size
    missing = ((0, max(0, tile_height - height)), (0, max(0, tile_width - width)), (0, 0))
    for top in top_thresholds:
        # All columns at once: a striped file holds whole rows, which would otherwise be decoded anew for each tile.
        image = np.pad(scene.read(top, 0, min(tile_height, height - top), width), missing, mode="symmetric")
        for left in lefts:
            yield image[:, left : left + tile_width].copy()


def _predicted(tiles: Iterator[np.ndarray], predict: Predict, batch_size: int) -> Iterator[np.ndarray]:
    """What `predict` says of each tile, in their order: float32 (h, w, K)."""
    while chosen := list(islice(tiles, batch_size)):
        yield from predict(np.stack(chosen + chosen[:1] * (batch_size - len(chosen))))[: len(chosen)]


@dataclass(frozen=True)
class _Axis:
    """Tiles along one side: where they start, and how much each counts.

    length: the side, at least a tile; window (tile,): weights within a tile; before (n, tile): the sum of the weights
    of all tiles before tile i, at its places; total (n, tile): that of all tiles.
    """

    length: int
    tile: int
    starts: list[int]
    window: np.ndarray
    before: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, side: int, tile: int, overlap: int) -> _Axis:
        length = max(side, tile)
        starts = _starts(length, tile, overlap)
        window = _window(tile, overlap)
        total = np.zeros(length, dtype=np.float32)
        before = []
        for start in starts:
            before.append(total[start : start + tile].copy())
            total[start : start + tile] += window
        return cls(
            length, tile, starts, window, np.stack(before), np.stack([total[start : start + tile] for start in starts])
        )


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


def _share(rows: _Axis, columns: _Axis, i: int, j: int) -> np.ndarray:
    """How much tile (i, j) counts beside all tiles before it, float32 (h, w): its part in the mean so far.

    A mean kept up to date in this way is exact where all tiles agree, which a sum divided by its weights is not.
    """
    earlier_rows = rows.before[i][:, np.newaxis] * columns.total[j]
    own_row = rows.window[:, np.newaxis]
    own = own_row * columns.window
    return np.asarray(own / (earlier_rows + own_row * columns.before[j] + own))
