"""Anomalies of earlier years and of the last frames, from which a network corrects a simple forecast.

The simple forecast (the base) is the mean of the same season of the last five years. Further channels are, for each
lead time, the last years, longer means and trends minus the base, and once for all lead times the anomalies of the last
frames. Only open cells count: those near which the same season of the last years had both some ice and less than full
ice. The others keep the median of the last five years.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.frame_adapters._ice_adapter import averaged, enlarged, reduced_size
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.forecasting.seasons import (
    FULL,
    LONG,
    MIN_YEARS,
    YEARS,
    anomaly,
    damped_anomaly,
    open_cells,
    over_leads,
    recent_years,
    season_statistics,
    settled_forecast,
)

SCALE = 100.0  # anomalies are divided by it, so that they are about as large as 1

BY_LEAD = (
    *("base", "year_1", "year_2", "year_3", "mean_10", "mean_long", "median_5", "min_5", "max_5", "trend_10"),
    *("trend_long", "damped", "season_anomaly", "spread", "ice_fraction", "open"),
)
FOR_ALL = ("last_anomaly", "month_before_anomaly", "three_before_anomaly", "ever_ice")
BEFORE = (0, 1, 3)  # frames before the last one, of the anomalies in `FOR_ALL`


class Anomalies(FrameAdapter):
    """Inputs float32 (h, w, L x len(BY_LEAD) + len(FOR_ALL)): those of the first lead time, of the second, ..., of all.

    The base, and the output, are concentration / 250. A history needs a year; what wants more of them than it holds
    takes as many as there are.

    reduce       the network sees means of reduce x reduce cells; its correction of a mean is applied to all of them
    least_years  dates with fewer years before a target frame are not trained on, since long means and trends tell
                 little there; they are forecast all the same
    """

    needs_seasons: ClassVar[bool] = True
    reduce: Positive = 1
    least_years: Positive = 1

    def inputs(self, history: PastFrames) -> np.ndarray:
        ever_ice = history.frames.max(axis=0) > 0
        ocean = replace(history, frames=history.frames[:, None, ever_ice])  # only its cells, in a row
        is_open = _open(history)[ever_ice].T
        rows = [_of_lead(ocean, lead) | {"open": is_open[None, lead]} for lead in range(history.leads)]
        channels = [row[name] for row in rows for name in BY_LEAD]
        for before in BEFORE:
            frame = len(history.frames) - 1 - before
            channels.append(anomaly(ocean, frame) / SCALE if frame >= 0 else np.zeros(ocean.shape))
        maps = np.zeros((*history.shape, len(channels) + 1), dtype=np.float32)
        maps[ever_ice] = np.stack([*(channel[0] for channel in channels), np.ones(ocean.shape[1])], axis=-1)
        return averaged(maps, self.reduce)

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The base plus the mean anomaly of the cells that count; a cell's weight is the fraction of them."""
        base, counts = _base(history), valid & _open(history) & self._trainable(history)
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
        return rows[[bool(self._trainable(source.history(row)).any()) for row in rows.tolist()]]

    def _trainable(self, history: PastFrames) -> np.ndarray:
        """Lead times for which enough years are known to train on, bool (L,)."""
        return np.array([history.years_known(lead) >= self.least_years for lead in range(history.leads)])


PLUGIN = Anomalies


def _of_lead(history: PastFrames, lead: int) -> dict[str, np.ndarray]:
    """`BY_LEAD` without "open", each (H, W)."""
    years, last = recent_years(history, lead, LONG), len(history.frames) - 1
    statistics = season_statistics(years)
    base, fraction, spread = (statistics.pop(name) for name in ("mean_5", "ice_fraction", "spread"))
    known = min(len(years), YEARS, history.years_before(last))
    statistics["damped"] = damped_anomaly(history, years[:YEARS]) if known >= MIN_YEARS else statistics["mean_10"]
    features = {name: (value - base) / SCALE for name, value in statistics.items()}
    # The mean anomaly of the frames before, in and after the season a year ago.
    year_ago = last + int(history.lead_times[lead]) - history.frames_per_year
    near = [anomaly(history, frame) for frame in (year_ago - 1, year_ago, year_ago + 1) if 0 <= frame <= last]
    features |= {"base": base / FULL, "season_anomaly": np.mean(near, axis=0) / SCALE}
    return features | {"spread": spread / SCALE, "ice_fraction": fraction}


def _base(history: PastFrames) -> np.ndarray:
    """The mean of the last five years, float32 (H, W, L)."""
    return over_leads(history, 5, lambda years: years.mean(axis=0))


def _open(history: PastFrames) -> np.ndarray:
    """bool (H, W, L)."""
    return over_leads(history, YEARS, open_cells)
