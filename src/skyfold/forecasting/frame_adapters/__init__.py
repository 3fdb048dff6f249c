"""Arrays of a network from past frames, and forecasts from its output: one file each, its `PLUGIN` a `FrameAdapter`."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from skyfold.config.data import FrameAdapterConfig
from skyfold.config.options import Options, configured
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource


class FrameAdapter(Options):
    """Between the frames of a competition and the arrays of a network; its fields are `frame_adapter.options`.

    (h, w) is the size that the network sees, (H, W) the competition's grid. needs_seasons: it reads the same season of
    earlier years; frames without dates are refused.
    """

    needs_seasons: ClassVar[bool] = False

    @abstractmethod
    def inputs(self, history: PastFrames) -> np.ndarray:
        """Input of the network, float32 (h, w, C).

        The same C for every date. DataLayoutError where `history` is too short.
        """

    @abstractmethod
    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Training target, float32 (h, w, 2 L): the L values that the network should give, then L weights, 0 where a
        cell does not count. truth float32, valid bool, both (H, W, L)."""

    @abstractmethod
    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        """Forecast, float32 (H, W, L) in the competition's unit, from the network's output.

        output: float32 (h, w, L), in the unit of the first half of `target`.
        """

    def trainable_rows(self, source: PastFramesSource, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` (m,), samples of `source`, that a network can be trained on; all by default.

        The others are forecast all the same.
        """
        return rows


def adapter_of(config: FrameAdapterConfig) -> FrameAdapter:
    """The frame adapter of a run with its options; ConfigError on an unknown name or option, or a wrong value."""
    adapter: FrameAdapter = configured(
        "forecasting.frame_adapters", config.name, config.options, where="frame_adapter.options"
    )
    return adapter
