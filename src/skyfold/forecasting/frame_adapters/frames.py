"""Frames of rain as they were, on a logarithmic scale: the network has to find out itself how they move."""

from __future__ import annotations

import numpy as np

from skyfold.forecasting.frame_adapters._rain_adapter import RainFrameAdapter
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain


class Frames(RainFrameAdapter):
    """Inputs float32 (H, W, T), oldest first."""

    def inputs(self, history: PastFrames) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(log_rain(history.frames), 0, -1))


PLUGIN = Frames
