"""Guided filter: a coarse probability map follows the edges of the image (He, Sun, Tang 2010).

A network that sees an image reduced to a third cannot tell which of nine pixels an edge runs through; the image itself
can. In every window the map is fitted by a linear function of one plane of the image (the guide), and each pixel takes
the mean of the functions of all windows it lies in. Where the guide is flat the map is smoothed; where it has an edge,
the map gets the same edge.
"""

from __future__ import annotations

import cv2
import numpy as np


def guided_filter(prob: np.ndarray, guide: np.ndarray, *, radius: int, eps: float) -> np.ndarray:
    """Refine the maps of one image along the edges of its guide.

    prob: float (H, W, K), probabilities; guide: float (H, W). radius: of the square window, in pixels, >= 1; eps: > 0,
    in squares of the guide's unit: windows whose variance is far below it are smoothed. Windows are cut off at the
    border. Returns float32 (H, W, K) in 0 .. 1, a new array.
    """
    if prob.ndim != 3 or guide.shape != prob.shape[:2]:
        raise ValueError(f"expected prob (H, W, K) and guide (H, W) of one size; got {prob.shape} and {guide.shape}")
    if radius < 1 or not eps > 0:
        raise ValueError(f"expected a radius of 1 or more and eps above 0; got {radius} and {eps}")
    window = (2 * radius + 1, 2 * radius + 1)

    def box(values: np.ndarray) -> np.ndarray:
        summed: np.ndarray = cv2.boxFilter(values, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
        return summed

    pixels = box(np.ones(guide.shape))
    # Less its mean, since in windows of little variance the difference of two large squares would keep few digits.
    guide = guide.astype(np.float64) - guide.mean(dtype=np.float64)
    mean = box(guide) / pixels
    variance = np.maximum(box(guide * guide) / pixels - mean * mean, 0.0) + eps
    refined = np.empty(prob.shape, dtype=np.float32)
    for k in range(prob.shape[2]):
        values = prob[:, :, k].astype(np.float64)
        average = box(values) / pixels
        slope = (box(guide * values) / pixels - mean * average) / variance
        offset = average - slope * mean
        refined[:, :, k] = np.clip((box(slope) * guide + box(offset)) / pixels, 0.0, 1.0)
    return refined
