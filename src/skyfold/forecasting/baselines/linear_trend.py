"""A straight line through the same season of earlier years, per cell, carried on to the wanted year."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.past_frames import PastFrames, per_lead
from skyfold.forecasting.seasons import MIN_YEARS, extrapolation_weights

FULL = 250.0


class LinearTrend(DirectBaseline):
    """years: at most so many before the wanted frame."""

    needs_seasons: ClassVar[bool] = True
    years: Annotated[int, Field(ge=MIN_YEARS)] = 30

    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L), by least squares, cut off at 0 and 250.

        DataLayoutError where fewer than 3 years are known.
        """
        forecast = per_lead(history)
        for lead in range(history.leads):
            count = max(MIN_YEARS, min(self.years, history.years_known(lead)))
            weights = extrapolation_weights(count)
            seasons = history.same_season(lead, count).reshape(count, -1)
            forecast[..., lead] = (weights @ seasons.astype(np.float32)).reshape(history.shape)
        return np.clip(forecast, 0.0, FULL)


PLUGIN = LinearTrend
