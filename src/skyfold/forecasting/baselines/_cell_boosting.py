"""Gradient boosting per cell: the residual of a blend, and the kind of outcome.

Years are few and the cells of one are correlated, so that a model overfits the years it has seen. Several models are
fitted, each without some of the dates, and their mean corrects the blend; later steps are fitted on corrections by
models that have not seen the date. The side of the 15 % edge is decided as in `_edge_decision`, but with all features
of a cell instead of groups of cells.

All of it may be repeated with other cells and columns, and averaged. Every second repeat draws fewer cells of old
dates: the ice of recent years may be more like the next one, or may not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.forecasting.baselines._cell_features import NAMES, CellFeatures
from skyfold.forecasting.baselines._edge_decision import BELOW_EDGE, Worth
from skyfold.forecasting.seasons import COUNTED, FULL, ICE_EDGE

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    from skyfold.forecasting.baselines._packed_trees import PackedTrees

CELLS = 150_000  # fitted on, over all dates
# Age in years of a date of which half as many cells are drawn, in turn.
HALF_LIVES = {"left over": (math.inf, 15.0), "side": (math.inf, 8.0)}
PARTS = 5  # of the dates; a model of what is left over goes without one of them
FEW_CELLS = 30_000  # threads that wait for each other would only be slower
LEAST_SPREAD = 2.0  # cells that hardly change are left as they are
NEAR_EDGE = (0.5, 120.0)  # forecasts whose side is asked
# Open water, ice below the edge, ice above it that counts, more ice.
KINDS = np.array([COUNTED[0], ICE_EDGE, COUNTED[1]])
TYPICAL = np.array([3.0, 24.0, 75.0, 200.0])  # a value of each kind
# A split chooses among three columns in ten, so that models differ.
SETTINGS = {"max_leaf_nodes": 24, "max_bins": 127, "max_features": 0.3, "early_stopping": False}

Cells = tuple[CellFeatures, np.ndarray, np.ndarray]  # features, forecast (A,), truth (A,)


def fit_left_over(dates: Sequence[Cells], ages: np.ndarray, times: int, rng: np.random.Generator) -> LeftOver:
    """Fit models of the residuals at the open cells of earlier dates whose truth is known.

    ages: (D,) years of each date, in the same order; times: number of models without the same dates, the second and the
    fourth and so on with fewer cells of old ones.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    parts = min(PARTS, len(dates))
    which = np.arange(len(dates))
    models = []
    for half_life in islice(cycle(HALF_LIVES["left over"]), times):
        for part in range(parts):
            seen = which[which % parts != part] if parts > 1 else which
            model = HistGradientBoostingRegressor(loss="absolute_error", max_iter=70, learning_rate=0.1, **SETTINGS)
            counts = cells_of_dates(ages[seen], half_life)
            drawn = [
                _drawn(dates[k], _changing(dates[k][0]), count, rng) for k, count in zip(seen, counts, strict=True)
            ]
            models.append(_fit(model, drawn, np.concatenate([truth - own for _, own, truth in drawn]), rng))
    return LeftOver(tuple(models), parts)


