"""Layers that the decoders share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from skyfold.config.fields import Positive

Levels = Annotated[tuple[Positive, ...], Field(min_length=2)]  # filters of a U-Net's maps, the finest first


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
