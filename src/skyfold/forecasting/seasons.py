"""Statistics of sea ice in the same season of earlier years, per cell: means, trends, anomalies, cells that may change.

Values are concentration x 250. Years of a season are arrays (n, H, W), newest first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from skyfold.forecasting.past_frames import PastFrames

YEARS = 10  # for means, spreads, anomalies and open cells
LONG = 30  # at most, for the long mean and trend
MIN_YEARS = 3  # of a trend and of the slope of an anomaly
FULL = 250.0
ICE_EDGE = 37.5
COUNTED = (12.5, 125.0)  # truth within counts for F1
NEARLY_FULL = 238.0  # ice of this value or more counts as full
WINDOW = 5  # cells around an open one
SHRINKAGE = 2500.0  # added to the sum of squared anomalies: that of four years with 25 each, a tenth of full ice


def recent_years(history: PastFrames, lead: int, at_most: int, at_least: int = 1) -> np.ndarray:
    """Frames of the season of the target of lead time `lead` in earlier years, newest first, float32 (n, H, W).

    at_most, at_least: number of years, as `PastFrames.same_season`. DataLayoutError where fewer than `at_least` are
    known.
    """
    return history.same_season(lead, at_most, at_least)[::-1].astype(np.float32)


def over_leads(history: PastFrames, at_most: int, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`statistic` (H, W) of the `recent_years` of each lead time: (H, W, L)."""
    leads = range(history.leads)
    return np.stack([statistic(recent_years(history, lead, at_most)) for lead in leads], axis=-1)


def season_statistics(years: np.ndarray) -> dict[str, np.ndarray]:
    """Features (H, W) by name, such as mean_5, the mean of five years, or of all where fewer are known.

    ice_fraction is the fraction of years at or above the ice edge.
    """
    five, ten = years[:5], years[:YEARS]
    statistics = {f"year_{k}": years[min(k, len(years)) - 1] for k in (1, 2, 3)}
    statistics |= {"mean_5": five.mean(axis=0), "mean_10": ten.mean(axis=0), "mean_long": years.mean(axis=0)}
    statistics |= {"median_5": np.median(five, axis=0), "min_5": five.min(axis=0), "max_5": five.max(axis=0)}
    statistics |= {"spread": ten.std(axis=0), "ice_fraction": (ten >= ICE_EDGE).mean(axis=0)}
    return statistics | {"trend_10": extrapolated(ten), "trend_long": extrapolated(years)}


def extrapolated(years: np.ndarray) -> np.ndarray:
    """The least-squares line through `years`, extrapolated by one year, (H, W).

    years: (n, H, W), newest first; their mean is given where they are fewer than `MIN_YEARS`.
    """
    if len(years) < MIN_YEARS:
        return np.asarray(years.mean(axis=0))
    return np.asarray(np.tensordot(extrapolation_weights(len(years))[::-1], years, axes=1))


def extrapolation_weights(years: int) -> np.ndarray:
    """Weight of each year, oldest first, in the value of the least-squares line one year on: float32 (years,).

    >>> extrapolation_weights(3).astype(float).round(3).tolist()
    [-0.667, 0.333, 1.333]
    """
    time = np.arange(years) - (years - 1) / 2
    ahead = (years + 1) / 2
    return (1 / years + ahead * time / (time**2).sum()).astype(np.float32)


def anomaly(history: PastFrames, frame: int) -> np.ndarray:
    """Frame number `frame` minus the mean of the same season in up to `YEARS` years before, float32 (H, W).

    0 without such years.
    """
    years = min(YEARS, history.years_before(frame))
    if not years:
        return np.zeros(history.shape, dtype=np.float32)
    mean = history.frames[frame - history.years_ago(np.arange(1, years + 1))].mean(axis=0, dtype=np.float32)
    return np.asarray(history.frames[frame].astype(np.float32) - mean)


def damped_anomaly(history: PastFrames, years: np.ndarray, ago: np.ndarray | None = None) -> np.ndarray:
    """The mean of `years`, plus the part of the last frame's anomaly that remains by their season, float32 (H, W).

    That part is the slope of the anomalies of `years` on those of the season of the last frame, year by year, shrunk
    towards 0 where years are few or anomalies small.

    years: float32 (n, H, W), of the season that is forecast; ago: (n,) how many years before it, None: 1, 2, ..., n.
    Years whose season of the last frame is before the first frame are left out.
    """
    last = len(history.frames) - 1
    back = history.years_ago(np.arange(1, len(years) + 1) if ago is None else ago)
    known = back <= last
    later, earlier = years[known], history.frames[last - back[known]].astype(np.float32)
    mean_later, mean_earlier = later.mean(axis=0), earlier.mean(axis=0)
    anomalies = earlier - mean_earlier
    slope = (anomalies * (later - mean_later)).sum(axis=0) / ((anomalies**2).sum(axis=0) + SHRINKAGE)
    return np.asarray(mean_later + np.clip(slope, 0, 1) * (history.frames[last] - mean_earlier))


def open_cells(years: np.ndarray) -> np.ndarray:
    """Cells near which the last `YEARS` years had both some ice and less than full ice, bool (H, W)."""
    ten = years[:YEARS]
    some = ndimage.maximum_filter(ten.max(axis=0), WINDOW) > 0
    not_full = ndimage.minimum_filter(ten.min(axis=0), WINDOW) < NEARLY_FULL
    return np.asarray(some & not_full)


def settled_forecast(history: PastFrames) -> np.ndarray:
    """Forecast of the cells that are not open: the median of the last five years, float32 (H, W, L)."""
    return over_leads(history, 5, lambda years: np.median(years, axis=0))
