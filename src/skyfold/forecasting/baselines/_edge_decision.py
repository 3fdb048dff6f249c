"""The side of the 15 % ice edge on which a forecast has the least expected error / F1.

A median forecasts ice where ice is more likely than not. But one more hit is worth as much F1 as some cells of absolute
error, and a false alarm costs some. Cells are grouped by forecast, last year, fraction of years with ice, and
surroundings; the values observed in a group in earlier years give the expected error of each value that could be
forecast, and how often there is ice that counts for F1, or less than that. Where the best value lies on the other side
of the edge, the forecast is moved to the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.forecasting.baselines._cell_features import CellFeatures
from skyfold.forecasting.seasons import COUNTED, ICE_EDGE
from skyfold.metrics.forecast import MAE_BY_F1

VALUES = 251
BELOW_EDGE = 37.4
FORECAST_STEPS = np.array(
    [
        *(0.5, 2, 4, 6, 8, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 46, 50, 55, 60, 67, 75, 85, 95, 105, 115, 125),
        *(140, 155, 170, 185, 200, 210, 218, 225, 230, 234, 237, 240, 242, 244, 246, 248),
    ]
)
FRACTION_STEPS = np.array([15, 35, 65, 85])
CHANGE_STEPS = np.array([-25, -6, 6, 25])
AROUND_STEPS = np.array([-10, 10])
KINDS = (len(FRACTION_STEPS) + 1, len(CHANGE_STEPS) + 1, len(AROUND_STEPS) + 1)
WEIGHT_WITHOUT_AROUND = 60.0  # cells that a group borrows from those that differ only in their surroundings
WEIGHT_OF_FORECAST = 0.5  # and from those that have only the forecast in common


@dataclass(frozen=True)
class Worth:
    """In units of absolute error: what one more hit gains, and what one more false alarm costs."""

    hit: float
    alarm: float


def worth_of(forecast: np.ndarray, truth: np.ndarray) -> Worth:
    """What a hit and a false alarm are worth at the error and F1 of `forecast` (n,) against `truth` (n,).

    The derivatives of log(error) and log(F1) are set equal. Both are 0 where nothing is hit.
    """
    sums = MAE_BY_F1.stats(target=truth[None, :, None, None], pred=forecast[None, :, None, None])[0]
    error, _, hits, misses, alarms = sums.tolist()
    if not hits:
        return Worth(0.0, 0.0)
    both = 2 * hits + misses + alarms
    return Worth(hit=error * (1 / hits - 1 / both), alarm=error / both)


def group_side(dates: Sequence[tuple[CellFeatures, np.ndarray, np.ndarray]], worth: Worth) -> GroupSide:
    """Decide the side of the edge for each group of cells, from the outcomes of earlier dates.

    dates: features, forecast (A,) and truth (A,), whole numbers of 0 to 250, of their open cells.
    """
    many = (len(FORECAST_STEPS) + 1) * int(np.prod(KINDS)) * VALUES
    outcomes = np.zeros(many)
    for features, forecast, truth in dates:
        outcomes += np.bincount(groups_of(features, forecast) * VALUES + truth.astype(np.int64), minlength=many)
    return GroupSide(says_ice(outcomes.reshape(-1, VALUES), worth))


@dataclass(frozen=True)
class GroupSide:
    """ice: bool (groups,), whether cells of the group should be forecast at or above the edge."""

    ice: np.ndarray

    def says_ice(self, features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
        """Whether each cell should be forecast at or above the edge, bool (A,).

        forecast: (A,).
        """
        return np.asarray(self.ice[groups_of(features, forecast)])


def groups_of(features: CellFeatures, forecast: np.ndarray) -> np.ndarray:
    """Number of the group of each cell, int64 (A,).

    forecast: (A,). Groups are bins of forecast, fraction of years with ice, last year and surroundings.
    """
    group = np.digitize(forecast, FORECAST_STEPS)
    for name, steps, base in (
        ("ice_fraction", FRACTION_STEPS, 0.0),
        ("year_1", CHANGE_STEPS, forecast),
        ("around_mean_5", AROUND_STEPS, forecast),
    ):
        group = group * (len(steps) + 1) + np.digitize(features.column(name) - base, steps)
    return group


def says_ice(outcomes: np.ndarray, worth: Worth) -> np.ndarray:
    """Whether a forecast belongs at or above the edge, bool (groups,).

    outcomes: float64 (groups, 251), how often each value was observed.
    """
    chance = _chances(outcomes)
    values = np.arange(VALUES)
    error = chance @ np.abs(values[:, None] - values[None]).astype(np.float64)  # (groups, value forecast)
    counts = (values > COUNTED[0]) & (values < COUNTED[1])
    hit = chance[:, counts & (values >= ICE_EDGE)].sum(axis=1)
    alarm = chance[:, counts & (values < ICE_EDGE)].sum(axis=1)
    error[:, values >= ICE_EDGE] -= (worth.hit * hit - worth.alarm * alarm)[:, None]
    return np.asarray(values[error.argmin(axis=1)] >= ICE_EDGE)


def on_the_right_side(forecast: np.ndarray, ice: np.ndarray) -> np.ndarray:
    """`forecast` (n,), moved to the edge where it is on the wrong side: float32 (n,).

    ice: bool (n,), whether a cell belongs at or above the edge.
    """
    return np.where(ice, np.maximum(forecast, ICE_EDGE), np.minimum(forecast, BELOW_EDGE)).astype(np.float32)


def _chances(outcomes: np.ndarray) -> np.ndarray:
    """Fractions of the values in each group, with counts borrowed from related groups where it has few cells."""
    total = outcomes.copy()
    for alike, weight in ((KINDS[2], WEIGHT_WITHOUT_AROUND), (int(np.prod(KINDS)), WEIGHT_OF_FORECAST)):
        related = _fractions(outcomes.reshape(-1, alike, VALUES).sum(axis=1))
        total += weight * np.repeat(related, alike, axis=0)
    return _fractions(total)


def _fractions(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9))
