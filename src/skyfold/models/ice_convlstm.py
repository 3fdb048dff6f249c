"""ConvLSTM on crops of 64 x 64 cells at a stride of 24, for maps of sea ice; overlapping forecasts are averaged.

The method of a team in the Arctic sea ice competition. Crops are cut and joined within the network, so that it reads
and predicts whole maps, in training too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.config.fields import Positive
from skyfold.models import NetworkFamily, _frames

CROP, STRIDE = 64, 24


class IceConvLSTM(NetworkFamily):
    """layers: number of ConvLSTM layers, each with 3 x 3 kernels and followed by BatchNorm; units: filters of each."""

    units: Positive = 16
    layers: Positive = 3

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from frames (H, W, T), oldest first, to (H, W, L) from 0 to 1, float32, any size.

        The outputs at the last L frames are the forecasts, L = `classes`; ConfigError where T is less.
        """
        import keras
        from keras import ops

        from skyfold.models import _padding

        height, width, frames = input_shape
        _frames.require_frames("ice_convlstm", frames, classes)

        def forecast(image: Any) -> Any:
            crops = cut(image, CROP, STRIDE)
            rows, columns = crops.shape[1:3]
            x = _frames.apart(ops.reshape(crops, (-1, CROP, CROP, frames)))
            for layer in range(self.layers):
                x = keras.layers.ConvLSTM2D(self.units, 3, padding="same", return_sequences=True, name=f"lstm{layer}")(
                    x
                )
                x = keras.layers.BatchNormalization(momentum=0.9, name=f"lstm{layer}_norm")(x)
            x = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="ice")(x[:, -classes:])
            return joined(ops.reshape(_frames.beside(x), (-1, rows, columns, CROP, CROP, classes)), STRIDE)

        size = covered(height, CROP, STRIDE), covered(width, CROP, STRIDE)
        return _padding.padded_model(input_shape, forecast, size=size, name="ice_convlstm")


PLUGIN = IceConvLSTM


def covered(side: int, crop: int, stride: int) -> int:
    """The shortest side, not below `side`, that crops cover without a rest; all in cells.

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
    """Undo `cut`: (B, rows, columns, crop, crop, C) to (B, H, W, C), the mean where crops overlap."""
    from keras import ops

    rows, columns, crop = crops.shape[1:4]
    crops = ops.einsum("wjq,bijpqc->bipwc", _fractions(columns, crop, stride), crops)
    return ops.einsum("hip,bipwc->bhwc", _fractions(rows, crop, stride), crops)


def _places(side: int, crop: int, stride: int) -> np.ndarray:
    """int32 (crops, crop): the cells of each crop along one side."""
    places: np.ndarray = np.arange(0, side - crop + 1, stride)[:, None] + np.arange(crop)
    return places.astype(np.int32)


def _fractions(crops: int, crop: int, stride: int) -> np.ndarray:
    """float32 (side, crops, crop): the weight of each cell of each crop in a cell of the whole side; sums to 1."""
    side = crop + stride * (crops - 1)
    own = (_places(side, crop, stride)[None] == np.arange(side)[:, None, None]).astype(np.float32)
    fractions: np.ndarray = own / own.sum(axis=(1, 2), keepdims=True)
    return fractions
