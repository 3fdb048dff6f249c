"""Probability that a class is in an image, stacked from the classifier and the most confident pixels of the masks.

A classifier sees the image as a whole, a segmentation model has seen outlines. One logistic regression per class
combines the probability of the classifier with the mean probability of the top pixels of the blend.
"""

from __future__ import annotations

import numpy as np

from skyfold.blending.stack import LogisticStack, fit_logistic
from skyfold.postprocess.threshold_counts import threshold_counts

TOP_FRACTIONS = (0.002, 0.01, 0.05, 0.2, 1.0)  # of the pixels, the most probable ones, whose mean is a feature
MIN_PROBABILITY = 1e-3  # probabilities are kept this far from 0 and 1 before the logit


def fit_gate_stack(features: np.ndarray, present: np.ndarray) -> LogisticStack:
    """One logistic regression per class. features: float (n, K, F); present: bool (n, K), whether the truth has the
    class."""
    return LogisticStack.of(fit_logistic(features[:, k], present[:, k]) for k in range(present.shape[1]))


def gate_features(above: np.ndarray, gate_prob: np.ndarray) -> np.ndarray:
    """Logits of the features of a class, float32 (n, K, len(TOP_FRACTIONS) + 1).

    above: int (n, K, 256), pixels of each map that have each value or more, from which the means of the top pixels
    follow exactly; gate_prob: (n, K) of the classifier. The mean over no pixels is 0.
    """
    pixels = np.diff(above[..., ::-1].astype(np.int64), axis=-1, prepend=0)  # of each value, from 255 down to 0
    total = above[..., 0].astype(np.int64)
    features = [_logit(_top_mean(pixels, total, fraction)) for fraction in TOP_FRACTIONS]
    return np.stack([*features, _logit(gate_prob)], axis=-1).astype(np.float32)


def features_of(prob: np.ndarray, gate_prob: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Features of the stacked gate of some maps, float32 (n, K, F).

    prob: uint8 (n, H, W, K); gate_prob: (n, K); valid: bool (n, H, W), pixels that count, None: all.
    """
    return gate_features(threshold_counts(prob, np.zeros(prob.shape, dtype=bool), valid)[:, :, 1], gate_prob)


def _top_mean(pixels: np.ndarray, total: np.ndarray, fraction: float) -> np.ndarray:
    """Mean probability of the highest `fraction` of the pixels, at least one: float64 (n, K). pixels: from 255 down."""
    top = np.maximum(1, (total * fraction).astype(np.int64))
    before = np.cumsum(pixels, axis=-1) - pixels
    taken = np.clip(top[..., None] - before, 0, pixels)
    return np.asarray((taken * np.arange(255, -1, -1)).sum(axis=-1) / (255.0 * top))


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability.astype(np.float64), MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    logit: np.ndarray = np.log(clipped / (1.0 - clipped))
    return logit
