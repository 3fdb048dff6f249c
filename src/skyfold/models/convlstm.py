"""ConvLSTM encoder-forecaster (Shi et al. 2015): what was seen is kept in maps, from which the forecaster goes on."""

from __future__ import annotations

from typing import Any, ClassVar

from skyfold.models._encoder_forecaster import EncoderForecaster
from skyfold.models._frames import Odd


class ConvLSTMForecaster(EncoderForecaster):
    """kernel: the side of the recurrent layers' convolutions."""

    name: ClassVar[str] = "convlstm"
    kernel: Odd = 3

    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        from skyfold.models._convlstm import ConvLSTM

        return ConvLSTM(self.filters[level], kernel=self.kernel, steps=steps, name=name)


PLUGIN = ConvLSTMForecaster
