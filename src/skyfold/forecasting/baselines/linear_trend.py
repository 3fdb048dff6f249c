"""The linear trend of the same season over earlier years, per cell, extrapolated to the target year."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.forecasting.baselines import SeasonalBaseline
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import FULL, MIN_YEARS, extrapolation_weights


class LinearTrend(SeasonalBaseline):
    """years: number of years before the target, fewer where fewer are known, at least 3."""

    years: Annotated[int, Field(ge=MIN_YEARS)] = 30

    def forecast_lead(self, history: PastFrames, lead: int) -> np.ndarray:
        years = history.same_season(lead, self.years, MIN_YEARS).astype(np.float32)
        trend = extrapolation_weights(len(years)) @ years.reshape(len(years), -1)
        return np.clip(trend, 0.0, FULL).reshape(history.shape)


PLUGIN = LinearTrend
