"""Persistence: the last known frame at every lead time."""

from __future__ import annotations

import numpy as np

from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.past_frames import PastFrames


class Persistence(DirectBaseline):
    def forecast(self, history: PastFrames) -> np.ndarray:
        return np.repeat(history.frames[-1].astype(np.float32)[..., None], history.leads, axis=-1)


PLUGIN = Persistence
