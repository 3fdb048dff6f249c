"""Recurrent layers as an encoder of frames and a forecaster that goes on from its states (Shi et al. 2017).

The encoder halves the maps before each recurrent layer. The forecaster begins with the states in which the encoder
ended, coarsest first, reads no frames, and doubles the maps after each layer, until they are rain.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from skyfold.config.fields import Positives
from skyfold.models import _frames

LEAKY_SLOPE = 0.2


class EncoderForecaster(_frames.RainFamily):
    """filters: of the recurrent layers at half the size, a quarter, and so on."""

    filters: Positives = (16, 32, 48)

    @abstractmethod
    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        """A layer that takes (B, T, h, w, C), or None where it is to take `steps` steps without frames, and
        `initial_state`, and gives all its outputs (B, T, h, w, filters[level]) and its last state."""

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        self.count_frames(input_shape[-1])

        def forecaster_of(image: Any) -> Any:
            x = _frames.apart(image, self.bands)
            states = []
            for level, count in enumerate(self.filters):
                x = _frames.each(keras.layers.Conv2D(count, 3, strides=2, padding="same", name=f"down{level}"), x)
                x, state = self.recurrent(level, f"encoder{level}", None)(leaky(x))
                states.append(state)
            x = None
            for level in reversed(range(len(self.filters))):
                steps_of_its_own = classes if x is None else None  # the finer levels read what the coarser ones say
                x, _ = self.recurrent(level, f"forecaster{level}", steps_of_its_own)(x, initial_state=states[level])
                out = self.filters[max(level - 1, 0)]
                up = keras.layers.Conv2DTranspose(out, 4, strides=2, padding="same", name=f"up{level}")
                x = leaky(_frames.each(up, x))
            return _frames.beside(_frames.each(_frames.last_layer(1, residual=self.residual), x))

        return self.network(input_shape, forecaster_of, multiple=2 ** len(self.filters))


def leaky(x: Any) -> Any:
    import keras

    return keras.ops.leaky_relu(x, negative_slope=LEAKY_SLOPE)
