"""Mean of scores that were computed map by map, for their bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class MeanOfMaps:
    """Statistics are the scores themselves, (n, K), one per image and class."""

    name: str = "mean_of_maps"
    pooled: Literal["each", "samples"] = "each"
    greater_is_better: bool = True

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        raise TypeError("maps are scored before: give their scores (n, K) as the statistics")

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n,), whose mean is the score."""
        rows: np.ndarray = stats.astype(np.float64).mean(axis=1)
        return rows

    def score(self, stats: np.ndarray) -> float:
        """The mean over all maps; NaN of no rows is refused."""
        if not len(stats):
            raise ValueError("no rows to score")
        return float(self.per_row(stats).mean())
