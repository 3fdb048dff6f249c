"""Layers that the decoders share, and the check of their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold import plugins
from skyfold.errors import ConfigError


def check_known(options: Mapping[str, Any], known: Sequence[str], *, family: str) -> None:
    """ConfigError on an option that the family has not, with the nearest it has."""
    plugins.check_known(options, known, where=f"model.options: {family}")


def check_counts(options: Mapping[str, Any], *names: str) -> None:
    """ConfigError where one of these options is given and is no whole number from 1."""
    for name in names:
        value = options.get(name, 1)
        if not _is_count(value):
            raise ConfigError(f"model.options.{name}: {value!r} is not a whole number from 1.")


def check_count_list(options: Mapping[str, Any], name: str, *, length: int) -> None:
    """ConfigError where this option is given and is no list of `length` whole numbers from 1."""
    value = options.get(name)
    if value is None:
        return
    if not isinstance(value, list | tuple) or len(value) != length or not all(map(_is_count, value)):
        raise ConfigError(f"model.options.{name}: {value!r} is not a list of {length} whole numbers from 1.")


def check_some_counts(options: Mapping[str, Any], name: str, *, at_least: int = 1) -> None:
    """ConfigError where this option is given and is no list of `at_least` or more whole numbers from 1."""
    if name not in options:
        return
    value = options[name]
    if not isinstance(value, list | tuple) or len(value) < at_least or not all(map(_is_count, value)):
        raise ConfigError(f"model.options.{name}: {value!r} is not a list of {at_least} or more whole numbers from 1.")


def check_dropout(options: Mapping[str, Any]) -> None:
    value = options.get("dropout", 0.0)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"model.options.dropout: {value!r} is not a share between 0 and 1.")


def conv(x: Any, filters: int, kernel: int, *, dilation: int = 1, separable: bool = False, name: str) -> Any:
    """Convolution without bias, BatchNorm, ReLU; separable: first within each channel, then across them."""
    import keras

    shared = {
        "padding": "same",
        "dilation_rate": dilation,
        "use_bias": False,
        "name": f"{name}_conv",
    }
    if separable:
        layer = keras.layers.SeparableConv2D(
            filters, kernel, depthwise_initializer="he_normal", pointwise_initializer="he_normal", **shared
        )
    else:
        layer = keras.layers.Conv2D(filters, kernel, kernel_initializer="he_normal", **shared)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(layer(x))
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def enlarged(x: Any, factor: int, *, name: str) -> Any:
    """Bilinearly; maps are whole parts of the image, so that the factor is a whole number too."""
    import keras

    return x if factor == 1 else keras.layers.UpSampling2D(factor, interpolation="bilinear", name=name)(x)


def logits(x: Any, classes: int, stride: int, *, kernel: int = 1) -> Any:
    """Logits at the size of the image, float32 under any precision: 8 bits of mantissa are too few for one."""
    import keras

    x = keras.layers.Conv2D(classes, kernel, padding="same", dtype="float32", name="logits")(x)
    if stride == 1:
        return x
    return keras.layers.UpSampling2D(stride, interpolation="bilinear", dtype="float32", name="logits_enlarged")(x)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
