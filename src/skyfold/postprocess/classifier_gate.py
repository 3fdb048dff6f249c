"""Emptying of the masks of classes that an image-level classifier rejects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply(masks: np.ndarray, gate_prob: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Empty the masks whose class is rejected. masks: bool (n, H, W, K). Returns bool (n, H, W, K), a new array."""
    if masks.dtype != np.bool_ or masks.ndim != 4 or gate_prob.shape != (len(masks), masks.shape[-1]):
        raise ValueError(
            f"expected bool (n, H, W, K) and (n, K); got {masks.dtype} {masks.shape} and {gate_prob.shape}"
        )
    return np.asarray(masks & passes(gate_prob, thresholds)[:, None, None, :])


def passes(gate_prob: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """gate_prob: (n, K) probability that the class is there; thresholds: (K,). True at or above: bool (n, K).

    Compares in float64: a threshold between two neighbouring float32 would otherwise be rounded onto one of them.
    """
    if np.isnan(gate_prob).any():
        row = int(np.flatnonzero(np.isnan(gate_prob).any(axis=1))[0])
        raise ValueError(f"the classifier's probability in row {row} is NaN; predict it again")
    return np.asarray(gate_prob.astype(np.float64) >= np.asarray(thresholds, dtype=np.float64))
