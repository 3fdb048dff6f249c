"""What earlier years, and the last frames, say beyond a simple forecast of each wanted frame; the network corrects it.

The simple forecast is the mean of the same season of the last five years. Beside it stand, lead time by lead time,
what each of the last years, longer means, and trends say beyond it, and once for all of them how far the last frames
depart from their own mean. Only cells that are open count: those near which the same season of the last years had both
some ice and less than full ice. The others keep the median of the last five years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from skyfold.errors import ConfigError
from skyfold.forecasting.baselines.linear_trend import extrapolation_weights
from skyfold.forecasting.frame_adapters._ice_adapter import averaged, enlarged, reduced_size
from skyfold.forecasting.past_frames import PastFrames
from skyfold.plugins import check_known

NEEDS_SEASONS = True
_OPTIONS = ["reduce", "least_years"]
FULL = 250.0
SCALE = 100.0  # departures are divided by it, so that they are about as large as 1
YEARS = 10  # of the same season, for means, spreads, and which cells are open
LONG = 30  # at most, for the long mean and trend
LEAST_FOR_A_TREND = 3
EDGE = 37.5
NEARLY_FULL = 238.0  # above it ice is taken as full
AROUND = 5  # cells: the window in which a cell is open
SHRINKAGE = 2500.0  # of the damped anomaly, as there

BY_LEAD = (
    *("base", "year_1", "year_2", "year_3", "mean_10", "mean_long", "median_5", "least_5", "most_5", "trend_10"),
    *("trend_long", "damped", "season_departs", "spread", "share_of_ice", "open"),
)
FOR_ALL = ("last_departs", "month_before_departs", "three_before_departs", "ever_ice")
BEFORE = (0, 1, 3)  # frames before the last one whose departures are in `FOR_ALL`


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or one that is no whole number from 1 on."""
    check_known(options, _OPTIONS, where="frame_adapter.options: anomalies")
    for name, value in options.items():
        if type(value) is not int or value < 1:
            raise ConfigError(
                f"frame_adapter.options.{name}: anomalies wants a whole number of 1 or more, got {value!r}."
            )


def build(*, reduce: int = 1, least_years: int = 1) -> Anomalies:
    """reduce: the network sees means of so many x so many cells; its corrections go to each of them alike.

    least_years: what came after dates with fewer years before a wanted frame is not learned from, since long means and
    trends say little there. Forecasts are made all the same.
    """
    check({"reduce": reduce, "least_years": least_years})
    return Anomalies(reduce, least_years)


@dataclass(frozen=True)
class Anomalies:
    """Inputs float32 (h, w, L x len(BY_LEAD) + len(FOR_ALL)): those of the first lead time, of the second, ..., of all.

    The base, and the output, are concentration / 250. A history needs a year; what wants more of them than it holds
    takes as many as there are.
    """

    reduce: int
    least_years: int

    def inputs(self, history: PastFrames) -> np.ndarray:
        ever_ice = history.frames.max(axis=0) > 0
        ocean = PastFrames(
            history.frames[:, None, ever_ice], history.lead_times, history.period
        )  # of its cells alone, in a row
        maps = np.zeros((*history.shape, history.leads * len(BY_LEAD) + len(FOR_ALL)), dtype=np.float32)
        is_open = _open(history)
        for lead in range(history.leads):
            said = _of_lead(ocean, lead) | {"open": is_open[None, ever_ice, lead]}
            first = lead * len(BY_LEAD)
            maps[ever_ice, first : first + len(BY_LEAD)] = np.stack([said[name][0] for name in BY_LEAD], axis=-1)
        said = _of_all(ocean) | {"ever_ice": np.ones(ocean.shape)}
        maps[ever_ice, -len(FOR_ALL) :] = np.stack([said[name][0] for name in FOR_ALL], axis=-1)
        return averaged(maps, self.reduce)

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The base plus the mean departure of the cells that count; a cell's weight is the share of them."""
        base, counts = _base(history), valid & _open(history) & self._told(history)
        share = averaged(counts.astype(np.float32), self.reduce)
        departs = averaged(np.where(counts, truth - base, 0).astype(np.float32), self.reduce)
        wanted = averaged(base, self.reduce) + departs / np.where(share > 0, share, 1)
        return np.concatenate([wanted / FULL, share], axis=-1).astype(np.float32)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        base = _base(history)
        if output.shape[:2] != reduced_size(history.shape, self.reduce):
            raise ValueError(f"output {output.shape} is not of the size the view shows")
        correction = output * FULL - averaged(base, self.reduce)
        corrected = np.clip(base + enlarged(correction, self.reduce, history.shape), 0, FULL)
        return np.where(_open(history), corrected, _settled(history)).astype(np.float32)

    def teaches(self, history: PastFrames) -> bool:
        return bool(self._told(history).any())

    def _told(self, history: PastFrames) -> np.ndarray:
        """bool (L,): where enough years are known for what came to be learned from."""
        return np.array([history.years_known(lead) >= self.least_years for lead in range(history.leads)])


