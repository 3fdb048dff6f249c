"""Weights that minimise the mean absolute deviation, so that what they give is a median and not a mean."""

from __future__ import annotations

import numpy as np

ROUNDS = 14
FLAT = 1.0  # deviations below it weigh alike; a 250th of ice
LEAST_RIDGE = 1e-6  # for features that say the same


def least_deviation(features: np.ndarray, target: np.ndarray, ridge: float = LEAST_RIDGE) -> np.ndarray:
    """features: float32 (n, F), target: float32 (n,). Returns float32 (F + 1,), the last one the constant.

    ridge: how much a squared weight costs, as squared deviations of one row; the weights are drawn towards 0 by it.
    Least squares, repeated with the weights 1 / deviation of the round before (Schlossmacher 1973).
    """
    design = np.column_stack([features, np.ones(len(features), dtype=np.float32)])
    drawn = ridge * max(1, len(target)) * np.eye(design.shape[1])
    weight = np.ones(len(target), dtype=np.float32)
    solved = np.zeros(design.shape[1], dtype=np.float32)
    for _ in range(ROUNDS):
        weighted = (design * weight[:, None]).T
        solved = np.linalg.solve(
            (weighted @ design).astype(np.float64) + drawn, (weighted @ target).astype(np.float64)
        ).astype(np.float32)
        weight = 1 / np.maximum(np.abs(design @ solved - target), FLAT)
    return solved


def applied(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """float32 (n,)."""
    value: np.ndarray = features @ weights[:-1] + weights[-1]
    return value
