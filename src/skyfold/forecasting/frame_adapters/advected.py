"""Frames of rain carried to the time of the forecast, on a logarithmic scale: the network corrects an extrapolation.

All frames are carried along one field of motion, or along each of several. Where rain neither grows nor decays and the
motion is right they are alike; where motions differ they say how sure they are.
"""

from __future__ import annotations

import numpy as np

from skyfold.errors import ConfigError
from skyfold.forecasting.frame_adapters._rain_adapter import RainFrameAdapter
from skyfold.forecasting.motion.fields import METHODS, Motions
from skyfold.forecasting.motion.semi_lagrangian import carried
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain


class Advected(RainFrameAdapter):
    """Inputs float32 (H, W, M x T), one lead time ahead: the T frames along the first motion, oldest first, then on.

    motions: names in `motion.fields.METHODS`; what a network corrects is the last frame carried along the last.
    """

    motions: Motions = ("dis",)

    def inputs(self, history: PastFrames) -> np.ndarray:
        if history.leads != 1:
            raise ConfigError(f"frame_adapter: advected brings frames to one time, not to {history.leads}. Use frames.")
        frames = np.asarray(history.frames, dtype=np.float32)
        logs, lead_times = log_rain(frames), float(history.lead_times[0])
        moved = [carried(logs, METHODS[name](frames), lead_times=lead_times) for name in self.motions]
        return np.ascontiguousarray(np.moveaxis(np.concatenate(moved), 0, -1))


PLUGIN = Advected
