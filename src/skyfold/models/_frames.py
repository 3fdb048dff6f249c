"""Frames within a network: side by side as channels, as a time axis, or folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skyfold.errors import ConfigError


def correcting_model(
    input_shape: tuple[int, int, int], function: Callable[[Any], Any], *, multiple: int, name: str
) -> Any:
    """The keras.Model from frames (B, H, W, T) to the last frame plus `function` of them, (B, H, W, L), float32.

    function: from (B, h, w, T), sides multiples of `multiple`, to (B, h, w, L); 0 makes the forecast persistence.
    """
    from skyfold.models import _padding

    last = slice(input_shape[-1] - 1, input_shape[-1])
    return _padding.padded_model(input_shape, function, multiple=multiple, corrects=last, name=name)


def correction(filters: int, *, name: str = "rain") -> Any:
    """The last layer of a network that corrects a forecast: a 1 x 1 convolution, 0 before training, float32."""
    import keras

    return keras.layers.Conv2D(filters, 1, kernel_initializer="zeros", dtype="float32", name=name)


def require_frames(family: str, frames: int, leads: int) -> None:
    """ConfigError where a network that forecasts a frame from each of the last `leads` sees fewer `frames`."""
    if frames < leads:
        raise ConfigError(
            f"model.family: {family} forecasts {leads} frames from as many or more, and sees {frames}. Let "
            "the frame adapter show more."
        )


def apart(image: Any, bands: int = 1) -> Any:
    """(B, h, w, T x bands), oldest frame first, as (B, T, h, w, bands)."""
    from keras import ops

    height, width, channels = image.shape[1:]
    frames = ops.reshape(image, (-1, height, width, channels // bands, bands))
    return ops.moveaxis(frames, 3, 1)


def folded(frames: Any) -> Any:
    """(B, T, h, w, C) as (B x T, h, w, C)."""
    from keras import ops

    return ops.reshape(frames, (-1, *frames.shape[2:]))


def unfolded(maps: Any, count: int) -> Any:
    """(B x T, h, w, C) as (B, T, h, w, C) with T = `count`."""
    from keras import ops

    return ops.reshape(maps, (-1, count, *maps.shape[1:]))


def each(layer: Any, frames: Any) -> Any:
    """A layer of images applied to each frame of (B, T, h, w, C), all at once: (B, T, h', w', C')."""
    return unfolded(layer(folded(frames)), frames.shape[1])


def beside(frames: Any) -> Any:
    """(B, T, h, w, C) as (B, h, w, T x C); undoes `apart`."""
    from keras import ops

    _, count, height, width, bands = frames.shape
    return ops.reshape(ops.moveaxis(frames, 1, 3), (-1, height, width, count * bands))
