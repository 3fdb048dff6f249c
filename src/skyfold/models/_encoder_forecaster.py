"""Recurrent layers as an encoder of frames and a forecaster that goes on from its states (Shi et al. 2017).

The encoder halves the maps before each recurrent layer. The forecaster begins with the states in which the encoder
ended, coarsest first, reads no frames, and doubles the maps after each layer, until they are rain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from skyfold.models import _frames, _padding

LEAKY_SLOPE = 0.2


def encoder_forecaster(
    *,
    input_shape: tuple[int, int, int],
    leads: int,
    filters: Sequence[int],
    recurrent: Callable[[int, str, int | None], Any],
    bands: int,
    residual: bool,
    name: str,
) -> Any:
    """A keras.Model from (H, W, T x bands), any size, to (H, W, leads), float32.

    filters: of the recurrent layers at half the size, a quarter, and so on. recurrent(level, name, steps): such a
    layer, which takes (B, T, h, w, C), or None where it is to take `steps` steps without frames, and
    `initial_state`, and gives all its outputs (B, T, h, w, filters[level]) and its last state.
    """
    _frames.count_frames(input_shape[-1], bands, family=name)
    size = _padding.padded_size(input_shape[:2], multiple=2 ** len(filters))

    def forecaster_of(image: Any) -> Any:
        x = _frames.apart(image, bands)
        states = []
        for level, count in enumerate(filters):
            x = _frames.each(keras.layers.Conv2D(count, 3, strides=2, padding="same", name=f"down{level}"), x)
            x, state = recurrent(level, f"encoder{level}", None)(leaky(x))
            states.append(state)
        x = None
        for level in reversed(range(len(filters))):
            steps_of_its_own = leads if x is None else None  # the finer levels read what the coarser ones say
            x, _ = recurrent(level, f"forecaster{level}", steps_of_its_own)(x, initial_state=states[level])
            out = filters[max(level - 1, 0)]
            up = keras.layers.Conv2DTranspose(out, 4, strides=2, padding="same", name=f"up{level}")
            x = leaky(_frames.each(up, x))
        return _frames.beside(_frames.each(_frames.last_layer(1, residual=residual), x))

    image = keras.Input(input_shape, name="frames")
    rain = _padding.in_padded_size(image, forecaster_of, size)
    return keras.Model(image, _frames.forecast(image, rain, bands=bands, residual=residual), name=name)


def leaky(x: Any) -> Any:
    return keras.ops.leaky_relu(x, negative_slope=LEAKY_SLOPE)
