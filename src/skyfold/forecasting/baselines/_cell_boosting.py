"""Gradient boosting per cell: what a blend leaves over, and of which kind the outcome will be.

Years are few and the cells of one say much the same, so that a model knows the years it has seen too well. Several are
fitted, each without some of the dates, and their mean corrects the blend; what is learned further is learned from
corrections by those that have not seen the date. The side of the 15 % edge is decided as by groups (`_edge_decision`),
but with all that is known of a cell in the place of four features.

All of it may be done several times, with other cells and columns, and averaged. Every second time old dates count for
less: the ice of the last years may say more of the next one than that of long ago, or may not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.forecasting.baselines._cell_features import NAMES, CellFeatures
from skyfold.forecasting.baselines._edge_decision import BELOW_EDGE, COUNTED, Worth
from skyfold.forecasting.seasons import ICE_EDGE

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

CELLS = 150_000  # fitted on, over all dates
# Years after which half as many cells are drawn of a date, by turns.
HALF_LIVES = {"left over": (math.inf, 15.0), "side": (math.inf, 8.0)}
PARTS = 5  # of the dates; a model of what is left over goes without one of them
FEW_CELLS = 30_000  # threads that wait for each other would only be slower
LEAST_SPREAD = 2.0  # cells that hardly change are left as they are
NEAR_EDGE = (0.5, 120.0)  # forecasts whose side is asked
# Open water, ice below the edge, ice above it that counts, more ice.
KINDS = np.array([COUNTED[0], ICE_EDGE, COUNTED[1]])
TYPICAL = np.array([3.0, 24.0, 75.0, 200.0])  # a value of each kind
FULL = 250.0
# A split chooses among three columns in ten, so that models differ.
SETTINGS = {"max_leaf_nodes": 24, "max_bins": 127, "max_features": 0.3, "early_stopping": False}

Cells = tuple[CellFeatures, np.ndarray, np.ndarray]  # features, forecast (A,), truth (A,)


def fit_left_over(dates: Sequence[Cells], ages: np.ndarray, times: int, rng: np.random.Generator) -> LeftOver:
    """From the open cells of earlier dates, those that are known.

    ages: (D,) years of each date, in the same order; times: so many models go without the same dates, the second and
    the fourth and so on with fewer cells of old ones.
    """
    parts = min(PARTS, len(dates))
    which = np.arange(len(dates))
    models = []
    for half_life in _by_turns("left over", times):
        for part in range(parts):
            seen = which[which % parts != part] if parts > 1 else which
            most = cells_of_dates(ages[seen], half_life)
            models.append(_fit_left([dates[k] for k in seen.tolist()], most, rng))
    return LeftOver(tuple(models), parts)


def fit_side(
    dates: Sequence[Cells], ages: np.ndarray, times: int, worth: Worth, rng: np.random.Generator
) -> LikelySide:
    """As `fit_left_over`, of the forecasts whose side is to be decided; `times` models, of all dates."""
    most = [cells_of_dates(ages, half_life) for half_life in _by_turns("side", times)]
    return LikelySide(tuple(_fit_kinds(dates, own, rng) for own in most), worth)


@dataclass(frozen=True)
class LeftOver:
    """models: fitted on the error that the blend left; of n parts, the k-th model has not seen the dates whose number
    divided by n leaves as much as k does (of one part, each has seen all)."""

    models: tuple[HistGradientBoostingRegressor, ...]
    parts: int

    def corrected(self, features: CellFeatures, blended: np.ndarray) -> np.ndarray:
        """float32 (A,): blended (A,) and the mean of what the models expect to be left over."""
        return self._corrected(self.models, features, blended)

    def corrected_unseen(self, date: int, features: CellFeatures, blended: np.ndarray) -> np.ndarray:
        """As `corrected`, for one of the dates that were fitted on, by the models that have not seen it."""
        return self._corrected(self.models[date % self.parts :: self.parts], features, blended)

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
    """models: classifiers of the kinds of outcome, whose mean counts; worth: of hits and false alarms."""

    models: tuple[HistGradientBoostingClassifier, ...]
    worth: Worth

    def says_ice(self, features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
        """bool (A,); forecast: (A,)."""
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
        crosses: np.ndarray = costs < np.where(is_ice, -gain, gain)
        return crosses


def cells_of_dates(ages: np.ndarray, half_life: float) -> list[int]:
    """How many cells to draw of each date, `CELLS` in all. ages: (D,) years; half_life: in years.

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


def _by_turns(what: str, times: int) -> list[float]:
    return [HALF_LIVES[what][time % 2] for time in range(times)]


def _fit_left(dates: Sequence[Cells], most: Sequence[int], rng: np.random.Generator) -> HistGradientBoostingRegressor:
    """most: cells to draw of each date."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    drawn = [_drawn(date, _changing(date[0]), count, rng) for date, count in zip(dates, most, strict=True)]
    features = np.concatenate([_columns(cells, own) for cells, own, _ in drawn])
    left = np.concatenate([truth - own for _, own, truth in drawn])
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=70, learning_rate=0.1, min_samples_leaf=_leaf(left), **_settings(rng)
    )
    with _threads(left):
        return model.fit(features, left)


def _fit_kinds(dates: Sequence[Cells], most: Sequence[int], rng: np.random.Generator) -> HistGradientBoostingClassifier:
    """most: cells to draw of each date."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    drawn = [_drawn(date, _near_edge(*date[:2]), count, rng) for date, count in zip(dates, most, strict=True)]
    features = np.concatenate([_columns(cells, own) for cells, own, _ in drawn])
    kinds = kinds_of(np.concatenate([truth for _, _, truth in drawn]))
    model = HistGradientBoostingClassifier(
        max_iter=50, learning_rate=0.12, min_samples_leaf=_leaf(kinds), **_settings(rng)
    )
    with _threads(kinds):
        return model.fit(features, kinds)


def _settings(rng: np.random.Generator) -> dict[str, Any]:
    return {**SETTINGS, "random_state": int(rng.integers(2**31))}


def _changing(features: CellFeatures) -> np.ndarray:
    changing: np.ndarray = features.column("spread") > LEAST_SPREAD
    return changing


def _near_edge(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    near: np.ndarray = (forecast > NEAR_EDGE[0]) & (forecast < NEAR_EDGE[1]) & (features.column("max_5") > 5)
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
