"""Crops of 64 x 64 cells at a stride of 24 go through three ConvLSTM; where crops overlap their forecasts are averaged.

The way of a team in the contest of Arctic sea ice. Crops are cut and put together within the network, so that whole
maps go in and come out, at training as at forecasting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames
from skyfold.types import IntPair

_OPTIONS = ["crop", "stride", "units", "layers", "kernel", "bands"]


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, counts that are no whole numbers from 1, or crops that leave cells between."""
    _blocks.check_known(options, _OPTIONS, family="ice_convlstm")
    _blocks.check_counts(options, *_OPTIONS)
    crop, stride = options.get("crop", 64), options.get("stride", 24)
    if stride > crop:
        raise ConfigError(
            f"model.options.stride: {stride} leaves cells between crops of {crop}. Set it to at most that."
        )


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    crop: int = 64,
    stride: int = 24,
    units: int = 16,
    layers: int = 3,
    kernel: int = 3,
    bands: int = 1,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L) from 0 to 1, float32, of any
    size.

    The last layers' states at the last L frames say what comes in their place, L = `classes`; there are at least so
    many frames. layers: of ConvLSTM, `units` maps each, with batch norm behind; kernel: their convolutions' side.
    """
    import keras
    from keras import ops

    from skyfold.models import _padding

    check({"crop": crop, "stride": stride, "units": units, "layers": layers, "kernel": kernel, "bands": bands})
    height, width, channels = input_shape
    steps = _frames.count_frames(channels, bands, family="ice_convlstm")
    if steps < classes:
        raise ConfigError(
            f"model.family: ice_convlstm forecasts {classes} frames from as many or more, and sees {steps}. Let the "
            "view show more."
        )

    def forecast(image: Any) -> Any:
        crops = cut(image, crop, stride)
        rows, columns = crops.shape[1:3]
        x = _frames.apart(ops.reshape(crops, (-1, crop, crop, channels)), bands)
        for layer in range(layers):
            x = keras.layers.ConvLSTM2D(units, kernel, padding="same", return_sequences=True, name=f"lstm{layer}")(x)
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"lstm{layer}_norm")(x)
        x = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="ice")(x[:, -classes:])
        return joined(ops.reshape(_frames.beside(x), (-1, rows, columns, crop, crop, classes)), stride)

    image = keras.Input(input_shape, name="frames")
    size: IntPair = (covered(height, crop, stride), covered(width, crop, stride))
    return keras.Model(image, _padding.in_padded_size(image, forecast, size), name="ice_convlstm")


def covered(side: int, crop: int, stride: int) -> int:
    """The shortest side, not below `side`, that crops cover without a rest.

    >>> covered(448, 64, 24), covered(305, 64, 24), covered(20, 64, 24)
    (448, 328, 64)
    """
    return crop + stride * max(0, -(-(side - crop) // stride))


def cut(image: Any, crop: int, stride: int) -> Any:
    """(B, H, W, C), its sides as `covered` gives them, as (B, rows, columns, crop, crop, C)."""
    from keras import ops

    height, width = image.shape[1:3]
    bands = ops.take(image, _places(height, crop, stride), axis=1)  # (B, rows, crop, W, C)
    return ops.moveaxis(ops.take(bands, _places(width, crop, stride), axis=3), 3, 2)


def joined(crops: Any, stride: int) -> Any:
    """Undoes `cut`: (B, rows, columns, crop, crop, C) as (B, H, W, C), the mean where crops overlap."""
    from keras import ops

    rows, columns, crop = crops.shape[1:4]
    crops = ops.einsum("wjq,bijpqc->bipwc", _shares(columns, crop, stride), crops)
    return ops.einsum("hip,bipwc->bhwc", _shares(rows, crop, stride), crops)


def _places(side: int, crop: int, stride: int) -> np.ndarray:
    """int32 (crops, crop): the cells of each along one side."""
    places: np.ndarray = np.arange(0, side - crop + 1, stride)[:, None] + np.arange(crop)
    return places.astype(np.int32)


def _shares(crops: int, crop: int, stride: int) -> np.ndarray:
    """float32 (side, crops, crop): what each cell of each crop adds to a cell of the whole side."""
    side = crop + stride * (crops - 1)
    own = (_places(side, crop, stride)[None] == np.arange(side)[:, None, None]).astype(np.float32)
    shares: np.ndarray = own / own.sum(axis=(1, 2), keepdims=True)
    return shares
