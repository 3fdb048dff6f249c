"""The mean of the same season in earlier years: last year repeated, the mean of five, or of all (climatology)."""

from __future__ import annotations

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.baselines import SeasonalBaseline
from skyfold.forecasting.past_frames import PastFrames


class MeanOfYears(SeasonalBaseline):
    """years: number of years before the target; None: all."""

    years: Positive | None = None

    def forecast_lead(self, history: PastFrames, lead: int) -> np.ndarray:
        count = self.years or max(1, history.years_known(lead))
        return np.asarray(history.same_season(lead, count).mean(axis=0, dtype=np.float32))


PLUGIN = MeanOfYears
