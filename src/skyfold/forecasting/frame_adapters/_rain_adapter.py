"""What the frame adapters of rain have in common."""

from __future__ import annotations

import numpy as np

from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain, rain_of_log


class RainFrameAdapter(FrameAdapter):
    """Targets and forecasts of rain, in mm/h, on the logarithmic scale of `log_rain`."""

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        weights = valid.astype(np.float32)
        return np.concatenate([log_rain(np.where(valid, truth, 0)), weights], axis=-1)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        return rain_of_log(output)
