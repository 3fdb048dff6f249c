"""ConvLSTM encoder-forecaster (Shi et al. 2015, arXiv:1506.04214)."""

from __future__ import annotations

from typing import Any

from skyfold.models._encoder_forecaster import EncoderForecaster


class ConvLSTMForecaster(EncoderForecaster):
    """See `EncoderForecaster` for the options."""

    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        from skyfold.models._recurrent import ConvLSTM

        return ConvLSTM(self.filters[level], steps=steps, name=name)


PLUGIN = ConvLSTMForecaster
