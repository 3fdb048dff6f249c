"""Networks for images of any size: images are padded by reflection to a multiple, and the output is cropped back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from skyfold.types import IntPair


def padded_model(
    input_shape: tuple[int, int, int],
    function: Callable[[Any], Any],
    *,
    name: str,
    multiple: int = 1,
    size: IntPair | None = None,
    corrects: slice | None = None,
    batchnorm_momentum: float | None = None,
) -> Any:
    """The keras.Model of `function`, from images (B, H, W, C) of `input_shape` (H, W, C) to (B, H, W, K).

    function            takes the padded images (B, h, w, C) and returns (B, h, w, K)
    multiple            of which h and w are the next multiples; `size` gives (h, w) itself
    corrects            channels of the image that the output is added to, in float32, as many as the K of the output or
                        one; None: the output is returned as it is
    batchnorm_momentum  see `set_batchnorm_momentum`
    """
    image = keras.Input(input_shape, name="image")
    height, width, _ = input_shape
    size = size or padded_size((height, width), multiple=multiple)
    output = function(padded(image, size))
    if size != (height, width):
        top, left = _before(image, size)
        output = output[:, top : top + height, left : left + width, :]
    if corrects is not None:
        output = keras.ops.cast(image[..., corrects], "float32") + output
    network = keras.Model(image, output, name=name)
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network


def set_batchnorm_momentum(network: Any, momentum: float | None) -> None:
    """Set the momentum of every BatchNorm layer of `network`, in place, before it is traced; None: leave them."""
    for layer in network.layers:
        if momentum is not None and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def padded_size(size: IntPair, *, multiple: int, at_least: int = 0) -> IntPair:
    """The smallest size not below `size` and `at_least` whose sides are multiples of `multiple`.

    >>> padded_size((350, 525), multiple=32), padded_size((64, 20), multiple=32, at_least=64)
    ((352, 544), (64, 64))
    """
    height, width = (-(-max(side, at_least) // multiple) * multiple for side in size)
    return height, width


def padded(image: Any, size: IntPair) -> Any:
    """`image` (B, h, w, C) padded on all sides by reflection to `size` (H, W), any number of times its own size."""
    for axis, before in zip((1, 2), _before(image, size), strict=True):
        own, wanted = image.shape[axis], size[axis - 1]
        if own != wanted:
            image = keras.ops.take(image, mirrored(own, before=before, total=wanted), axis=axis)
    return image


def mirrored(count: int, *, before: int, total: int) -> np.ndarray:
    """Indices 0 .. count - 1 continued by reflection to int32 (total,), of which `before` come first.

    >>> mirrored(3, before=2, total=8).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (count - 1), 1)
    position = np.abs(np.arange(-before, total - before)) % period
    indices: np.ndarray = np.minimum(position, period - position).astype(np.int32)
    return indices


def _before(image: Any, size: IntPair) -> IntPair:
    return (size[0] - image.shape[1]) // 2, (size[1] - image.shape[2]) // 2
