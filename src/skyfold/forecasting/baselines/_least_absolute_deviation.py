"""Linear regression of least absolute deviation: it predicts the conditional median instead of the mean.

Unlike the weights of `forecast_weights` its coefficients are unconstrained, and shrunk towards 0.
"""

from __future__ import annotations

import numpy as np

ITERATIONS = 14
MIN_DEVIATION = 1.0  # smaller deviations weigh the same; a 250th of full ice
MIN_RIDGE = 1e-6  # for collinear features


def least_absolute_deviation(features: np.ndarray, target: np.ndarray, ridge: float = MIN_RIDGE) -> np.ndarray:
    """Fit float32 (n, F) features to a float32 (n,) target. Returns coefficients float32 (F + 1,), last the intercept.

    ridge: penalty of a squared coefficient, in squared deviations of one row. Iteratively reweighted least squares:
    rows are weighted by 1 / deviation of the iteration before (Schlossmacher 1973).
    """
    design = np.column_stack([features, np.ones(len(features), dtype=np.float32)])
    penalty = ridge * max(1, len(target)) * np.eye(design.shape[1])
    weight = np.ones(len(target), dtype=np.float32)
    solved = np.zeros(design.shape[1], dtype=np.float32)
    for _ in range(ITERATIONS):
        weighted = (design * weight[:, None]).T
        solved = np.linalg.solve(
            (weighted @ design).astype(np.float64) + penalty, (weighted @ target).astype(np.float64)
        ).astype(np.float32)
        weight = 1 / np.maximum(np.abs(design @ solved - target), MIN_DEVIATION)
    return solved
