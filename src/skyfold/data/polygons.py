"""Polygons drawn as masks, by the centres of pixels or by all pixels that they touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.memory import too_large
from skyfold.types import IntPair

BYTES_A_CROSSING = 48  # while crossings of edges and rows are looked for


def draw_polygon(rings: Sequence[np.ndarray], size: IntPair, *, touched: bool = False) -> np.ndarray:
    """Mask of the area within `rings`, bool (H, W) of `size`.

    rings: float64 (n, 2) of x to the right and y downward each, (0, 0) being the outer corner of the first pixel; the
    last point is joined to the first. A point is inside where a line from it crosses the rings an odd number of times:
    a ring within a ring is a hole. A pixel is in the mask where its centre is inside or on a left or upper edge; with
    `touched` also where an edge passes through it. DataLayoutError where there are more crossings than memory.

    >>> draw_polygon([np.array([[0.4, 0], [3, 0], [3, 2], [0.4, 2]])], (2, 4)).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0]]
    """
    edges = np.concatenate([np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings])
    mask = _inside(edges, size)
    return mask | _passed(edges, size) if touched else mask


def _inside(edges: np.ndarray, size: IntPair) -> np.ndarray:
    """Pixels whose centres are inside. edges (n, 4): x, y, x, y."""
    x0, y0, x1, y1 = _downward(edges)
    first, stop = (np.clip(np.ceil(y - 0.5), 0, size[0]).astype(np.int64) for y in (y0, y1))
    which, rows = _repeated(first, stop)
    x = x0[which] + (rows + 0.5 - y0[which]) * (x1 - x0)[which] / (y1 - y0)[which]
    columns = np.clip(np.ceil(x - 0.5), 0, size[1]).astype(np.int64)
    flips = np.zeros((size[0], size[1] + 1), np.uint8)
    np.bitwise_xor.at(flips, (rows, columns), 1)
    return np.asarray(np.bitwise_xor.accumulate(flips, axis=1)[:, :-1].astype(bool))


def _passed(edges: np.ndarray, size: IntPair) -> np.ndarray:
    """Pixels that edges pass through, not only along their border."""
    x0, y0, x1, y1 = _downward(edges)
    first = np.clip(np.floor(y0), 0, size[0]).astype(np.int64)
    stop = np.clip(np.ceil(y1), 0, size[0]).astype(np.int64)
    which, rows = _repeated(first, stop)
    level = (y1 == y0)[which]
    height, down = np.where(level, 1.0, (y1 - y0)[which]), rows - y0[which]
    # The part of an edge within the row, as fractions of its length.
    ends = np.clip(down / height, 0, 1), np.where(level, 1.0, np.clip((down + 1) / height, 0, 1))
    x = [x0[which] + end * (x1 - x0)[which] for end in ends]
    left = np.clip(np.floor(np.minimum(*x)), 0, size[1]).astype(np.int64)
    right = np.clip(np.ceil(np.maximum(*x)), 0, size[1]).astype(np.int64)
    steps = np.zeros((size[0], size[1] + 1), np.int32)
    np.add.at(steps, (rows, left), 1)
    np.add.at(steps, (rows, right), -1)
    return np.asarray(np.cumsum(steps, axis=1)[:, :-1] > 0)


def _downward(edges: np.ndarray) -> tuple[np.ndarray, ...]:
    """x and y of the upper ends of edges, then of the lower ends."""
    swapped = edges[:, 1] > edges[:, 3]
    return tuple(np.where(swapped[:, np.newaxis], edges[:, [2, 3, 0, 1]], edges).T)


def _repeated(first: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of edges and numbers of rows, for each row from `first` to before `stop` of each edge."""
    counts = np.maximum(stop - first, 0)
    if shortage := too_large(int(counts.sum()) * BYTES_A_CROSSING):
        raise DataLayoutError(f"a polygon of {len(counts)} points: {shortage}. Simplify it.")
    which = np.repeat(np.arange(len(first)), counts)
    rows = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    return which, rows
