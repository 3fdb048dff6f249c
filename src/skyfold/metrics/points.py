"""Forecasts at single places, dams for instance, in the shape of maps, so that every forecast metric scores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.types import IntPair, Metric


@dataclass(frozen=True)
class AtPoints:
    """A forecast metric at the cells `points`, (row, column) each, instead of the whole map."""

    metric: Metric
    points: Sequence[IntPair]
    name: str = "at_points"
    greater_is_better: bool = False

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Of maps (n, H, W, L) as `Metric.stats`: float64 (n, S)."""
        known = None if valid is None else at_points(valid, self.points)
        return self.metric.stats(target=at_points(target, self.points), pred=at_points(pred, self.points), valid=known)

    def score(self, stats: np.ndarray) -> float:
        """Score of the metric for stats (n, S)."""
        return self.metric.score(stats)


def at_points(values: np.ndarray, points: Sequence[IntPair]) -> np.ndarray:
    """values: (n, H, W, ...); points: (row, column) each. Returns (n, P, 1, ...): the points as rows of a narrow map.

    >>> at_points(np.arange(6).reshape(1, 2, 3), [(0, 2), (1, 0)]).tolist()
    [[[2], [3]]]
    """
    rows, columns = np.array(points).T
    return values[:, rows, columns][:, :, np.newaxis]
