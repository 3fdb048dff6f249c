"""Damped anomaly persistence: the mean of earlier years, plus the part of the last frame's anomaly that remains.

That part is fitted per cell and lead time, see `damped_mean`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.past_frames import PastFrames, per_lead
from skyfold.forecasting.seasons import MIN_YEARS, damped_mean, period_of

FULL = 250.0


class DampedAnomaly(DirectBaseline):
    """years: at most so many before the wanted frame are fitted on."""

    needs_seasons: ClassVar[bool] = True
    years: Annotated[int, Field(ge=MIN_YEARS)] = 10

    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L), cut off at 0 and 250. DataLayoutError where fewer than 3 years are known."""
        last = len(history.frames) - 1
        forecast = per_lead(history)
        for lead in range(history.leads):
            count = max(MIN_YEARS, min(self.years, history.years_known(lead), last // period_of(history)))
            later = history.same_season(lead, count).astype(np.float32)  # oldest first, and so are the frames before it
            earlier = history.frames[last - period_of(history) * np.arange(count, 0, -1)].astype(np.float32)
            forecast[..., lead] = damped_mean(later, earlier, history.frames[last].astype(np.float32))
        return np.clip(forecast, 0.0, FULL)


PLUGIN = DampedAnomaly
