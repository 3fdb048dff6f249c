"""What probabilities and truth must look like to be counted, and how their maps are shared out among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MAPS_AT_ONCE = 8


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


def check_lattice(values: np.ndarray, lowest: int, highest: int, name: str) -> np.ndarray:
    """`values` as int64 (any length > 0); ValueError unless ascending whole numbers in lowest..highest."""
    threshold_grid = np.asarray(values)
    ascending = (
        threshold_grid.ndim == 1
        and len(threshold_grid) > 0
        and threshold_grid.dtype.kind in "iu"
        and (np.diff(threshold_grid) > 0).all()
    )
    if not ascending or threshold_grid[0] < lowest or threshold_grid[-1] > highest:
        raise ValueError(f"{name}: expected ascending whole numbers in {lowest}..{highest}, got {values!r}")
    return threshold_grid.astype(np.int64)


def in_threads(work: Callable[[range], None], count: int, workers: int | None) -> None:
    """Call `work` with the rows 0..count-1, a few at a time. workers: threads, None: one a core."""
    pieces = [range(start, min(start + MAPS_AT_ONCE, count)) for start in range(0, count, MAPS_AT_ONCE)]
    threads = min(workers or os.cpu_count() or 1, max(len(pieces), 1))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pieces))
