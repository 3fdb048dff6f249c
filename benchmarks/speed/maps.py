"""Made-up masks and probabilities that look like what models predict of clouds: blobs with ragged edges."""

from __future__ import annotations

import cv2
import numpy as np

HEIGHT, WIDTH = 350, 525
NOWHERE = 0.53  # share of the image x class pairs of "Understanding Clouds" that hold none


def truth_masks(count: int, *, seed: int, height: int = HEIGHT, width: int = WIDTH, classes: int = 1) -> np.ndarray:
    """bool (count, height, width, classes); a share of `NOWHERE` of the masks is empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, height, width, classes), dtype=bool)
    for i, k in np.ndindex(count, classes):
        if rng.random() >= NOWHERE:
            masks[i, :, :, k] = _field(rng, height, width, coarse=96, ragged=0.06) > 0.45
    return masks


def probabilities(truth: np.ndarray, *, seed: int, noise: float = 0.9) -> np.ndarray:
    """What a fair model would answer to `truth` (n, H, W, K): uint8 of that shape, 255 times the probability.

    The truth, blurred, is mixed with errors of the size of clouds and a little noise of every pixel.
    """
    rng = np.random.default_rng(seed)
    height, width = truth.shape[1:3]
    prob = np.empty(truth.shape, dtype=np.uint8)
    for i, k in np.ndindex(len(truth), truth.shape[-1]):
        seen = cv2.GaussianBlur(truth[i, :, :, k].astype(np.float32), (0, 0), 6)
        errors = _field(rng, height, width, coarse=64, ragged=0.25)
        grain = rng.standard_normal((height, width), dtype=np.float32)
        logit = 5.0 * (seen - 0.5) + 2.0 * noise * errors - 0.6 + 0.075 * grain
        prob[i, :, :, k] = np.rint(255.0 / (1.0 + np.exp(-logit)))
    return prob


def _field(rng: np.random.Generator, height: int, width: int, *, coarse: int, ragged: float) -> np.ndarray:
    """Smooth noise of unit size that changes over `coarse` pixels, with `ragged` as much that changes over 8."""
    return _smooth(rng, height, width, coarse) + ragged * _smooth(rng, height, width, 8)


def _smooth(rng: np.random.Generator, height: int, width: int, step: int) -> np.ndarray:
    knots = rng.standard_normal((height // step + 3, width // step + 3), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC))
