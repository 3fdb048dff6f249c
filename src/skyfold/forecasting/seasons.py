"""Statistics of sea ice in the same season of earlier years, per cell: means, trends, anomalies, cells that may change.

Values are concentration x 250. Years of a season are arrays (n, H, W), newest first.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from skyfold.forecasting.past_frames import PastFrames

YEARS = 10  # for means, spreads, anomalies and open cells
LONG = 30  # at most, for the long mean and trend
MIN_YEARS = 3  # for a trend, and for the slope of an anomaly
ICE_EDGE = 37.5
NEARLY_FULL = 238.0  # ice of this value or more counts as full
WINDOW = 5  # cells around an open one
SHRINKAGE = 2500.0  # added to the sum of squared anomalies: that of four years with 25 each, a tenth of full ice


def same_season(history: PastFrames, lead: int, at_most: int, at_least: int = 1) -> np.ndarray:
    """The frames one, two, ... years before the forecast one, as far as known, float32 (n, H, W).

    Raises DataLayoutError where there are fewer than `at_least`.
    """
    count = max(at_least, min(at_most, history.years_known(lead)))
    return history.same_season(lead, count)[::-1].astype(np.float32)


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
    """The least-squares line through `years`, one year on; their mean where they are fewer than `MIN_YEARS`."""
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
    """A frame minus the mean of the same season in up to `YEARS` years before, float32 (H, W); 0 without such years."""
    before = np.arange(frame - period_of(history), -1, -period_of(history))[:YEARS]
    if not len(before):
        return np.zeros(history.shape, dtype=np.float32)
    mean = history.frames[before].mean(axis=0, dtype=np.float32)
    return np.asarray(history.frames[frame].astype(np.float32) - mean)


def damped_anomaly(history: PastFrames, years: np.ndarray) -> np.ndarray:
    """`damped_mean` of `years` and the frames as long before them as the last frame is before the forecast one."""
    last, period = len(history.frames) - 1, period_of(history)
    earlier = history.frames[last - period * np.arange(1, min(len(years), last // period) + 1)].astype(np.float32)
    return damped_mean(years[: len(earlier)], earlier, history.frames[last])


def damped_mean(later: np.ndarray, earlier: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """The mean of `later`, plus the part of the anomaly of `newest` that remains by then, float32 (H, W).

    That part is the slope of the anomalies of `later` on those of `earlier`, year by year, shrunk towards 0 where years
    are few or anomalies small. later, earlier: float32 (n, H, W); newest: (H, W), of the season of `earlier`.
    """
    mean_later, mean_earlier = later.mean(axis=0), earlier.mean(axis=0)
    anomalies = earlier - mean_earlier
    slope = (anomalies * (later - mean_later)).sum(axis=0) / ((anomalies**2).sum(axis=0) + SHRINKAGE)
    return np.asarray(mean_later + np.clip(slope, 0, 1) * (newest - mean_earlier))


def open_cells(years: np.ndarray) -> np.ndarray:
    """bool (H, W): cells near which the last `YEARS` years had both some ice and less than full ice."""
    ten = years[:YEARS]
    some = ndimage.maximum_filter(ten.max(axis=0), WINDOW) > 0
    not_full = ndimage.minimum_filter(ten.min(axis=0), WINDOW) < NEARLY_FULL
    return np.asarray(some & not_full)


def settled_forecast(history: PastFrames) -> np.ndarray:
    """Forecast of the cells that are not open: the median of the last five years, float32 (H, W, L)."""
    leads = [np.median(same_season(history, lead, 5), axis=0) for lead in range(history.leads)]
    return np.stack(leads, axis=-1)


def period_of(history: PastFrames) -> int:
    """Frames in a year, of a history that has a season."""
    assert history.period is not None  # `PastFrames.same_season` refuses others
    return history.period
