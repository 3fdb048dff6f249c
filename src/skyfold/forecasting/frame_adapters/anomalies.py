"""Anomalies of earlier years and of the last frames, from which a network corrects a simple forecast.

The simple forecast (the base) is the mean of the same season of the last five years. Further channels are, for each
lead time, the last years, longer means and trends minus the base, and once for all lead times the anomalies of the last
frames. Only open cells count: those near which the same season of the last years had both some ice and less than full
ice. The others keep the median of the last five years.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.frame_adapters._ice_adapter import averaged, enlarged, reduced_size
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.forecasting.seasons import (
    LONG,
    MIN_YEARS,
    YEARS,
    anomaly,
    damped_anomaly,
    open_cells,
    period_of,
    same_season,
    season_statistics,
    settled_forecast,
)

FULL = 250.0
SCALE = 100.0  # anomalies are divided by it, so that they are about as large as 1

BY_LEAD = (
    *("base", "year_1", "year_2", "year_3", "mean_10", "mean_long", "median_5", "min_5", "max_5", "trend_10"),
    *("trend_long", "damped", "season_anomaly", "spread", "ice_fraction", "open"),
)
FOR_ALL = ("last_anomaly", "month_before_anomaly", "three_before_anomaly", "ever_ice")
BEFORE = (0, 1, 3)  # frames before the last one whose anomalies are in `FOR_ALL`


class Anomalies(FrameAdapter):
    """Inputs float32 (h, w, L x len(BY_LEAD) + len(FOR_ALL)): those of the first lead time, of the second, ..., of all.

    The base, and the output, are concentration / 250. A history needs a year; what wants more of them than it holds
    takes as many as there are.

    reduce       the network sees means of so many x so many cells; its corrections go to each of them alike
    least_years  what came after dates with fewer years before a frame is not learned from, since long means and trends
                 tell little there; forecasts are made all the same
    """

    needs_seasons: ClassVar[bool] = True
    reduce: Positive = 1
    least_years: Positive = 1

    def inputs(self, history: PastFrames) -> np.ndarray:
        ever_ice = history.frames.max(axis=0) > 0
        ocean = PastFrames(
            history.frames[:, None, ever_ice], history.lead_times, history.period
        )  # only its cells, in a row
        maps = np.zeros((*history.shape, history.leads * len(BY_LEAD) + len(FOR_ALL)), dtype=np.float32)
        is_open = _open(history)
        for lead in range(history.leads):
            features = _of_lead(ocean, lead) | {"open": is_open[None, ever_ice, lead]}
            first = lead * len(BY_LEAD)
            maps[ever_ice, first : first + len(BY_LEAD)] = np.stack([features[name][0] for name in BY_LEAD], axis=-1)
        features = _of_all(ocean) | {"ever_ice": np.ones(ocean.shape)}
        maps[ever_ice, -len(FOR_ALL) :] = np.stack([features[name][0] for name in FOR_ALL], axis=-1)
        return averaged(maps, self.reduce)

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The base plus the mean anomaly of the cells that count; a cell's weight is the fraction of them."""
        base, counts = _base(history), valid & _open(history) & self._told(history)
        fraction = averaged(counts.astype(np.float32), self.reduce)
        beyond = averaged(np.where(counts, truth - base, 0).astype(np.float32), self.reduce)
        target = averaged(base, self.reduce) + beyond / np.where(fraction > 0, fraction, 1)
        return np.concatenate([target / FULL, fraction], axis=-1).astype(np.float32)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        base = _base(history)
        if output.shape[:2] != reduced_size(history.shape, self.reduce):
            raise ValueError(f"output {output.shape} is not of the size that the network sees")
        correction = output * FULL - averaged(base, self.reduce)
        corrected = np.clip(base + enlarged(correction, self.reduce, history.shape), 0, FULL)
        return np.where(_open(history), corrected, settled_forecast(history)).astype(np.float32)

    def trainable_rows(self, source: PastFramesSource, rows: np.ndarray) -> np.ndarray:
        return rows[[bool(self._told(source.history(row)).any()) for row in rows.tolist()]]

    def _told(self, history: PastFrames) -> np.ndarray:
        """bool (L,): where enough years are known for what came to be learned from."""
        return np.array([history.years_known(lead) >= self.least_years for lead in range(history.leads)])


PLUGIN = Anomalies


def _of_lead(history: PastFrames, lead: int) -> dict[str, np.ndarray]:
    """`BY_LEAD` without "open", each (H, W)."""
    years = same_season(history, lead, LONG)
    statistics = season_statistics(years)
    base, fraction, spread = (statistics.pop(name) for name in ("mean_5", "ice_fraction", "spread"))
    known = min(len(years), YEARS, (len(history.frames) - 1) // period_of(history))
    statistics["damped"] = damped_anomaly(history, years[:YEARS]) if known >= MIN_YEARS else statistics["mean_10"]
    features = {name: (value - base) / SCALE for name, value in statistics.items()}
    features |= {"base": base / FULL, "season_anomaly": _season_anomaly(history, lead) / SCALE}
    return features | {"spread": spread / SCALE, "ice_fraction": fraction}


def _of_all(history: PastFrames) -> dict[str, np.ndarray]:
    """`FOR_ALL` without "ever_ice", each (H, W); 0 for a frame before the first."""
    frames = [len(history.frames) - 1 - before for before in BEFORE]
    anomalies = [anomaly(history, frame) if frame >= 0 else np.zeros(history.shape) for frame in frames]
    return {name: values / SCALE for name, values in zip(FOR_ALL, anomalies, strict=False)}


def _base(history: PastFrames) -> np.ndarray:
    """The mean of the last five years, float32 (H, W, L)."""
    return np.stack([same_season(history, lead, 5).mean(axis=0) for lead in range(history.leads)], axis=-1)


def _open(history: PastFrames) -> np.ndarray:
    """bool (H, W, L)."""
    return np.stack([open_cells(same_season(history, lead, YEARS)) for lead in range(history.leads)], axis=-1)


def _season_anomaly(history: PastFrames, lead: int) -> np.ndarray:
    """Mean anomaly of the frames before, in and after the season a year ago."""
    last = len(history.frames) - 1
    year_ago = last + int(history.lead_times[lead]) - period_of(history)
    near = [frame for frame in (year_ago - 1, year_ago, year_ago + 1) if 0 <= frame <= last]
    return np.asarray(np.mean([anomaly(history, frame) for frame in near], axis=0))
