"""Blurring and damping of forecasts: where a forecast is uncertain, a cautious value has the smaller error.

A forecast that puts every shower one pixel beside its place is wrong twice. The width of a Gaussian blur and a factor
are chosen from a grid on rows with a known truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIGMAS = (0.0, 0.6, 0.8, 1.0, 1.3, 1.7)  # pixels
FACTORS = (0.8, 0.84, 0.88, 0.92, 0.96, 1.0)


@dataclass(frozen=True)
class Smoothing:
    """sigma: of the blur, in pixels; factor: what the blurred values are multiplied by."""

    sigma: float
    factor: float

    def apply(self, pred: np.ndarray) -> np.ndarray:
        """pred: float32 (n, H, W, L). Returns a new array; borders are replicated."""
        return np.float32(self.factor) * _blurred(pred, self.sigma)


def smoothing_grid(sigmas: Sequence[float] = SIGMAS, factors: Sequence[float] = FACTORS) -> list[Smoothing]:
    """Every sigma with every factor, to choose from (see candidates.py)."""
    return [Smoothing(sigma, factor) for sigma in sigmas for factor in factors]


def _blurred(pred: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    if sigma == 0:
        return np.array(pred, dtype=np.float32)
    maps = [cv2.GaussianBlur(np.ascontiguousarray(one), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for one in pred]
    return np.stack(maps).reshape(pred.shape).astype(np.float32)
