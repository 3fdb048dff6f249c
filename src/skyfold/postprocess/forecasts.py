"""Smoothing and decision thresholds of forecasts, chosen on rows with a known truth.

A forecast that puts every shower one pixel beside its place is wrong twice: where it is uncertain, a blurred and damped
value has the smaller error. And competitions count hits where forecast and truth both reach a threshold (0.1 mm/h of
rain, 15 % of ice), which a forecast of least error does not reach as often as it should: values from the decision
threshold up to the event's are raised to it or, where the decision threshold is higher, values between the two are
lowered to just below. Values move by little, the skill score by much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from skyfold.types import Metric

SIGMAS = (0.0, 0.6, 0.8, 1.0, 1.3, 1.7)  # pixels
FACTORS = (0.8, 0.84, 0.88, 0.92, 0.96, 1.0)
FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)  # of the event's threshold
CHUNK_ROWS = 32


@dataclass(frozen=True)
class Smoothing:
    """sigma: of a Gaussian blur, in pixels; factor: what the blurred values are multiplied by."""

    sigma: float
    factor: float

    def apply(self, pred: np.ndarray) -> np.ndarray:
        """Smoothed forecasts, a new array; borders are replicated. pred: float32 (n, H, W, L)."""
        if self.sigma == 0:
            return np.float32(self.factor) * pred
        blurred = [
            cv2.GaussianBlur(np.ascontiguousarray(one), (0, 0), self.sigma, borderType=cv2.BORDER_REPLICATE)
            for one in pred
        ]
        return np.float32(self.factor) * np.stack(blurred).reshape(pred.shape)


@dataclass(frozen=True)
class DecisionThreshold:
    """decision: a forecast of at least this much counts as the event; event: the competition's threshold; in its
    unit."""

    decision: float
    event: float

    def apply(self, pred: np.ndarray) -> np.ndarray:
        """A new array like `pred`, of any shape, with the event exactly where `pred` reaches the decision threshold."""
        infinity = np.asarray(np.inf, dtype=pred.dtype)
        least = np.asarray(self.event, dtype=pred.dtype)  # the least number of this dtype that is not below the event
        least = least if float(least) >= self.event else np.nextafter(least, infinity)
        raised, lowered = np.maximum(pred, least), np.minimum(pred, np.nextafter(least, -infinity))
        return np.where(pred >= self.decision, raised, lowered).astype(pred.dtype)


def smoothing_grid() -> list[Smoothing]:
    """Every sigma with every factor."""
    return [Smoothing(sigma, factor) for sigma in SIGMAS for factor in FACTORS]


def decision_grid(event: float) -> list[DecisionThreshold]:
    """A decision threshold at each of `FRACTIONS` of the event's threshold."""
    return [DecisionThreshold(fraction * event, event) for fraction in FRACTIONS]


class Candidate(Protocol):
    """Alters forecasts, any number of rows at a time."""

    def apply(self, pred: np.ndarray) -> np.ndarray: ...


C = TypeVar("C", bound=Candidate)


def best_candidate(
    candidates: Sequence[C], pred: np.ndarray, target: np.ndarray, metric: Metric, *, valid: np.ndarray | None = None
) -> C:
    """The candidate under which `pred` has the best score, the first of equals.

    pred, target: float32 (n, H, W, L); valid: as the metric takes it. Rows are altered a chunk at a time.
    """
    stats = []
    for start in range(0, len(pred), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        known = None if valid is None else valid[rows]
        stats.append([metric.stats(target=target[rows], pred=one.apply(pred[rows]), valid=known) for one in candidates])
    scores = np.array([metric.score(of_candidate) for of_candidate in np.concatenate(stats, axis=1)])
    return candidates[int(np.argmax(scores if metric.greater_is_better else -scores))]
