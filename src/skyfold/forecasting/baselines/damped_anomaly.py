"""Damped anomaly persistence: the mean of earlier years, plus the part of the last frame's anomaly that remains."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.forecasting.baselines import SeasonalBaseline
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import FULL, MIN_YEARS, damped_anomaly


class DampedAnomaly(SeasonalBaseline):
    """years: number of years before the target that are fitted on, fewer where fewer are known, at least 3."""

    years: Annotated[int, Field(ge=MIN_YEARS)] = 10

    def forecast_lead(self, history: PastFrames, lead: int) -> np.ndarray:
        years = history.same_season(lead, self.years, MIN_YEARS).astype(np.float32)
        return np.clip(damped_anomaly(history, years, np.arange(len(years), 0, -1)), 0.0, FULL)


PLUGIN = DampedAnomaly
