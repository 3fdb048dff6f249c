"""Gradient boosting per cell: what a blend leaves over, and of which kind the outcome will be.

The median forecast is half-way between the blend and the boosted one, which errs in other years. The side of the 15 %
edge is decided as by groups (`_edge_decision`), but with all that is known of a cell in the place of four features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skyfold.forecasts._cell_features import EDGE, NAMES, CellFeatures
from skyfold.forecasts._edge_decision import BELOW_EDGE, COUNTED, Worth

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

CELLS = 150_000  # fitted on, over all dates
FEW_CELLS = 30_000  # threads that wait for each other would only be slower
LEAST_SPREAD = 2.0  # cells that hardly change are left as they are
NEAR_EDGE = (0.5, 120.0)  # forecasts whose side is asked
KINDS = np.array([COUNTED[0], EDGE, COUNTED[1]])  # open water, ice below the edge, ice above it that counts, more ice
TYPICAL = np.array([3.0, 24.0, 75.0, 200.0])  # a value of each kind
FULL = 250.0
SETTINGS = {"max_leaf_nodes": 24, "max_bins": 127, "early_stopping": False}

Cells = tuple[CellFeatures, np.ndarray, np.ndarray]  # features, forecast (A,), truth (A,)


def fit_left_over(dates: Sequence[Cells], rng: np.random.Generator) -> LeftOver:
    """From the open cells of earlier dates, those that are known; the same number of cells is drawn of each date."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    drawn = [_drawn(date, _changing(date[0]), CELLS // len(dates), rng) for date in dates]
    features = np.concatenate([_columns(cells, own) for cells, own, _ in drawn])
    left = np.concatenate([truth - own for _, own, truth in drawn])
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=70, learning_rate=0.1, min_samples_leaf=_leaf(left), **SETTINGS
    )
    with _threads(left):
        return LeftOver(model.fit(features, left))


def fit_side(dates: Sequence[Cells], worth: Worth, rng: np.random.Generator) -> LikelySide:
    """As `fit_left_over`, of the forecasts whose side is to be decided."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    drawn = [_drawn(date, _near_edge(*date[:2]), CELLS // len(dates), rng) for date in dates]
    features = np.concatenate([_columns(cells, own) for cells, own, _ in drawn])
    kinds = kinds_of(np.concatenate([truth for _, _, truth in drawn]))
    model = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.12, min_samples_leaf=_leaf(kinds), **SETTINGS)
    with _threads(kinds):
        return LikelySide(model.fit(features, kinds), worth)


@dataclass(frozen=True)
class LeftOver:
    """Fitted on the error that the blend left."""

    model: HistGradientBoostingRegressor

    def half_way(self, features: CellFeatures, blended: np.ndarray) -> np.ndarray:
        """float32 (A,): blended (A,), moved by half of what is expected to be left over."""
        moves = _changing(features)
        moved = blended.copy()
        if moves.any():
            left = self.model.predict(_columns(features.of(moves), blended[moves]))
            moved[moves] += 0.5 * (np.clip(blended[moves] + left, 0, FULL) - blended[moves]).astype(np.float32)
        return moved


@dataclass(frozen=True)
class LikelySide:
    """A classifier of the kinds of outcome, and what hits and false alarms are worth."""

    model: HistGradientBoostingClassifier
    worth: Worth

    def says_ice(self, features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
        """bool (A,); forecast: (A,)."""
        near = _near_edge(features, forecast)
        ice: np.ndarray = forecast >= EDGE
        if near.any():
            chance = np.zeros((int(near.sum()), len(TYPICAL)))
            chance[:, self.model.classes_] = self.model.predict_proba(_columns(features.of(near), forecast[near]))
            ice[near] ^= self._crosses(chance, forecast[near])
        return ice

    def _crosses(self, chance: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """bool (n,): whether the other side of the edge is worth its error; chance: (n, 4)."""
        is_ice = forecast >= EDGE
        gain = self.worth.hit * chance[:, 2] - self.worth.alarm * chance[:, 1]
        costs = _expected_error(chance, np.where(is_ice, BELOW_EDGE, EDGE)) - _expected_error(chance, forecast)
        crosses: np.ndarray = costs < np.where(is_ice, -gain, gain)
        return crosses


def kinds_of(truth: np.ndarray) -> np.ndarray:
    """int64 (n,): 0 open water (to 5 %), 1 ice below the edge, 2 from the edge to 50 %, 3 more.

    >>> kinds_of(np.array([12, 13, 37, 38, 124, 125])).tolist()
    [0, 1, 1, 2, 2, 3]
    """
    return np.digitize(truth, KINDS)


def _changing(features: CellFeatures) -> np.ndarray:
    changing: np.ndarray = features.column("spread") > LEAST_SPREAD
    return changing


def _near_edge(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    near: np.ndarray = (forecast > NEAR_EDGE[0]) & (forecast < NEAR_EDGE[1]) & (features.column("most_5") > 5)
    return near


def _drawn(date: Cells, wanted: np.ndarray, most: int, rng: np.random.Generator) -> Cells:
    cells = np.flatnonzero(wanted)
    cells = np.sort(rng.choice(cells, min(len(cells), most), replace=False))
    features, forecast, truth = date
    return features.of(cells), forecast[cells], truth[cells]


def _columns(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    differences = [features.column(name) - forecast for name in ("mean_5", "trend_long")]
    beyond = features.members - forecast[:, None]
    return np.column_stack([features.columns(NAMES), forecast, *differences, beyond])


def _leaf(target: np.ndarray) -> int:
    """Cells a leaf holds at least: many, since neighbouring cells say the same."""
    return max(20, min(300, len(target) // 100))


def _threads(target: np.ndarray):  # type: ignore[no-untyped-def]
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(None if len(target) > FEW_CELLS else 1)


def _expected_error(chance: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    error: np.ndarray = (chance * np.abs(forecast[:, None] - TYPICAL)).sum(axis=1)
    return error
