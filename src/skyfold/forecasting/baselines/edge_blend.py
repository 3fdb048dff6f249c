"""Blend of simple forecasts by least absolute deviation, optionally boosted, moved to the best side of the ice edge.

For each lead time, the weights of last years, means, trends, anomalies and members that had the least absolute error on
earlier dates; then, with `boosted`, gradient boosting per cell of the residual; then the decision on which side of the
15 % edge the forecast should lie. All of it is fitted on earlier dates and what was observed after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from skyfold.config.fields import Positive, Seed
from skyfold.errors import DataLayoutError
from skyfold.forecasting.baselines import FittedBaseline
from skyfold.forecasting.baselines._cell_boosting import LeftOver, LikelySide, fit_left_over, fit_side
from skyfold.forecasting.baselines._cell_features import CellFeatures, cell_features
from skyfold.forecasting.baselines._edge_decision import GroupSide, Worth, group_side, on_the_right_side, worth_of
from skyfold.forecasting.baselines._packed_trees import PackedTrees
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import FULL, MIN_YEARS, settled_forecast
from skyfold.metrics.forecast import CONCENTRATION
from skyfold.types import IntPair, JsonDict

BASE = "mean_5"  # the others are blended into it as anomalies from it
VALUES = (
    *("year_1", "year_2", "year_3", "mean_10", "mean_long", "trend_10", "trend_long", "median_5", "median_9", "damped"),
    *("around_mean_5", "around_year_1", "around_trend_10"),
)
ANOMALIES = ("last_anomaly", "year_1_anomaly", "around_year_1_anomaly")
ITERATIONS = 14  # of least absolute deviation
MIN_DEVIATION = 1.0  # smaller deviations weigh the same; a 250th of full ice
RIDGE = 1.0  # years are few: shrinks the blend towards its base
CELLS_A_LEAD = 90_000  # fitted on, over all dates


class EdgeBlend(FittedBaseline):
    """years: fit on at most so many of the newest dates; boosted: whether the residual is boosted; n_repeats: number of
    boostings that are fitted and averaged; seed: of the cells that are drawn."""

    UNIT: ClassVar[str | None] = CONCENTRATION.name
    years: Positive = 14
    boosted: bool = False
    n_repeats: Positive = 1
    seed: Seed = 0

    @model_validator(mode="after")
    def _repeats_are_of_boosting(self) -> Self:
        if self.n_repeats > 1 and not self.boosted:
            raise ValueError("n_repeats: only boostings are repeated; add boosted: true")
        return self

    def fit(self, outcomes: Sequence[Hindcast]) -> FittedEdgeBlend:
        """Fit on whole numbers of concentration x 250 as truth. Dates with fewer than 3 years before them are left out;
        DataLayoutError where no other is known."""
        described = [outcome for outcome in outcomes[-self.years :] if outcome.history.years_known(0) >= MIN_YEARS]
        if not described:
            raise DataLayoutError(
                f"edge_blend: none of {len(outcomes)} earlier dates has {MIN_YEARS} years before it. Forecast later "
                "ones."
            )
        known, leads = [_known_cells(outcome) for outcome in described], described[0].history.leads
        weights = np.stack([_weights(known, lead) for lead in range(leads)])
        dates = [(features, _blended(weights, features), truth) for features, truth in known]
        counts = np.array([len(outcome.history.frames) for outcome in described])
        ages = (counts[-1] - counts) / described[-1].history.frames_per_year
        left_over, rng = None, np.random.default_rng(self.seed)
        if self.boosted:
            left_over = fit_left_over(dates, ages, self.n_repeats, rng)
            dates = [
                (features, left_over.corrected(features, own, seen=date), truth)
                for date, (features, own, truth) in enumerate(dates)
            ]
        worth = worth_of(np.concatenate([own for _, own, _ in dates]), np.concatenate([truth for *_, truth in dates]))
        if self.boosted:
            return FittedEdgeBlend(weights, left_over, fit_side(dates, ages, self.n_repeats, worth, rng))
        return FittedEdgeBlend(weights, left_over, group_side(dates, worth))

    def to_dict(self, fitted: FittedForecast) -> JsonDict:
        assert isinstance(fitted, FittedEdgeBlend)
        side, left_over = fitted.side, fitted.left_over
        packed: JsonDict = {"weights": fitted.weights.tolist()}
        if isinstance(side, GroupSide):
            return {**packed, "ice": np.packbits(side.ice).tobytes().hex(), "groups": len(side.ice)}
        assert left_over is not None
        models, sides = ([PackedTrees.of(model).to_dict() for model in of.models] for of in (left_over, side))
        return {**packed, "models": models, "parts": left_over.parts, "side": sides, "worth": asdict(side.worth)}

    def from_dict(self, values: JsonDict, grid: IntPair) -> FittedEdgeBlend:
        weights = np.array(values["weights"], dtype=np.float32)
        if "ice" in values:
            ice = np.frombuffer(bytes.fromhex(values["ice"]), dtype=np.uint8)
            side = GroupSide(np.unpackbits(ice, count=values["groups"]).astype(bool))
            return FittedEdgeBlend(weights, None, side)
        models, sides = (tuple(map(PackedTrees.from_dict, values[of])) for of in ("models", "side"))
        return FittedEdgeBlend(weights, LeftOver(models, values["parts"]), LikelySide(sides, Worth(**values["worth"])))


PLUGIN = EdgeBlend


@dataclass(frozen=True)
class FittedEdgeBlend:
    """A fitted `EdgeBlend`.

    weights: (L, F + M + 1) of `_anomalies` and a constant; left_over: the boosted residual; side: of the edge.
    """

    weights: np.ndarray
    left_over: LeftOver | None
    side: GroupSide | LikelySide

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """Forecast, float32 (H, W, L); members: float32 (M, H, W, L).

        Cells that are not open have the median of the last five years. DataLayoutError where a target frame has fewer
        than 3 earlier years.
        """
        features = cell_features(history, members)
        own = _blended(self.weights, features)
        if self.left_over is not None:
            own = self.left_over.corrected(features, own)
        forecast = settled_forecast(history).reshape(-1, history.leads)
        forecast[features.cells, features.leads] = on_the_right_side(own, self.side.says_ice(features, own))
        return forecast.reshape(*history.shape, history.leads)


@lru_cache(maxsize=32)
def _known_cells(outcome: Hindcast) -> tuple[CellFeatures, np.ndarray]:
    """Features and truth (A,) of the open cells whose truth is known; cached, since later fits use them again."""
    features = cell_features(outcome.history, outcome.members)
    row, column = np.unravel_index(features.cells, outcome.history.shape)
    known = outcome.valid[row, column, features.leads]
    return features.of(known), outcome.truth[row, column, features.leads][known]


def _weights(known: Sequence[tuple[CellFeatures, np.ndarray]], lead: int) -> np.ndarray:
    """Of `_anomalies` and a constant, from the same fraction of the cells of each date."""
    columns, truths = [], []
    for features, truth in known:
        cells = np.flatnonzero(features.leads == lead)
        cells = cells[:: max(1, len(cells) * len(known) // CELLS_A_LEAD)]
        chosen = features.of(cells)
        columns.append(_anomalies(chosen))
        truths.append(truth[cells] - chosen.column(BASE))
    return least_absolute_deviation(np.concatenate(columns), np.concatenate(truths))


def _blended(weights: np.ndarray, features: CellFeatures) -> np.ndarray:
    """float32 (A,), the blend at every open cell."""
    blended, columns = features.column(BASE), _anomalies(features)
    for lead, own in enumerate(weights):
        cells = features.leads == lead
        blended[cells] += columns[cells] @ own[:-1] + own[-1]
    return np.clip(blended, 0.0, FULL)


def _anomalies(features: CellFeatures) -> np.ndarray:
    """float32 (A, F + M), simple forecasts and members minus the base."""
    values = np.concatenate([features.columns(VALUES), features.members], axis=1)
    return np.concatenate([values - features.column(BASE)[:, None], features.columns(ANOMALIES)], axis=1)


def least_absolute_deviation(features: np.ndarray, target: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
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
