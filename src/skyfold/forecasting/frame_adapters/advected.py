"""Frames of rain advected to the time of the forecast, on a logarithmic scale: the network corrects an extrapolation.

All frames are advected along one motion field, or along each of several. Where rain neither grows nor decays and the
motion is right they are alike; the spread between motion fields shows how uncertain they are.
"""

from __future__ import annotations

import numpy as np

from skyfold.errors import ConfigError
from skyfold.forecasting.frame_adapters.frames import Frames
from skyfold.forecasting.motion import METHODS, Motions, advected
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain


class Advected(Frames):
    """Inputs float32 (H, W, M x T), for one lead time: the T frames along the first motion, oldest first, and so on.

    motions: names in `motion.METHODS`; a network corrects the last frame advected along the last of them.
    """

    motions: Motions = ("dis",)

    def inputs(self, history: PastFrames) -> np.ndarray:
        if history.leads != 1:
            raise ConfigError(f"frame_adapter: advected brings frames to one time, not to {history.leads}. Use frames.")
        frames = np.asarray(history.frames, dtype=np.float32)
        logs, lead_time = log_rain(frames), float(history.lead_times[0])
        moved = [advected(logs, METHODS[name](frames), lead_time=lead_time) for name in self.motions]
        return np.ascontiguousarray(np.moveaxis(np.concatenate(moved), 0, -1))


PLUGIN = Advected
