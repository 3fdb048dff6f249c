"""A straight line through the same season of earlier years, per cell, carried on to the wanted year."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.forecasting.baselines._options import checked
from skyfold.forecasting.past_frames import PastFrames, per_lead
from skyfold.forecasting.seasons import MIN_YEARS, extrapolation_weights

NEEDS_SEASONS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or years below 3."""
    checked("linear_trend", options, {"years": MIN_YEARS})


def forecast(history: PastFrames, *, years: int = 30, greatest: float = 250.0) -> np.ndarray:
    """float32 (H, W, L), least squares, cut off at 0 and `greatest`. years: at most so many before the wanted frame.

    DataLayoutError where there are fewer than 3.
    """
    forecast = per_lead(history)
    for lead in range(history.leads):
        count = max(MIN_YEARS, min(years, history.years_known(lead)))
        weights = extrapolation_weights(count)
        seasons = history.same_season(lead, count).reshape(count, -1)
        forecast[..., lead] = (weights @ seasons.astype(np.float32)).reshape(history.shape)
    return np.clip(forecast, 0.0, greatest)