def fit_side(
    dates: Sequence[Cells], ages: np.ndarray, times: int, worth: Worth, rng: np.random.Generator
) -> LikelySide:
    """Fit classifiers of the kind of outcome, at the forecasts whose side of the edge is to be decided.

    dates, ages: as `fit_left_over`; times: number of models, each fitted on all dates, the second and the fourth and so
    on with fewer cells of old ones. worth: of hits and false alarms.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    models = []
    for half_life in islice(cycle(HALF_LIVES["side"]), times):
        model = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.12, **SETTINGS)
        counts = cells_of_dates(ages, half_life)
        drawn = [_drawn(date, _near_edge(*date[:2]), count, rng) for date, count in zip(dates, counts, strict=True)]
        models.append(_fit(model, drawn, kinds_of(np.concatenate([truth for _, _, truth in drawn])), rng))
    return LikelySide(tuple(models), worth)


def _fit(model: Any, drawn: Sequence[Cells], target: np.ndarray, rng: np.random.Generator) -> Any:
    """Fit a scikit-learn `model` on the features and forecasts of `drawn` cells and their `target` (n,)."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    columns = np.concatenate([_columns(features, forecast) for features, forecast, _ in drawn])
    # Many cells per leaf, since neighbouring cells are alike.
    leaf = max(20, min(300, len(target) // 100))
    model.set_params(min_samples_leaf=leaf, random_state=int(rng.integers(2**31)))
    with threadpool_limits(None if len(target) > FEW_CELLS else 1):
        return model.fit(columns, target)


@dataclass(frozen=True)
class LeftOver:
    """Models of the residual of the blend; with n parts, model k has not seen the dates d with d % n == k % n (with one
    part, each has seen all)."""

    models: tuple[HistGradientBoostingRegressor | PackedTrees, ...]
    parts: int

    def corrected(self, features: CellFeatures, blended: np.ndarray, seen: int | None = None) -> np.ndarray:
        """The blend (A,) plus the mean of the residuals that the models predict, float32 (A,).

        seen: number of the date where it was fitted on, to use only the models that have not seen it.
        """
        models = self.models if seen is None else self.models[seen % self.parts :: self.parts]
        changes = _changing(features)
        corrected = blended.copy()
        if changes.any():
            columns = _columns(features.of(changes), blended[changes])
            left = np.mean([model.predict(columns) for model in models], axis=0)
            corrected[changes] = np.clip(blended[changes] + left, 0, FULL)
        return corrected


@dataclass(frozen=True)
class LikelySide:
    """models: classifiers of the kinds of outcome, whose mean counts; worth: of hits and false alarms."""

    models: tuple[HistGradientBoostingClassifier | PackedTrees, ...]
    worth: Worth

    def says_ice(self, features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
        """Whether each cell should be forecast at or above the edge, bool (A,).

        forecast: (A,). Cells far from the edge stay on the side of their forecast.
        """
        near = _near_edge(features, forecast)
        ice: np.ndarray = forecast >= ICE_EDGE
        if near.any():
            columns = _columns(features.of(near), forecast[near])
            chance = np.zeros((len(columns), len(TYPICAL)))
            for model in self.models:
                chance[:, model.classes_] += model.predict_proba(columns) / len(self.models)
            ice[near] ^= self._crosses(chance, forecast[near])
        return ice

    def _crosses(self, chance: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """bool (n,): whether the other side of the edge is worth its error; chance: (n, 4)."""
        is_ice = forecast >= ICE_EDGE
        gain = self.worth.hit * chance[:, 2] - self.worth.alarm * chance[:, 1]
        costs = _expected_error(chance, np.where(is_ice, BELOW_EDGE, ICE_EDGE)) - _expected_error(chance, forecast)
        return np.asarray(costs < np.where(is_ice, -gain, gain))


def cells_of_dates(ages: np.ndarray, half_life: float) -> list[int]:
    """Number of cells to draw of each date, `CELLS` in all. ages: (D,) years; half_life: in years.

    >>> cells_of_dates(np.array([15.0, 0.0]), 15.0)
    [50000, 100000]
    >>> cells_of_dates(np.array([15.0, 0.0]), math.inf)
    [75000, 75000]
    """
    weights = 0.5 ** (ages / half_life)
    counts: list[int] = (CELLS * weights / weights.sum()).astype(int).tolist()
    return counts


def kinds_of(truth: np.ndarray) -> np.ndarray:
    """int64 (n,): 0 open water (to 5 %), 1 ice below the edge, 2 from the edge to 50 %, 3 more.

    >>> kinds_of(np.array([12, 13, 37, 38, 124, 125])).tolist()
    [0, 1, 1, 2, 2, 3]
    """
    return np.digitize(truth, KINDS)


def _changing(features: CellFeatures) -> np.ndarray:
    return np.asarray(features.column("spread") > LEAST_SPREAD)


def _near_edge(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    return np.asarray((forecast > NEAR_EDGE[0]) & (forecast < NEAR_EDGE[1]) & (features.column("max_5") > 5))


def _drawn(date: Cells, wanted: np.ndarray, most: int, rng: np.random.Generator) -> Cells:
    cells = np.flatnonzero(wanted)
    cells = np.sort(rng.choice(cells, min(len(cells), most), replace=False))
    features, forecast, truth = date
    return features.of(cells), forecast[cells], truth[cells]


def _columns(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    differences = [features.column(name) - forecast for name in ("mean_5", "trend_long")]
    beyond = features.members - forecast[:, None]
    return np.column_stack([features.columns(NAMES), forecast, *differences, beyond])


def _expected_error(chance: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    return np.asarray((chance * np.abs(forecast[:, None] - TYPICAL)).sum(axis=1))
