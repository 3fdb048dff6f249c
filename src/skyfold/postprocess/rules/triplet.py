"""Empty masks unless enough pixels exceed a second, higher threshold: the rule of two thresholds and a count.

A map without confident pixels is emptied; any other gets its mask at a lower threshold, which gives it its whole
outline. Three numbers per class: the top threshold, the fewest pixels above it, and the threshold of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply(masks: np.ndarray, prob: np.ndarray, min_areas: Sequence[int]) -> np.ndarray:
    """Masks before any is emptied (see `keeps`), bool (n, H, W, K)."""
    return masks


def keeps(pixels: np.ndarray, min_areas: Sequence[int] | int) -> np.ndarray:
    """Whether a map has enough pixels above its top threshold, bool, as `pixels`."""
    return np.asarray(pixels >= np.asarray(min_areas))


def counts(histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray:
    """Counts before any mask is emptied, int (n, 2, T)."""
    return histogram[:, :, thresholds + 1]
