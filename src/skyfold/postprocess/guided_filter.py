"""How a coarse probability map follows the edges of the image: the guided filter (He, Sun, Tang 2010).

A network that sees an image reduced to a third cannot say which of nine pixels an edge runs through; the image itself
can. In every window the map is fitted by a straight line of one plane of the image (the guide), and each pixel takes
the mean of the lines of all windows it lies in. Where the guide is flat the map is smoothed; where it has an edge, the
map gets the same edge.
"""

from __future__ import annotations

import cv2
import numpy as np


def guided_filter(
    prob: np.ndarray, guide: np.ndarray, *, radius: int, eps: float, valid: np.ndarray | None = None
) -> np.ndarray:
    """Refine maps along the edges of their guides.

    prob: uint8 (n, H, W, K), 255 times a probability; guide: float32 (n, H, W); valid: bool (n, H, W), undefined pixels
    pull at no line, None: all count. radius: of the square window, in pixels, >= 1; eps: > 0, in squares of the guide's
    unit: windows whose variance is far below it are smoothed. Returns uint8 (n, H, W, K), a new array.
    """
    if prob.dtype != np.uint8 or prob.ndim != 4 or guide.shape != prob.shape[:3]:
        raise ValueError(f"expected prob uint8 (n, H, W, K) and guide (n, H, W); got {prob.shape} and {guide.shape}")
    if radius < 1 or not eps > 0:
        raise ValueError(f"expected a radius of 1 or more and eps above 0; got {radius} and {eps}")
    refined = np.empty_like(prob)
    for i in range(len(prob)):
        weight = np.ones(guide.shape[1:]) if valid is None else valid[i].astype(np.float64)
        lines = _Windows(guide[i].astype(np.float64), weight, radius, eps)
        for k in range(prob.shape[-1]):
            values = lines.refine(prob[i, :, :, k].astype(np.float64))
            refined[i, :, :, k] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return refined


class _Windows:
    """What the windows of one guide have in common, whichever map is fitted. All in float64 (H, W).

    Means are taken of the guide less its mean, since in windows of little variance the difference of two large squares
    would keep few digits.
    """

    def __init__(self, guide: np.ndarray, weight: np.ndarray, radius: int, eps: float) -> None:
        self.size, self.weight = (2 * radius + 1, 2 * radius + 1), weight
        self.share = self._box(weight)
        self.guide = guide - guide.mean()
        self.mean = self._mean(self.guide)
        self.variance = np.maximum(self._mean(self.guide * self.guide) - self.mean * self.mean, 0.0) + eps

    def refine(self, values: np.ndarray) -> np.ndarray:
        level = self._mean(values)
        slope = (self._mean(self.guide * values) - self.mean * level) / self.variance
        offset = level - slope * self.mean
        refined: np.ndarray = self._mean(slope) * self.guide + self._mean(offset)
        # A window without a pixel that counts says nothing: the map stays as it was.
        return np.where(self.share > 0, refined, values)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Over the pixels of the window that count; 0 where none does."""
        total = self._box(values * self.weight)
        return np.divide(total, self.share, out=np.zeros_like(total), where=self.share > 0)

    def _box(self, values: np.ndarray) -> np.ndarray:
        summed = cv2.boxFilter(values, -1, self.size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(np.where(np.abs(summed) < 1e-12, 0.0, summed))  # running sums leave a trace of rounding