def _of_lead(history: PastFrames, lead: int) -> dict[str, np.ndarray]:
    """`BY_LEAD` without "open", each (H, W)."""
    years = _same_season(history, lead, LONG)
    ten, five, base = years[:YEARS], years[:5], years[:5].mean(axis=0)
    said = {f"year_{k}": years[min(k, len(years)) - 1] for k in (1, 2, 3)}
    said |= {"mean_10": ten.mean(axis=0), "mean_long": years.mean(axis=0), "median_5": np.median(five, axis=0)}
    said |= {"least_5": five.min(axis=0), "most_5": five.max(axis=0)}
    said |= {"trend_10": _next_on_the_line(ten), "trend_long": _next_on_the_line(years)}
    said["damped"] = _damped(history, lead, ten)
    said = {name: (value - base) / SCALE for name, value in said.items()}
    said |= {"base": base / FULL, "season_departs": _season_departs(history, lead) / SCALE}
    said |= {"spread": ten.std(axis=0) / SCALE, "share_of_ice": (ten >= EDGE).mean(axis=0)}
    return said


def _of_all(history: PastFrames) -> dict[str, np.ndarray]:
    """`FOR_ALL` without "ever_ice", each (H, W)."""
    last = len(history.frames) - 1
    departs = [_departs(history, last - before) / SCALE if last >= before else _nowhere(history) for before in BEFORE]
    return dict(zip(FOR_ALL, departs, strict=False))


def _base(history: PastFrames) -> np.ndarray:
    """The mean of the last five years, float32 (H, W, L)."""
    return np.stack([_same_season(history, lead, 5).mean(axis=0) for lead in range(history.leads)], axis=-1)


def _settled(history: PastFrames) -> np.ndarray:
    """For cells where nothing is open, float32 (H, W, L)."""
    leads = [np.median(_same_season(history, lead, 5), axis=0) for lead in range(history.leads)]
    return np.stack(leads, axis=-1)


def _open(history: PastFrames) -> np.ndarray:
    """bool (H, W, L)."""
    return np.stack([_open_at(_same_season(history, lead, YEARS)) for lead in range(history.leads)], axis=-1)


def _open_at(years: np.ndarray) -> np.ndarray:
    some = ndimage.maximum_filter(years.max(axis=0), AROUND) > 0
    not_full = ndimage.minimum_filter(years.min(axis=0), AROUND) < NEARLY_FULL
    is_open: np.ndarray = some & not_full
    return is_open


def _same_season(history: PastFrames, lead: int, most: int) -> np.ndarray:
    """The frames one, two, ... years before the wanted one, as far as known, float32 (n, H, W)."""
    return history.same_season(lead, max(1, min(most, history.years_known(lead))))[::-1].astype(np.float32)


def _next_on_the_line(years: np.ndarray) -> np.ndarray:
    """The line through years (n, H, W), newest first, one year on; their mean where they are too few for one."""
    if len(years) < LEAST_FOR_A_TREND:
        mean: np.ndarray = years.mean(axis=0)
        return mean
    line: np.ndarray = np.tensordot(extrapolation_weights(len(years))[::-1], years, axes=1)
    return line


def _damped(history: PastFrames, lead: int, years: np.ndarray) -> np.ndarray:
    """The mean of `years`, newest first, and what is left of the last frame's departure by the slope over them."""
    last, period = len(history.frames) - 1, _period(history)
    count = min(len(years), last // period)
    if count < LEAST_FOR_A_TREND:
        mean: np.ndarray = years.mean(axis=0)
        return mean
    later, earlier = years[:count], history.frames[last - period * np.arange(1, count + 1)].astype(np.float32)
    mean_later, mean_earlier = later.mean(axis=0), earlier.mean(axis=0)
    departs = earlier - mean_earlier
    slope = (departs * (later - mean_later)).sum(axis=0) / ((departs**2).sum(axis=0) + SHRINKAGE)
    damped: np.ndarray = mean_later + np.clip(slope, 0, 1) * (history.frames[last] - mean_earlier)
    return damped


def _season_departs(history: PastFrames, lead: int) -> np.ndarray:
    """How the frames before, at and behind the season a year ago departed, on average."""
    last = len(history.frames) - 1
    year_ago = last + int(history.lead_times[lead]) - _period(history)
    near = [frame for frame in (year_ago - 1, year_ago, year_ago + 1) if 0 <= frame <= last]
    mean: np.ndarray = np.mean([_departs(history, frame) for frame in near], axis=0)
    return mean


def _departs(history: PastFrames, frame: int) -> np.ndarray:
    """How a frame departs from the mean of the same season in up to `YEARS` years before; 0 where there are none."""
    before = np.arange(frame - _period(history), -1, -_period(history))[:YEARS]
    if not len(before):
        return _nowhere(history)
    departs: np.ndarray = history.frames[frame].astype(np.float32) - history.frames[before].mean(
        axis=0, dtype=np.float32
    )
    return departs


def _nowhere(history: PastFrames) -> np.ndarray:
    return np.zeros(history.shape, dtype=np.float32)


def _period(history: PastFrames) -> int:
    assert history.period is not None  # `same_season` has refused other frames
    return history.period
