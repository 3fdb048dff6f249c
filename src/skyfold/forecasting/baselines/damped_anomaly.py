"""The mean of earlier years, plus what is left of the last frame's departure from its own mean.

How much is left is fitted per cell and lead time: the slope of the later departures on the earlier ones over the years
that are known, shrunk towards 0 where they are few or hardly depart at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.forecasting.baselines._options import checked
from skyfold.forecasting.past_frames import PastFrames, per_lead

LEAST_YEARS = 3
SHRINKAGE = 2500.0  # added to the sum of squared departures: that of four years which depart by 25, a tenth of ice
NEEDS_SEASONS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or years below 3."""
    checked("damped_anomaly", options, {"years": LEAST_YEARS})


def forecast(history: PastFrames, *, years: int = 10, greatest: float = 250.0) -> np.ndarray:
    """float32 (H, W, L), cut off at 0 and `greatest`. years: at most so many before the wanted frame are fitted on.

    DataLayoutError where there are fewer than 3.
    """
    last = len(history.frames) - 1
    newest = history.frames[last].astype(np.float32)
    forecast = per_lead(history)
    for lead in range(history.leads):
        target = last + int(history.lead_times[lead])
        # Year j of `later` came as long after year j of `earlier` as the wanted frame comes after the last one.
        years_known = history.years_known(lead)
        assert history.period is not None
        known = min(years, years_known, last // history.period)
        later = history.same_season(lead, max(known, LEAST_YEARS)).astype(np.float32)
        back = history.period * np.arange(len(later), 0, -1)
        earlier = history.frames[target - back - int(history.lead_times[lead])].astype(np.float32)
        mean_later, mean_earlier = later.mean(axis=0), earlier.mean(axis=0)
        departs = earlier - mean_earlier
        together = (departs * (later - mean_later)).sum(axis=0)
        slope = np.clip(together / ((departs**2).sum(axis=0) + SHRINKAGE), 0.0, 1.0)
        forecast[..., lead] = mean_later + slope * (newest - mean_earlier)
    return np.clip(forecast, 0.0, greatest)
