"""Which masks, or parts of them, are too small to be believed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from skyfold.postprocess.dice_sweep import Area


def apply(masks: np.ndarray, min_areas: Sequence[int], *, area: Area) -> np.ndarray:
    """Drop what has fewer than `min_areas[k]` pixels in class k.

    masks: bool (n, H, W, K); min_areas: (K,). area "component": each 8-connected component by itself; "total": the mask
    as a whole. Returns bool (n, H, W, K), a new array.
    """
    if masks.dtype != np.bool_ or masks.ndim != 4 or masks.shape[-1] != len(min_areas):
        raise ValueError(f"expected bool (n, H, W, {len(min_areas)}); got {masks.dtype} {masks.shape}")
    kept = masks.copy()
    for k, least in enumerate(min_areas):
        if least <= 1:
            continue  # whatever is there has at least one pixel
        if area == "total":
            kept[..., k] &= (masks[..., k].sum(axis=(1, 2)) >= least)[:, None, None]
        else:
            for i in range(len(masks)):
                kept[i, :, :, k] = _large_components(masks[i, :, :, k], least)
    return kept


def _large_components(mask: np.ndarray, least: int) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False  # the background
    return np.asarray(large[labels])
