"""Frames of rain on a logarithmic scale, not advected: the network has to learn how they move."""

from __future__ import annotations

import numpy as np

from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain, rain_of_log


class Frames(FrameAdapter):
    """Inputs float32 (H, W, T), oldest first; inputs, targets and output are `log_rain` of mm/h."""

    def inputs(self, history: PastFrames) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(log_rain(history.frames), 0, -1))

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return np.concatenate([log_rain(np.where(valid, truth, 0)), valid.astype(np.float32)], axis=-1)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        return rain_of_log(output)


PLUGIN = Frames
