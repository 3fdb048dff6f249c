"""The mean of the same season in earlier years: last year repeated, the mean of five, or of all (climatology)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.forecasting.baselines._options import checked
from skyfold.forecasting.past_frames import PastFrames, per_lead

NEEDS_SEASONS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or years below 1."""
    checked("mean_of_years", options, {"years": 1})


def forecast(history: PastFrames, *, years: int | None = None) -> np.ndarray:
    """float32 (H, W, L). years: that many before the wanted frame, None: all there are.

    DataLayoutError where the history does not reach so far back.
    """
    forecast = per_lead(history)
    for lead in range(history.leads):
        count = years or max(1, history.years_known(lead))
        forecast[..., lead] = history.same_season(lead, count).mean(axis=0, dtype=np.float32)
    return forecast
