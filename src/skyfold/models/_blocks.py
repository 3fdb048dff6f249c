"""Layers that several architectures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from skyfold.config.fields import Positive

Levels = Annotated[tuple[Positive, ...], Field(min_length=2)]  # filters of a U-Net's maps, the finest first


def conv(x: Any, filters: int, kernel: int, *, dilation: int = 1, separable: bool = False, name: str) -> Any:
    """Convolution without bias, BatchNorm, ReLU: (B, h, w, C) to (B, h, w, filters).

    kernel: side in pixels; separable: a depthwise convolution followed by a pointwise one.
    """
    import keras

    shared = {"padding": "same", "dilation_rate": dilation, "use_bias": False, "name": f"{name}_conv"}
    if separable:
        layer = keras.layers.SeparableConv2D(
            filters, kernel, depthwise_initializer="he_normal", pointwise_initializer="he_normal", **shared
        )
    else:
        layer = keras.layers.Conv2D(filters, kernel, kernel_initializer="he_normal", **shared)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(layer(x))
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def upsampled(x: Any, factor: int, *, name: str) -> Any:
    """Bilinear upsampling by a whole factor; `x` itself where the factor is 1."""
    import keras

    return x if factor == 1 else keras.layers.UpSampling2D(factor, interpolation="bilinear", name=name)(x)


def logits(x: Any, classes: int, stride: int, *, kernel: int = 1) -> Any:
    """Logits (B, stride x h, stride x w, classes) of maps (B, h, w, C): a convolution, then bilinear upsampling.

    Computed in float32 under any precision, since 8 bits of mantissa are too few for a logit.
    """
    import keras

    x = keras.layers.Conv2D(classes, kernel, padding="same", dtype="float32", name="logits")(x)
    if stride == 1:
        return x
    return keras.layers.UpSampling2D(stride, interpolation="bilinear", dtype="float32", name="logits_enlarged")(x)


def u_net(
    x: Any,
    filters: Sequence[int],
    convolved: Callable[[Any, int, str], Any],
    *,
    transposed: bool = True,
    dropout: float = 0.0,
    dropped_levels: int = 1,
) -> Any:
    """The U-Net of Ronneberger et al. 2015 (arXiv:1505.04597) without its last layer: (B, h, w, C) to (B, h, w, F).

    filters         of the maps at full size, half the size, and so on; F is the first. Sides h and w are multiples of
                    2 ** (len(filters) - 1)
    convolved       (x, filters, name): one convolution with its activation; applied twice at each level
    transposed      upsampling by a transposed convolution; False: by repetition of pixels
    dropout         rate, of the `dropped_levels` coarsest maps; skip connections are never dropped
    """
    import keras

    def twice(x: Any, count: int, name: str) -> Any:
        for part in ("a", "b"):
            x = convolved(x, count, f"{name}_{part}")
        return x

    maps = []
    for level, count in enumerate(filters[:-1]):
        x = twice(x, count, f"down{level}")
        maps.append(x)
        if level > len(filters) - 1 - dropped_levels:
            x = keras.layers.Dropout(dropout, name=f"down{level}_dropout")(x)
        x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(x)
    x = twice(x, filters[-1], "bottom")
    x = keras.layers.Dropout(dropout, name="bottom_dropout")(x)
    for level, count in reversed(list(enumerate(filters[:-1]))):
        if transposed:
            joined = [maps[level], keras.layers.Conv2DTranspose(count, 2, strides=2, name=f"up{level}")(x)]
        else:
            joined = [keras.layers.UpSampling2D(name=f"up{level}_enlarged")(x), maps[level]]
        x = twice(keras.layers.Concatenate(name=f"up{level}_joined")(joined), count, f"up{level}")
    return x
