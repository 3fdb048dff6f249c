"""Arrays of probability maps and their ground truth: checked, read a chunk at a time, and divided among threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skyfold.store.rows import release_pages
from skyfold.types import ArraySequence

CHUNK_PIXELS = 32 << 20


@dataclass(frozen=True)
class Maps:
    """Maps of N samples: prob (N, H, W, K), often memory-mapped; targets[i] (H, W, K); valid[i] (H, W), None: all."""

    prob: np.ndarray
    targets: ArraySequence
    valid: ArraySequence | None = None

    def chunks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield (rows of the chunk, prob, target, valid), stacked, until all `rows` were read."""
        size = max(1, CHUNK_PIXELS // max(1, int(np.prod(self.prob.shape[1:]))))
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            target = np.stack([self.targets[i].astype(bool) for i in chunk])
            valid = None if self.valid is None else np.stack([self.valid[i] for i in chunk])
            yield chunk, np.asarray(self.prob[chunk]), target, valid
            release_pages(self.prob)


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
