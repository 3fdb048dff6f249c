"""Gradient boosting per cell: what a blend leaves over, and of which kind the outcome will be.

Years are few and the cells of one say much the same, so that a model knows the years it has seen too well. Several are
fitted, each without some of the dates, and their mean corrects the blend; what is learned further is learned from
corrections by those that have not seen the date. The side of the 15 % edge is decided as by groups (`_edge_decision`),
but with all that is known of a cell in the place of four features.
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
PARTS = 5  # of the dates; a model of what is left over goes without one of them
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
    parts = min(PARTS, len(dates))
    if parts == 1:
        return LeftOver((_fit_left(dates, rng),))
    return LeftOver(
        tuple(_fit_left([d for k, d in enumerate(dates) if k % parts != part], rng) for part in range(parts))
    )


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
    """models: fitted on the error that the blend left; the k-th of n has not seen the dates k, k + n, ... (a single
    model has seen all)."""

    models: tuple[HistGradientBoostingRegressor, ...]

    def corrected(self, features: CellFeatures, blended: np.ndarray) -> np.ndarray:
        """float32 (A,): blended (A,) and the mean of what the models expect to be left over."""
        return self._corrected(self.models, features, blended)

    def corrected_unseen(self, date: int, features: CellFeatures, blended: np.ndarray) -> np.ndarray:
        """As `corrected`, for one of the dates that were fitted on, by the model that has not seen it."""
        return self._corrected((self.models[date % len(self.models)],), features, blended)

    @staticmethod
    def _corrected(
        models: Sequence[HistGradientBoostingRegressor], features: CellFeatures, blended: np.ndarray
    ) -> np.ndarray:
        changes = _changing(features)
        corrected = blended.copy()
        if changes.any():
            columns = _columns(features.of(changes), blended[changes])
            left = np.mean([model.predict(columns) for model in models], axis=0)
            corrected[changes] = np.clip(blended[changes] + left, 0, FULL)
        return corrected


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


def _fit_left(dates: Sequence[Cells], rng: np.random.Generator) -> HistGradientBoostingRegressor:
    from sklearn.ensemble import HistGradientBoostingRegressor

    drawn = [_drawn(date, _changing(date[0]), CELLS // len(dates), rng) for date in dates]
    features = np.concatenate([_columns(cells, own) for cells, own, _ in drawn])
    left = np.concatenate([truth - own for _, own, truth in drawn])
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=70, learning_rate=0.1, min_samples_leaf=_leaf(left), **SETTINGS
    )
    with _threads(left):
        return model.fit(features, left)


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
