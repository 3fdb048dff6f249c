"""Crops of 64 x 64 cells at a stride of 24 go through three ConvLSTM; where crops overlap their forecasts are averaged.

The way of a team in the contest of Arctic sea ice. Crops are cut and put together within the network, so that whole
maps go in and come out, at training as at forecasting.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from pydantic import model_validator

from skyfold.config.fields import Positive
from skyfold.models import _frames
from skyfold.types import IntPair


class IceConvLSTM(_frames.FrameFamily):
    """layers: of ConvLSTM, `units` maps each, with batch norm behind; kernel: their convolutions' side."""

    name: ClassVar[str] = "ice_convlstm"
    crop: Positive = 64
    stride: Positive = 24
    units: Positive = 16
    layers: Positive = 3
    kernel: Positive = 3

    @model_validator(mode="after")
    def _crops_cover(self) -> Self:
        if self.stride > self.crop:
            raise ValueError(f"stride: {self.stride} leaves cells between crops of {self.crop}. Set it to at most that")
        return self

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from frames to (H, W, L) from 0 to 1, float32, of any size.

        The last layers' states at the last L frames say what comes in their place, L = `classes`; there are at least so
        many frames.
        """
        import keras
        from keras import ops

        from skyfold.models import _padding

        height, width, channels = input_shape
        self.count_frames(channels, at_least=classes)

        def forecast(image: Any) -> Any:
            crops = cut(image, self.crop, self.stride)
            rows, columns = crops.shape[1:3]
            x = _frames.apart(ops.reshape(crops, (-1, self.crop, self.crop, channels)), self.bands)
            for layer in range(self.layers):
                x = keras.layers.ConvLSTM2D(
                    self.units, self.kernel, padding="same", return_sequences=True, name=f"lstm{layer}"
                )(x)
                x = keras.layers.BatchNormalization(momentum=0.9, name=f"lstm{layer}_norm")(x)
            x = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="ice")(x[:, -classes:])
            return joined(
                ops.reshape(_frames.beside(x), (-1, rows, columns, self.crop, self.crop, classes)), self.stride
            )

        image = keras.Input(input_shape, name="frames")
        size: IntPair = (covered(height, self.crop, self.stride), covered(width, self.crop, self.stride))
        return keras.Model(image, _padding.in_padded_size(image, forecast, size), name=self.name)


PLUGIN = IceConvLSTM


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
