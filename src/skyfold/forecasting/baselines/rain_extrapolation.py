"""The last frame of rain advected along a motion field, or along several whose results are averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np

from skyfold.config.options import one_of
from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.motion import METHODS, Motions, extrapolate, require_pysteps
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import RAIN_RATE

COMBINATIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "median": np.median}
Combination = Annotated[str, one_of(COMBINATIONS)]


class RainExtrapolation(DirectBaseline):
    """motions: names in `motion.METHODS`, each advects the last frame; combine: "mean" or "median" of the
    results, per pixel."""

    UNIT: ClassVar[str | None] = RAIN_RATE.name
    motions: Motions = ("dis",)
    combine: Combination = "mean"

    def require(self) -> None:
        if "pysteps" in self.motions:
            require_pysteps()

    def forecast(self, history: PastFrames) -> np.ndarray:
        frames = np.asarray(history.frames, dtype=np.float32)
        fields = [METHODS[name](frames) for name in self.motions]
        combine = COMBINATIONS[self.combine]
        leads = [
            combine([extrapolate(frames[-1], field, steps=float(lead_time)) for field in fields], axis=0)
            for lead_time in history.lead_times
        ]
        return np.stack(leads, axis=-1).astype(np.float32)


PLUGIN = RainExtrapolation
