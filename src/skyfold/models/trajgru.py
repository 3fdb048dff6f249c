"""TrajGRU encoder-forecaster (Shi et al. 2017, arXiv:1706.03458).

A ConvLSTM reads the state around each pixel in the same places everywhere. Here a small network predicts from frame and
state, for each pixel and link, where to read, so that the links can follow rain that moves or turns.
"""

from __future__ import annotations

from typing import Any

from skyfold.models._encoder_forecaster import EncoderForecaster


class TrajGRUForecaster(EncoderForecaster):
    """Nine links at each level, five at the coarsest; see `EncoderForecaster` for the options."""

    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        from skyfold.models._recurrent import TrajGRU

        links = 5 if level == len(self.filters) - 1 else 9
        return TrajGRU(self.filters[level], links, steps=steps, name=name)


PLUGIN = TrajGRUForecaster
