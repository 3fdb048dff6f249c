"""Whether a class is in an image at all, from the classifier and from the masks' own probabilities together.

A classifier sees the image as a whole, a segmentation model has seen outlines. A logistic regression per class weighs
the classifier's answer against how sure the blend is of its surest pixels, and how much it sees in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.postprocess.level_counts import level_counts

TOP_SHARES = (0.002, 0.01, 0.05, 0.2, 1.0)  # mean probability of this share of the pixels, the surest ones
LEAST = 1e-3  # probabilities are kept this far from 0 and 1 before the logit


@dataclass(frozen=True)
class PresenceStack:
    """Coefficients of one logistic regression a class: coef_ (K, F), intercept_ (K,)."""

    coef_: tuple[tuple[float, ...], ...]
    intercept_: tuple[float, ...]

    def probability(self, features: np.ndarray) -> np.ndarray:
        """features: (n, K, F) as from `presence_features`. Returns float64 (n, K)."""
        coef, intercept = np.array(self.coef_), np.array(self.intercept_)
        logits = np.einsum("nkf,kf->nk", features.astype(np.float64), coef) + intercept
        probability: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * logits))
        return probability


def fit_presence(features: np.ndarray, present: np.ndarray) -> PresenceStack:
    """features: float (n, K, F); present: bool (n, K), whether the truth has the class.

    A class that is in all images of the rows, or in none, gets its smoothed rate whatever the features say.
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
    return PresenceStack(tuple(coefs), tuple(intercepts))


def presence_features(prob: np.ndarray, gate_prob: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Logits of what speaks for a class being there, float32 (n, K, len(TOP_SHARES) + 1).

    prob: uint8 (n, H, W, K), 255 times a probability; gate_prob: (n, K) of the classifier; valid: bool (n, H, W),
    pixels that count, None: all. An image without a pixel that counts has a mean of 0.
    """
    above = level_counts(prob, np.zeros(prob.shape, dtype=np.bool_), valid)[:, :, 1]
    return features_of_counts(above, gate_prob)


def features_of_counts(above: np.ndarray, gate_prob: np.ndarray) -> np.ndarray:
    """As `presence_features`, of maps that were counted before: above, int (n, K, 256), pixels of each value or more.

    The mean of the top share of the pixels comes from these counts, exactly.
    """
    pixels = np.diff(above[..., ::-1].astype(np.int64), axis=-1, prepend=0)  # of each value, from 255 down to 0
    total = above[..., 0].astype(np.int64)
    features = np.empty((*total.shape, len(TOP_SHARES) + 1), dtype=np.float32)
    for j, share in enumerate(TOP_SHARES):
        features[..., j] = _logit(_top_mean(pixels, total, share))
    features[..., -1] = _logit(gate_prob)
    return features


def _top_mean(pixels: np.ndarray, total: np.ndarray, share: float) -> np.ndarray:
    """Mean probability of the highest `share` of the pixels, at least one: float64 (n, K). pixels: from 255 down."""
    wanted = np.maximum(1, (total * share).astype(np.int64))
    before = np.cumsum(pixels, axis=-1) - pixels
    taken = np.clip(wanted[..., None] - before, 0, pixels)
    return np.asarray((taken * np.arange(255, -1, -1)).sum(axis=-1) / (255.0 * wanted))


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability.astype(np.float64), LEAST, 1.0 - LEAST)
    logit: np.ndarray = np.log(clipped / (1.0 - clipped))
    return logit
