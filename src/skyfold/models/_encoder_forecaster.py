"""Recurrent encoder of frames and forecaster that continues from its states (Shi et al. 2017, arXiv:1706.03458).

The encoder halves the maps before each recurrent layer. The forecaster starts from the final states of the encoder,
coarsest first, reads no frames, and doubles the maps after each layer, until they are rain.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from skyfold.config.fields import Positives
from skyfold.models import NetworkFamily, _frames


class EncoderForecaster(NetworkFamily):
    """filters: of the recurrent layers at half the size, a quarter, and so on."""

    filters: Positives = (16, 32, 48)

    @abstractmethod
    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        """A `_recurrent.Recurrent` layer with `filters[level]` units; steps: without frames, so many; None: with."""

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        from skyfold.models._recurrent import leaky

        def forecaster_of(image: Any) -> Any:
            x = _frames.apart(image)
            states = []
            for level, count in enumerate(self.filters):
                x = _frames.each(keras.layers.Conv2D(count, 3, strides=2, padding="same", name=f"down{level}"), x)
                x, state = self.recurrent(level, f"encoder{level}", None)(leaky(x))
                states.append(state)
            x = None
            for level in reversed(range(len(self.filters))):
                steps = classes if x is None else None  # the finer levels read what the coarser ones output
                x, _ = self.recurrent(level, f"forecaster{level}", steps)(x, initial_state=states[level])
                out = self.filters[max(level - 1, 0)]
                up = keras.layers.Conv2DTranspose(out, 4, strides=2, padding="same", name=f"up{level}")
                x = leaky(_frames.each(up, x))
            return _frames.beside(_frames.each(_frames.correction(1), x))

        name = type(self).__module__.rpartition(".")[2]
        return _frames.correcting_model(input_shape, forecaster_of, multiple=2 ** len(self.filters), name=name)
