"""Drop 8-connected components of fewer pixels than the minimum area."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.rules import above_thresholds

sweep = component_counts


def apply(
    prob: np.ndarray, thresholds: Sequence[int], min_areas: Sequence[int], valid: np.ndarray | None = None
) -> np.ndarray:
    """Masks without the components of class k that have fewer than min_areas[k] pixels, bool (n, H, W, K)."""
    masks = above_thresholds(prob, thresholds, valid)
    for k, min_area in enumerate(min_areas):
        if min_area > 1:  # every component has at least one pixel
            for mask in masks:
                mask[:, :, k] = _large_components(mask[:, :, k], min_area)
    return masks


def counts(histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray:
    """Counts for minimum areas of 0 and 1, which every component has: int (n, 2, T)."""
    return histogram[:, :, thresholds + 1]


def _large_components(mask: np.ndarray, min_area: int) -> np.ndarray:
    if np.count_nonzero(mask) < min_area:
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    if large[1:].all():
        return mask
    large[0] = False  # the background
    return np.asarray(large[labels])
