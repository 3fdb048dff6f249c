"""Frames inside networks that read them in turn: side by side as channels, apart in time, or folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from skyfold.config.fields import Positive
from skyfold.errors import ConfigError
from skyfold.models import NetworkFamily


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError("an even one has no middle")
    return side


Odd = Annotated[Positive, AfterValidator(_odd)]


class FrameFamily(NetworkFamily):
    """A network that reads frames side by side, (H, W, T x bands), oldest first, with `bands` channels each."""

    name: ClassVar[str]
    bands: Positive = 1

    def count_frames(self, channels: int, *, at_least: int = 1) -> int:
        """T; ConfigError where the last frame is not whole, or frames are too few for as many lead times."""
        if channels % self.bands:
            raise ConfigError(
                f"model.options.bands: {self.name} reads frames of {self.bands} bands each, and {channels} channels "
                "are not so many frames. Set bands to a divisor of it."
            )
        frames = channels // self.bands
        if frames < at_least:
            raise ConfigError(
                f"model.family: {self.name} forecasts {at_least} frames from as many or more, and sees {frames}. Let "
                "the frame adapter show more."
            )
        return frames


class RainFamily(FrameFamily):
    """residual: the output corrects the first band of the last frame, so that untrained it is persistence."""

    residual: bool = True

    def network(self, input_shape: tuple[int, int, int], rain_of: Callable[[Any], Any], *, multiple: int) -> Any:
        """The keras.Model of `rain_of`, which takes images with sides that are multiples of `multiple`."""
        import keras

        from skyfold.models import _padding

        image = keras.Input(input_shape, name="frames")
        size = _padding.padded_size(input_shape[:2], multiple=multiple)
        rain = _padding.in_padded_size(image, rain_of, size)
        if self.residual:
            last = input_shape[-1] - self.bands
            rain = keras.ops.cast(image[..., last : last + 1], "float32") + rain
        return keras.Model(image, rain, name=self.name)


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
