"""What a view offers, and what the views of rain share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain, rain_of_log


class FrameAdapter(Protocol):
    """Between the frames of a competition and the arrays of a network; nothing but the history and its outcome counts.

    (h, w) is what the network sees, (H, W) the competition's grid.
    """

    def inputs(self, history: PastFrames) -> np.ndarray:
        """float32 (h, w, C)."""
        ...

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """truth float32, valid bool, both (H, W, L). Returns float32 (h, w, 2 L): the L values that the network should
        give, then L weights, 0 where a cell does not count."""
        ...

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        """output float32 (h, w, L). Returns float32 (H, W, L) in the competition's unit."""
        ...


@runtime_checkable
class SelectiveFrameAdapter(FrameAdapter, Protocol):
    """A view from whose dates not all are learned from."""

    def teaches(self, history: PastFrames) -> bool:
        """Whether there is anything to learn from what came after this date."""
        ...


class RainFrameAdapter:
    """Targets and forecasts of rain, in mm/h, on the logarithmic scale of `log_rain`."""

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        weights = valid.astype(np.float32)
        return np.concatenate([log_rain(np.where(valid, truth, 0)), weights], axis=-1)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        return rain_of_log(output)
