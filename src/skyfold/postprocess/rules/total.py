"""Empty masks that have fewer pixels than the minimum area in all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply(masks: np.ndarray, prob: np.ndarray, min_areas: Sequence[int]) -> np.ndarray:
    """Masks with at least min_areas[k] pixels of class k, the others emptied: bool (n, H, W, K)."""
    masks &= (masks.sum(axis=(1, 2)) >= np.asarray(min_areas))[:, None, None]
    return masks


def counts(histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray:
    """Counts at every threshold, 0 where the mask is emptied: int (n, 2, T)."""
    kept = histogram[:, :, thresholds + 1]
    return kept * (kept[:, 1:] >= min_area)
