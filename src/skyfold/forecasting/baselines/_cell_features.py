"""What is said of a cell and a wanted frame by its own earlier years, by the last frames, and by the cells around.

Only cells where something is open are described: those near which the same season of the last years had both some ice
and less than full ice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from skyfold.forecasting.baselines.linear_trend import extrapolation_weights
from skyfold.forecasting.past_frames import PastFrames

YEARS = 10  # of the same season, for means and spreads
LONG = 30  # at most, for the long trend
LEAST_YEARS = 3
EDGE = 37.5
NEARLY_FULL = 238  # above it ice is taken as full
AROUND = 5  # cells: the window in which a cell is open
SHRINKAGE = 2500.0


@dataclass(frozen=True)
class CellFeatures:
    """cells, leads: (A,) flat index of the cell and index of the lead time; values: float16 (A, F), as `NAMES`;
    members: float32 (A, M), what other forecasts say there."""

    cells: np.ndarray
    leads: np.ndarray
    values: np.ndarray
    members: np.ndarray

    def of(self, cells: np.ndarray) -> CellFeatures:
        """Those of some cells alone; cells: indices, or bool (A,)."""
        return CellFeatures(self.cells[cells], self.leads[cells], self.values[cells], self.members[cells])

    def column(self, name: str) -> np.ndarray:
        column: np.ndarray = self.values[:, NAMES.index(name)].astype(np.float32)
        return column

    def columns(self, names: tuple[str, ...]) -> np.ndarray:
        """float32 (A, len(names))."""
        columns: np.ndarray = self.values[:, [NAMES.index(name) for name in names]].astype(np.float32)
        return columns


def cell_features(history: PastFrames, members: np.ndarray) -> CellFeatures:
    """members: float32 (M, H, W, L). DataLayoutError where a wanted frame has fewer than 3 earlier years."""
    parts = []
    for lead in range(history.leads):
        described, is_open = _describe(history, lead)
        cells = np.flatnonzero(is_open)
        values = np.stack([described[name].ravel()[cells] for name in NAMES], axis=1).astype(np.float16)
        parts.append((cells, np.full(len(cells), lead, dtype=np.int16), values))
    cells, leads, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    row, column = np.unravel_index(cells, history.shape)
    said = members[:, row, column, leads]
    return CellFeatures(cells, leads, values, np.ascontiguousarray(said.T))


def settled_forecast(history: PastFrames) -> np.ndarray:
    """For cells where nothing is open: the median of the last five years, float32 (H, W, L)."""
    leads = []
    for lead in range(history.leads):
        count = min(5, max(LEAST_YEARS, history.years_known(lead)))
        leads.append(np.median(history.same_season(lead, count).astype(np.float32), axis=0))
    return np.stack(leads, axis=-1)


NAMES = (
    *("year_1", "year_2", "year_3", "mean_3", "mean_5", "mean_10", "mean_long", "median_5", "median_9", "spread"),
    *("least_5", "most_5", "share_of_ice", "trend_10", "trend_long", "damped", "last", "last_departs"),
    *("month_before_departs", "autumn_departs", "year_1_departs", "around_mean_5", "around_year_1", "around_trend_10"),
    *("around_last_departs", "around_year_1_departs", "wide_mean_5", "wide_change", "lead", "row", "column"),
)


def _describe(history: PastFrames, lead: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each of `NAMES` as (H, W), and which cells are open, bool (H, W)."""
    period, last = history.period, len(history.frames) - 1
    known = max(LEAST_YEARS, min(LONG, history.years_known(lead)))
    years = history.same_season(lead, known)[::-1].astype(np.float32)  # newest first
    ten = years[:YEARS]
    assert period is not None
    said = {f"year_{k + 1}": years[k] for k in range(3)}
    said |= {f"mean_{k}": years[:k].mean(axis=0) for k in (3, 5, 10)}
    said["mean_long"], said["spread"] = years.mean(axis=0), ten.std(axis=0)
    said |= {f"median_{k}": np.median(years[:k], axis=0) for k in (5, 9)}
    said["least_5"], said["most_5"] = years[:5].min(axis=0), years[:5].max(axis=0)
    said["share_of_ice"] = 100 * (ten >= EDGE).mean(axis=0)
    said["trend_10"], said["trend_long"] = _extrapolated(ten), _extrapolated(years)
    back = period * np.arange(1, min(YEARS, last // period) + 1)
    for name, frame in (("last", last), ("month_before", last - 1), ("autumn", last - 3)):
        earlier = history.frames[frame - back[back <= frame]].astype(np.float32)
        said[f"{name}_departs"] = history.frames[frame].astype(np.float32) - earlier.mean(axis=0)
    said["last"] = history.frames[last].astype(np.float32)
    said["damped"] = _damped(history, years)
    said["year_1_departs"] = _season_around_departs(history, lead)
    said["around_mean_5"], said["around_year_1"], said["around_trend_10"] = (
        _mean_around(said[name], 5) for name in ("mean_5", "year_1", "trend_10")
    )
    said["around_last_departs"] = _mean_around(said["last_departs"], 9)
    said["around_year_1_departs"] = _mean_around(said["year_1_departs"], 9)
    said["wide_mean_5"] = _mean_around(said["mean_5"], 15)
    said["wide_change"] = _mean_around(said["year_1"] - said["mean_5"], 15)
    row, column = np.indices(history.shape, dtype=np.float32)
    said |= {"lead": np.full(history.shape, lead, dtype=np.float32), "row": row, "column": column}
    some = ndimage.maximum_filter(ten.max(axis=0), AROUND) > 0
    not_full = ndimage.minimum_filter(ten.min(axis=0), AROUND) < NEARLY_FULL
    ever_ice = history.frames[-LONG * period :].max(axis=0) > 0  # land never has any
    return said, some & not_full & ever_ice


def _extrapolated(years: np.ndarray) -> np.ndarray:
    """The line through years (n, H, W), newest first, one year on."""
    line: np.ndarray = np.tensordot(extrapolation_weights(len(years))[::-1], years, axes=1)
    return line


def _damped(history: PastFrames, years: np.ndarray) -> np.ndarray:
    """The mean of up to 20 years and what is left of the last frame's departure; years: newest first."""
    last, period = len(history.frames) - 1, history.period
    assert period is not None
    count = min(20, len(years), last // period)
    later = years[:count]
    earlier = history.frames[last - period * np.arange(1, count + 1)].astype(np.float32)
    mean_later, mean_earlier = later.mean(axis=0), earlier.mean(axis=0)
    departs = earlier - mean_earlier
    slope = (departs * (later - mean_later)).sum(axis=0) / ((departs**2).sum(axis=0) + SHRINKAGE)
    damped: np.ndarray = mean_later + np.clip(slope, 0, 1) * (history.frames[last] - mean_earlier)
    return damped


def _season_around_departs(history: PastFrames, lead: int) -> np.ndarray:
    """How the frames before, at and behind the season a year ago departed from those of the years before."""
    last, period = len(history.frames) - 1, history.period
    assert period is not None
    target = last + int(history.lead_times[lead]) - period
    near = np.array([target - 1, target, min(target + 1, last)])
    back = period * np.arange(min(YEARS, (target - 1) // period + 1))
    means = np.stack([history.frames[near - years].astype(np.float32).mean(axis=0) for years in back.tolist()])
    departs: np.ndarray = means[0] - means[1:].mean(axis=0)
    return departs


def _mean_around(values: np.ndarray, cells: int) -> np.ndarray:
    mean: np.ndarray = ndimage.uniform_filter(values, cells)
    return mean
