"""What Dice every map would get at each pair of threshold and minimum area, as one array."""

from __future__ import annotations

from typing import Literal

import numpy as np

from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.joint_search import shares
from skyfold.postprocess.map_counts import count_maps

Area = Literal["component", "total"]


def dice_surface(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
    area: Area = "component",
    workers: int | None = None,
) -> np.ndarray:
    """Dice of every map at every level and minimum area; 1.0 where mask and truth are both empty.

    prob: uint8 (n, H, W, K), memory-mapped or strided as it may be; target: bool (n, H, W, K); valid: bool (n, H, W),
    undefined pixels belong to no mask and no component. levels: (T,) ascending in 0..254, mask = prob > level;
    min_areas: (M,) ascending pixels >= 0. area "component": 8-connected components of fewer pixels are dropped;
    "total": a mask of fewer pixels is emptied. workers: threads, None: one a core.
    Returns float32 (n, K, T, M).
    """
    sweep = np.empty((len(prob), prob.shape[-1], len(levels), len(min_areas)), dtype=np.float32)
    if area == "component":
        kept = component_counts(prob, target, valid, levels=levels, min_areas=min_areas, workers=workers)
        truth = _pixels(target, valid)
        for k, m in np.ndindex(sweep.shape[1], sweep.shape[3]):
            sweep[:, k, :, m] = shares(kept[:, k, :, m], truth[:, k], iou=False)
        return sweep
    counts = count_maps(prob, target, valid, rule=area, levels=levels, min_areas=min_areas, workers=workers)
    rows = np.arange(len(prob))
    for k, m in np.ndindex(sweep.shape[1], sweep.shape[3]):
        sweep[:, k, :, m] = shares(counts.of_masks(rows, k, m), counts.truth[:, k], iou=False)
    return sweep


def _pixels(target: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Pixels of the truth that count, int64 (n, K)."""
    pixels = np.empty((len(target), target.shape[-1]), dtype=np.int64)
    for i in range(len(target)):
        by_class = np.ascontiguousarray(np.moveaxis(target[i], -1, 0))
        pixels[i] = np.count_nonzero(by_class if valid is None else by_class & valid[i], axis=(1, 2))
    return pixels
