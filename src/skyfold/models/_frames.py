"""Frames inside networks that read them in turn: side by side as channels, apart in time, or folded into the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models._blocks import check_counts


def check_frame_options(options: Mapping[str, Any]) -> None:
    """ConfigError where `bands` is given and no whole number from 1, or `residual` and neither true nor false."""
    check_counts(options, "bands")
    if not isinstance(options.get("residual", True), bool):
        raise ConfigError(f"model.options.residual: {options['residual']!r} is neither true nor false.")


def count_frames(channels: int, bands: int, *, family: str) -> int:
    """How many frames of `bands` each there are; ConfigError where the last one is not whole."""
    if channels % bands:
        raise ConfigError(
            f"model.options.bands: {family} reads frames of {bands} bands each, and {channels} channels are not so "
            "many frames. Set bands to a divisor of it."
        )
    return channels // bands


def apart(image: Any, bands: int) -> Any:
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
    """A layer of images applied to each frame of (B, T, h, w, C), all at once."""
    return unfolded(layer(folded(frames)), frames.shape[1])


def beside(frames: Any) -> Any:
    """(B, T, h, w, C) as (B, h, w, T x C); undoes `apart`."""
    from keras import ops

    _, count, height, width, bands = frames.shape
    return ops.reshape(ops.moveaxis(frames, 1, 3), (-1, height, width, count * bands))


def last_layer(filters: int, *, residual: bool, kernel: int = 1, name: str = "rain") -> Any:
    """The convolution that says the forecast, float32; 0 before it has learned anything where it is a correction."""
    import keras

    begins = "zeros" if residual else "glorot_uniform"
    return keras.layers.Conv2D(filters, kernel, padding="same", kernel_initializer=begins, dtype="float32", name=name)


def forecast(image: Any, output: Any, *, bands: int, residual: bool) -> Any:
    """`output` (B, H, W, L); with `residual` it is a correction, added to the first band of the last frame in `image`.

    image: (B, H, W, T x bands).
    """
    from keras import ops

    if not residual:
        return output
    first = image.shape[-1] - bands
    return ops.cast(image[..., first : first + 1], "float32") + output
