"""The mean of the same season in earlier years: last year repeated, the mean of five, or of all (climatology)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.past_frames import PastFrames, per_lead


class MeanOfYears(DirectBaseline):
    """years: that many before the wanted frame, None: all there are."""

    needs_seasons: ClassVar[bool] = True
    years: Positive | None = None

    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L). DataLayoutError where the history does not reach so far back."""
        forecast = per_lead(history)
        for lead in range(history.leads):
            count = self.years or max(1, history.years_known(lead))
            forecast[..., lead] = history.same_season(lead, count).mean(axis=0, dtype=np.float32)
        return forecast


PLUGIN = MeanOfYears
