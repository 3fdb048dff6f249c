"""Any image size for networks that want a multiple of some number: mirrored at the edges before, cropped after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from skyfold.types import IntPair


def padded_size(size: IntPair, *, multiple: int, at_least: int = 0) -> IntPair:
    """The smallest size not below `size` and `at_least` whose sides are multiples.

    >>> padded_size((350, 525), multiple=32), padded_size((64, 20), multiple=32, at_least=64)
    ((352, 544), (64, 64))
    """
    height, width = (-(-max(side, at_least) // multiple) * multiple for side in size)
    return height, width


def in_padded_size(image: Any, network: Callable[[Any], Any], size: IntPair) -> Any:
    """Apply `network` to `image` (B, h, w, C) extended to `size`, and crop what it returns to (B, h, w, K)."""
    top, left = _before(image, size)
    height, width = image.shape[1:3]
    result = network(extended(image, size))
    return result if (height, width) == size else result[:, top : top + height, left : left + width, :]


def extended(image: Any, size: IntPair) -> Any:
    """`image` (B, h, w, C) mirrored at its edges to `size`, itself in the middle."""
    for axis, before in zip((1, 2), _before(image, size), strict=True):
        own, wanted = image.shape[axis], size[axis - 1]
        if own != wanted:
            image = keras.ops.take(image, mirrored(own, before=before, total=wanted), axis=axis)
    return image


def mirrored(count: int, *, before: int, total: int) -> np.ndarray:
    """Indices 0 .. count - 1 continued by reflection to `total` entries, of which `before` come first.

    >>> mirrored(3, before=2, total=8).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (count - 1), 1)
    position = np.abs(np.arange(-before, total - before)) % period
    indices: np.ndarray = np.minimum(position, period - position).astype(np.int32)
    return indices


def _before(image: Any, size: IntPair) -> IntPair:
    return (size[0] - image.shape[1]) // 2, (size[1] - image.shape[2]) // 2
