"""Pixels of every map above each threshold, and how many of them are true: one cumulative histogram per map.

Everything that depends on whole masks is read off these counts: Dice at every threshold, the minimum total area, the
triplet rule, the score at one half, where the truth is empty.
"""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled, in_threads

STORED_VALUES = 256


def threshold_counts(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """int32 (n, K, 2, 256): [..., 0, v] true pixels whose stored value is v or more, [..., 1, v] all such.

    The mask of threshold t is at v = t + 1; at v = 0 are all true pixels, and all that count.
    prob: uint8 (n, H, W, K), memory-mapped or strided as it may be; target: bool (n, H, W, K); valid: bool (n, H, W),
    pixels that count, None: all.

    >>> prob = np.array([9, 200, 0], dtype=np.uint8).reshape(1, 1, 3, 1)
    >>> threshold_counts(prob, prob > 100)[0, 0][:, [0, 1, 10, 201]].tolist()
    [[1, 1, 1, 0], [3, 2, 1, 0]]
    """
    check_maps(prob, target, valid)
    counts = np.zeros((len(prob), prob.shape[-1], 2, STORED_VALUES), dtype=np.int32)
    everywhere = np.ones(prob.shape[1:3], dtype=np.bool_)

    def fill(rows: range) -> None:
        for i in rows:
            defined = everywhere if valid is None else valid[i].copy()
            _histograms(prob[i].copy(), target[i].copy(), defined, counts[i])

    in_threads(fill, len(prob))
    return counts


@compiled
def _histograms(prob, target, defined, counts):  # type: ignore[no-untyped-def]
    """Fill counts (K, 2, 256), zeros before, from prob and target (H, W, K)."""
    height, width, classes = prob.shape
    for r in range(height):
        for c in range(width):
            if defined[r, c]:
                for k in range(classes):
                    counts[k, 1 - target[r, c, k], prob[r, c, k]] += 1  # row 1: outside the truth, for now
    for k in range(classes):
        for value in range(254, -1, -1):
            counts[k, 0, value] += counts[k, 0, value + 1]
            counts[k, 1, value] += counts[k, 1, value + 1]
        for value in range(256):
            counts[k, 1, value] += counts[k, 0, value]


def check_maps(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None) -> None:
    """ValueError unless prob is uint8 and target bool (n, H, W, K), and valid bool (n, H, W) or None.

    Probabilities as floats are refused, and with them NaN, which no comparison would notice.
    """
    if prob.dtype != np.uint8 or target.dtype != np.bool_ or prob.ndim != 4 or prob.shape != target.shape:
        raise ValueError(
            f"expected prob uint8 and target bool of one shape (n, H, W, K); got {prob.dtype} {prob.shape} and "
            f"{target.dtype} {target.shape}"
        )
    if valid is not None and (valid.dtype != np.bool_ or valid.shape != prob.shape[:3]):
        raise ValueError(f"expected valid bool {prob.shape[:3]}, got {valid.dtype} {valid.shape}")


def check_grid(values: np.ndarray, lowest: int, highest: int, name: str) -> np.ndarray:
    """`values` as int64 (any length > 0); ValueError unless ascending whole numbers in lowest..highest."""
    grid = np.asarray(values)
    ascending = grid.ndim == 1 and len(grid) > 0 and grid.dtype.kind in "iu" and (np.diff(grid) > 0).all()
    if not ascending or grid[0] < lowest or grid[-1] > highest:
        raise ValueError(f"{name}: expected ascending whole numbers in {lowest}..{highest}, got {values!r}")
    return grid.astype(np.int64)
