"""On which side of the 15 % edge a forecast should lie, so that error / F1 is least.

A median says ice where ice is more likely than not. But F1 is worth error: one more hit is worth as much as some cells
of absolute error, and a false alarm costs some. Cells alike in forecast, last year, share of years with ice, and
surroundings are taken together, and the values that came at them in earlier years say what to expect: the error of each
value that could be forecast, and how often ice that counts for F1 comes, or less than that. Where the best value lies
on the other side of the edge the forecast is moved to the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.forecasting.baselines._cell_features import CellFeatures
from skyfold.forecasting.seasons import ICE_EDGE

VALUES = 251
COUNTED = (12.5, 125.0)  # truth within counts for F1
BELOW_EDGE = 37.4
FORECAST_STEPS = np.array(
    [
        *(0.5, 2, 4, 6, 8, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 46, 50, 55, 60, 67, 75, 85, 95, 105, 115, 125),
        *(140, 155, 170, 185, 200, 210, 218, 225, 230, 234, 237, 240, 242, 244, 246, 248),
    ]
)
SHARE_STEPS = np.array([15, 35, 65, 85])
CHANGE_STEPS = np.array([-25, -6, 6, 25])
AROUND_STEPS = np.array([-10, 10])
KINDS = (len(SHARE_STEPS) + 1, len(CHANGE_STEPS) + 1, len(AROUND_STEPS) + 1)
WEIGHT_WITHOUT_AROUND = 60.0  # cells that a group borrows from those that differ in their surroundings alone
WEIGHT_OF_FORECAST = 0.5  # and from those that have the forecast alone in common


@dataclass(frozen=True)
class Worth:
    """In units of absolute error: what one more hit gains, and what one more false alarm costs."""

    hit: float
    alarm: float


def worth_of(forecast: np.ndarray, truth: np.ndarray) -> Worth:
    """At the error and F1 that `forecast` (n,) has: the derivatives of log(error) and log(F1) set equal."""
    counts = (truth > COUNTED[0]) & (truth < COUNTED[1])
    came, said = (truth >= ICE_EDGE) & counts, (forecast >= ICE_EDGE) & counts
    hits, both = float((came & said).sum()), float(came.sum() + said.sum())
    error = float(np.abs(forecast - truth).sum(dtype=np.float64))
    if not hits:
        return Worth(0.0, 0.0)
    return Worth(hit=error * (1 / hits - 1 / both), alarm=error / both)


def group_side(dates: Sequence[tuple[CellFeatures, np.ndarray, np.ndarray]], worth: Worth) -> GroupSide:
    """dates: features, forecast (A,) and truth (A,) of the open cells of earlier dates."""
    many = (len(FORECAST_STEPS) + 1) * int(np.prod(KINDS))
    outcomes = np.zeros((many, VALUES))
    for features, forecast, truth in dates:
        outcomes += count_outcomes(groups_of(features, forecast), truth)
    return GroupSide(says_ice(outcomes, worth))


@dataclass(frozen=True)
class GroupSide:
    """ice: bool (groups,), whether cells of the group should be forecast at or above the edge."""

    ice: np.ndarray

    def says_ice(self, features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
        """bool (A,); forecast: (A,)."""
        ice: np.ndarray = self.ice[groups_of(features, forecast)]
        return ice


def groups_of(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    """int64 (A,): the group of each cell; forecast: (A,)."""
    group = np.digitize(forecast, FORECAST_STEPS)
    for name, steps, base in (
        ("ice_fraction", SHARE_STEPS, 0.0),
        ("year_1", CHANGE_STEPS, forecast),
        ("around_mean_5", AROUND_STEPS, forecast),
    ):
        group = group * (len(steps) + 1) + np.digitize(features.column(name) - base, steps)
    return group


def count_outcomes(groups: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (groups, 251): how often each value came; truth: (n,) whole numbers of 0 to 250."""
    many = (len(FORECAST_STEPS) + 1) * int(np.prod(KINDS))
    return np.bincount(groups * VALUES + truth.astype(np.int64), minlength=many * VALUES).reshape(many, VALUES)


def says_ice(outcomes: np.ndarray, worth: Worth) -> np.ndarray:
    """bool (groups,): whether a forecast belongs at or above the edge; outcomes as `count_outcomes`."""
    chance = _chances(outcomes)
    values = np.arange(VALUES)
    error = chance @ np.abs(values[:, None] - values[None]).astype(np.float64)  # (groups, value forecast)
    counts = (values > COUNTED[0]) & (values < COUNTED[1])
    hit = chance[:, counts & (values >= ICE_EDGE)].sum(axis=1)
    alarm = chance[:, counts & (values < ICE_EDGE)].sum(axis=1)
    error[:, values >= ICE_EDGE] -= (worth.hit * hit - worth.alarm * alarm)[:, None]
    ice: np.ndarray = values[error.argmin(axis=1)] >= ICE_EDGE
    return ice


def on_the_right_side(forecast: np.ndarray, ice: np.ndarray) -> np.ndarray:
    """forecast (n,), moved to the edge where it is on the other side than `ice` (n,) says."""
    return np.where(ice, np.maximum(forecast, ICE_EDGE), np.minimum(forecast, BELOW_EDGE)).astype(np.float32)


def _chances(outcomes: np.ndarray) -> np.ndarray:
    """Shares of the values in each group, borrowed from kindred groups where it has few cells."""
    without_around = outcomes.reshape(-1, KINDS[2], VALUES).sum(axis=1)
    of_forecast = outcomes.reshape(-1, int(np.prod(KINDS)), VALUES).sum(axis=1)
    total = (
        outcomes
        + WEIGHT_WITHOUT_AROUND * np.repeat(_shares(without_around), KINDS[2], axis=0)
        + WEIGHT_OF_FORECAST * np.repeat(_shares(of_forecast), int(np.prod(KINDS)), axis=0)
    )
    return _shares(total)


def _shares(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    return shares
