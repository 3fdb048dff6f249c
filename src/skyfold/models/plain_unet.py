"""The U-Net of 2015 with BatchNorm: an encoder of its own, trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.plugins import nearest

_OPTIONS = ["filters", "dropout", "batchnorm_momentum"]
_FILTERS = (64, 128, 256, 512, 1024)


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, filters that are not two or more whole numbers, or a dropout outside 0 .. 1."""
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(
                f"model.options: plain_unet has no option '{name}'{nearest(name, _OPTIONS)}. "
                f"Known: {', '.join(_OPTIONS)}."
            )
    filters = options.get("filters", _FILTERS)
    whole = isinstance(filters, list | tuple) and all(type(count) is int and count > 0 for count in filters)
    if not whole or len(filters) < 2:
        raise ConfigError(f"model.options.filters: {filters!r} are not two or more counts, of the finest maps first.")
    dropout = options.get("dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ConfigError(f"model.options.dropout: {dropout!r} is not a share between 0 and 1.")
    check_momentum(options.get("batchnorm_momentum"))


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    filters: Sequence[int] = _FILTERS,
    dropout: float = 0.0,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

    filters: of the maps at full size, half the size, and so on. Sides that cannot be halved so often are mirrored up to
    such a number, and the output cropped back. dropout: of the smallest maps.
    """
    import keras

    from skyfold.models import _padding

    check({"filters": filters, "dropout": dropout})
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=2 ** (len(filters) - 1))

    def twice_convolved(x: Any, count: int, name: str) -> Any:
        for part in ("a", "b"):
            x = keras.layers.Conv2D(
                count, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_{part}"
            )(x)
            x = keras.layers.BatchNormalization(name=f"{name}_{part}_norm")(x)
            x = keras.layers.ReLU(name=f"{name}_{part}_relu")(x)
        return x

    def logits_of(x: Any) -> Any:
        maps = []
        for level, count in enumerate(filters[:-1]):
            maps.append(twice_convolved(x, count, f"down{level}"))
            x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(maps[-1])
        x = twice_convolved(x, filters[-1], "bottom")
        x = keras.layers.Dropout(dropout, name="bottom_dropout")(x)
        for level, count in reversed(list(enumerate(filters[:-1]))):
            x = keras.layers.Conv2DTranspose(count, 2, strides=2, name=f"up{level}")(x)
            x = keras.layers.Concatenate(name=f"up{level}_joined")([maps[level], x])
            x = twice_convolved(x, count, f"up{level}")
        return keras.layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)

    image = keras.Input(input_shape, name="image")
    network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name="plain_unet")
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network
