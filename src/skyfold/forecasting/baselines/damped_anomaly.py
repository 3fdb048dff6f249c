"""Damped anomaly persistence: the mean of earlier years, plus the part of the last frame's anomaly that remains.

That part is fitted per cell and lead time, see `damped_mean`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.forecasting.baselines._options import checked
from skyfold.forecasting.past_frames import PastFrames, per_lead
from skyfold.forecasting.seasons import MIN_YEARS, damped_mean, period_of

NEEDS_SEASONS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or years below 3."""
    checked("damped_anomaly", options, {"years": MIN_YEARS})


def forecast(history: PastFrames, *, years: int = 10, greatest: float = 250.0) -> np.ndarray:
    """float32 (H, W, L), cut off at 0 and `greatest`. years: at most so many before the wanted frame are fitted on.

    DataLayoutError where there are fewer than 3.
    """
    last = len(history.frames) - 1
    forecast = per_lead(history)
    for lead in range(history.leads):
        count = max(MIN_YEARS, min(years, history.years_known(lead), last // period_of(history)))
        later = history.same_season(lead, count).astype(np.float32)  # oldest first, and so are the frames before it
        earlier = history.frames[last - period_of(history) * np.arange(count, 0, -1)].astype(np.float32)
        forecast[..., lead] = damped_mean(later, earlier, history.frames[last].astype(np.float32))
    return np.clip(forecast, 0.0, greatest)
