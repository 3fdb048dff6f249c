"""A small U-Net that corrects extrapolated rain: it sees the frames carried to that time, and says what differs.

Motion is dealt with before (`motion.semi_lagrangian.carried`); what is left to learn is growth, decay and doubt. All is
on the logarithmic scale of `data.rain_units.log_rain`. Untrained it is the extrapolation itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.plugins import check_known

_OPTIONS = ["filters"]
_FILTERS = (28, 56, 84)


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or filters that are not two or more positive whole numbers."""
    check_known(options, _OPTIONS, where="model.options: rain_unet")
    filters = options.get("filters", _FILTERS)
    whole = isinstance(filters, list | tuple) and all(type(count) is int and count > 0 for count in filters)
    if not whole or len(filters) < 2:
        raise ConfigError(f"model.options.filters: {filters!r} are not two or more counts, of the finest maps first.")


def build(*, input_shape: tuple[int, int, int], classes: int = 1, filters: Sequence[int] = _FILTERS) -> Any:
    """A keras.Model from carried frames (H, W, T), oldest first, on the logarithmic scale, to (H, W, L), float32.

    Its output is the last carried frame plus a correction that begins at 0; values below 0 are no rain. filters: of the
    maps at full size, half the size, and so on. Sides that cannot be halved so often are mirrored up to such a number.
    """
    import keras

    from skyfold.models import _padding

    check({"filters": list(filters)})
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=2 ** (len(filters) - 1))

    def twice_convolved(x: Any, count: int, name: str) -> Any:
        for part in ("a", "b"):
            x = keras.layers.Conv2D(count, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_{part}")(x)
            x = keras.layers.LeakyReLU(negative_slope=0.1, name=f"{name}_{part}_leaky")(x)
        return x

    def correction_of(x: Any) -> Any:
        maps = []
        for level, count in enumerate(filters[:-1]):
            maps.append(twice_convolved(x, count, f"down{level}"))
            x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(maps[-1])
        x = twice_convolved(x, filters[-1], "bottom")
        for level, count in reversed(list(enumerate(filters[:-1]))):
            x = keras.layers.Conv2DTranspose(count, 2, strides=2, name=f"up{level}")(x)
            x = keras.layers.Concatenate(name=f"up{level}_joined")([maps[level], x])
            x = twice_convolved(x, count, f"up{level}")
        return keras.layers.Conv2D(classes, 1, kernel_initializer="zeros", dtype="float32", name="correction")(x)

    frames = keras.Input(input_shape, name="carried")
    correction = _padding.in_padded_size(frames, correction_of, size)
    return keras.Model(frames, keras.ops.cast(frames[..., -1:], "float32") + correction, name="rain_unet")
