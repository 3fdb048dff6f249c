"""RainNet (Ayzel, Scheffer and Heistermann 2020): a U-Net of four poolings from frames to the next one.

The published network (doi.org/10.5194/gmd-13-2631-2020) says rain itself. Here by default it corrects the last frame,
and its layer of two maps is leaky, since with two that can both fall silent some seeds would never learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames
from skyfold.plugins import nearest

_OPTIONS = ["width", "dropout", "upsampling", "bands", "residual"]
_UPSAMPLINGS = ["nearest", "transposed"]
_POOLINGS = 4
_LEAKY_SLOPE = 0.1


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, a width that is no whole number from 1, or a dropout outside 0 .. 1."""
    _blocks.check_known(options, _OPTIONS, family="rainnet")
    _blocks.check_counts(options, "width")
    _blocks.check_dropout(options)
    upsampling = options.get("upsampling", "nearest")
    if upsampling not in _UPSAMPLINGS:
        raise ConfigError(
            f"model.options.upsampling: unknown {upsampling!r}{nearest(str(upsampling), _UPSAMPLINGS)}. "
            f"There are: {', '.join(_UPSAMPLINGS)}."
        )
    _frames.check_frame_options(options)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    width: int = 64,
    dropout: float = 0.5,
    upsampling: str = "nearest",
    bands: int = 1,
    residual: bool = True,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L), float32, any size.

    width: filters at full size, doubled at each of four poolings; 64 is the published network. dropout: of the two
    deepest levels. upsampling: nearest pixels, or learned (transposed convolutions, with a sixth more weights).
    residual: the output corrects the first band of the last frame, so that untrained it is persistence. Sides that are
    no multiples of 16 are mirrored up to one.
    """
    import keras

    from skyfold.models import _padding

    check({"width": width, "dropout": dropout, "upsampling": upsampling, "bands": bands, "residual": residual})
    _frames.count_frames(input_shape[-1], bands, family="rainnet")
    size = _padding.padded_size(input_shape[:2], multiple=2**_POOLINGS)
    filters = [width * 2**level for level in range(_POOLINGS + 1)]

    def twice_convolved(x: Any, count: int, name: str) -> Any:
        for part in ("a", "b"):
            x = keras.layers.Conv2D(
                count, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_{part}"
            )(x)
        return x

    def enlarged(x: Any, name: str) -> Any:
        if upsampling == "nearest":
            return keras.layers.UpSampling2D(name=name)(x)
        return keras.layers.Conv2DTranspose(x.shape[-1], 2, strides=2, name=name)(x)

    def rain_of(x: Any) -> Any:
        maps = []
        for level, count in enumerate(filters[:-1]):
            x = twice_convolved(x, count, f"down{level}")
            maps.append(x)
            if level == _POOLINGS - 1:
                x = keras.layers.Dropout(dropout, name=f"down{level}_dropout")(x)
            x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(x)
        x = twice_convolved(x, filters[-1], "bottom")
        x = keras.layers.Dropout(dropout, name="bottom_dropout")(x)
        for level in reversed(range(_POOLINGS)):
            x = keras.layers.Concatenate(name=f"up{level}_joined")([enlarged(x, f"up{level}_enlarged"), maps[level]])
            x = twice_convolved(x, filters[level], f"up{level}")
        x = keras.layers.Conv2D(2 * classes, 3, padding="same", kernel_initializer="he_normal", name="two")(x)
        x = keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name="two_leaky")(x)
        return _frames.last_layer(classes, residual=residual)(x)

    image = keras.Input(input_shape, name="frames")
    rain = _padding.in_padded_size(image, rain_of, size)
    return keras.Model(image, _frames.forecast(image, rain, bands=bands, residual=residual), name="rainnet")
