"""Choice among several ways to alter a forecast, on rows with a known truth and nested by fold.

The metric's sums of every row are computed once under every candidate. A choice on any selection of rows is then read
off them, so that choosing again without each fold costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from skyfold.types import Metric

CHUNK_ROWS = 32


class Candidate(Protocol):
    """Alters forecasts, any number of rows at a time."""

    def apply(self, pred: np.ndarray) -> np.ndarray: ...


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True)
class Measured(Generic[C]):
    """Candidates, and the metric's sums of each row under each: `stats` (candidates, n, S)."""

    candidates: Sequence[C]
    stats: np.ndarray
    metric: Metric

    def best(self, rows: np.ndarray) -> C:
        """The candidate with the best score over `rows`, int (m,) or bool (n,); the first of equals."""
        scores = np.array([self.metric.score(stats[rows]) for stats in self.stats])
        return self.candidates[int(np.argmax(scores if self.metric.greater_is_better else -scores))]

    def best_without(self, fold: np.ndarray) -> dict[int, C]:
        """For each fold the candidate that is best on the rows of all others; fold (n,), -1: counts nowhere."""
        folds = sorted(set(fold.tolist()) - {-1})
        return {held_out: self.best((fold != held_out) & (fold >= 0)) for held_out in folds}

    def cross_fitted(self, pred: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """`pred`, each fold's rows altered by the candidate chosen without them; rows of fold -1 stay as they are."""
        altered = np.array(pred)
        for held_out, candidate in self.best_without(fold).items():
            altered[fold == held_out] = candidate.apply(pred[fold == held_out])
        return altered


def measure(
    candidates: Sequence[C], pred: np.ndarray, target: np.ndarray, metric: Metric, *, valid: np.ndarray | None = None
) -> Measured[C]:
    """pred, target: float32 (n, H, W, L); valid: as the metric takes it."""
    stats = []
    for start in range(0, len(pred), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        known = None if valid is None else valid[rows]
        stats.append([metric.stats(target=target[rows], pred=one.apply(pred[rows]), valid=known) for one in candidates])
    return Measured(candidates, np.concatenate(stats, axis=1), metric)
