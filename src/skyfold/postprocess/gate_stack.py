"""Probability that a class is in an image, stacked from the classifier and the most confident pixels of the masks.

A classifier sees the image as a whole, a segmentation model has seen outlines. One logistic regression per class
combines the probability of the classifier with the mean probability of the top pixels of the blend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.postprocess.threshold_counts import threshold_counts

TOP_FRACTIONS = (0.002, 0.01, 0.05, 0.2, 1.0)  # of the pixels, the most probable ones, whose mean is a feature
MIN_PROBABILITY = 1e-3  # probabilities are kept this far from 0 and 1 before the logit


@dataclass(frozen=True)
class GateStack:
    """Coefficients of one logistic regression a class: coef_ (K, F), intercept_ (K,)."""

    coef_: tuple[tuple[float, ...], ...]
    intercept_: tuple[float, ...]

    def probability(self, features: np.ndarray) -> np.ndarray:
        """features: (n, K, F) as from `gate_features`. Returns float64 (n, K)."""
        coef, intercept = np.array(self.coef_), np.array(self.intercept_)
        logits = np.einsum("nkf,kf->nk", features.astype(np.float64), coef) + intercept
        probability: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * logits))
        return probability


def fit_gate_stack(features: np.ndarray, present: np.ndarray) -> GateStack:
    """features: float (n, K, F); present: bool (n, K), whether the truth has the class.

    A class that is in all images of the rows, or in none, gets its smoothed frequency whatever the features are.
    """
    from sklearn.linear_model import LogisticRegression

    coefs, intercepts = [], []
    for k in range(present.shape[1]):
        if present[:, k].all() or not present[:, k].any():
            rate = (present[:, k].sum() + 0.5) / (len(present) + 1.0)
            coefs.append((0.0,) * features.shape[2])
            intercepts.append(float(np.log(rate / (1.0 - rate))))
            continue
        model = LogisticRegression(C=1.0, max_iter=1000).fit(features[:, k].astype(np.float64), present[:, k])
        coefs.append(tuple(float(c) for c in model.coef_[0]))
        intercepts.append(float(model.intercept_[0]))
    return GateStack(tuple(coefs), tuple(intercepts))


def gate_features(prob: np.ndarray, gate_prob: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Logits of the features of a class, float32 (n, K, len(TOP_FRACTIONS) + 1).

    prob: uint8 (n, H, W, K), 255 times a probability; gate_prob: (n, K) of the classifier; valid: bool (n, H, W),
    pixels that count, None: all. The mean over no pixels is 0.
    """
    above = threshold_counts(prob, np.zeros(prob.shape, dtype=np.bool_), valid)[:, :, 1]
    return features_of_counts(above, gate_prob)


def features_of_counts(above: np.ndarray, gate_prob: np.ndarray) -> np.ndarray:
    """As `gate_features`, of maps that are counted: above, int (n, K, 256), pixels of each value or more.

    The means of the top pixels follow from these counts exactly.
    """
    pixels = np.diff(above[..., ::-1].astype(np.int64), axis=-1, prepend=0)  # of each value, from 255 down to 0
    total = above[..., 0].astype(np.int64)
    features = np.empty((*total.shape, len(TOP_FRACTIONS) + 1), dtype=np.float32)
    for j, fraction in enumerate(TOP_FRACTIONS):
        features[..., j] = _logit(_top_mean(pixels, total, fraction))
    features[..., -1] = _logit(gate_prob)
    return features


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
