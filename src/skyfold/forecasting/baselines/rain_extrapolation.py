"""The last frame of rain carried along a field of motion, or along several whose results are then averaged.

A frame left in its place is `persistence`; shifted as a whole, the motion "phase_correlation".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from skyfold.config.options import one_of
from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.motion.fields import METHODS, Motions
from skyfold.forecasting.motion.pysteps_field import require_pysteps
from skyfold.forecasting.motion.semi_lagrangian import extrapolate
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import RAIN_RATE

COMBINATIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "median": np.median}
Combination = Annotated[str, one_of(COMBINATIONS)]


class RainExtrapolation(DirectBaseline):
    """motions: names in `motion.fields.METHODS`, each carries the last frame by itself; combine: "mean" or "median" of
    them, pixel by pixel."""

    motions: Motions = ("dis",)
    combine: Combination = "mean"

    @property
    def unit(self) -> str:
        return RAIN_RATE.name

    def require(self) -> None:
        if "pysteps" in self.motions:
            require_pysteps()

    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L) of frames in mm/h, at least two."""
        frames = np.asarray(history.frames, dtype=np.float32)
        fields = [METHODS[name](frames) for name in self.motions]
        combine = COMBINATIONS[self.combine]
        leads = [
            combine([extrapolate(frames[-1], field, steps=float(lead_times)) for field in fields], axis=0)
            for lead_times in history.lead_times
        ]
        return np.stack(leads, axis=-1).astype(np.float32)


PLUGIN = RainExtrapolation
