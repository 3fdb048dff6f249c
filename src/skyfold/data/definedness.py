"""Pixels without a measurement (nodata): how they are found, left out of averages, and filled.

A network needs a number everywhere: an undefined pixel gets the least one of the image's type, which `image.rescale`
maps to 0 and bytes hold as 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from skyfold.data.images import resize
from skyfold.types import ArraySequence, IntPair, PartlyDefined


def has_undefined(inputs: ArraySequence, rows: Iterable[int] | None = None) -> bool:
    """Whether `inputs` tell of undefined pixels in any of `rows`, None: of all; those before it are asked in their
    order."""
    if not isinstance(inputs, PartlyDefined):
        return False
    return any(inputs.defined(i) is not None for i in (range(len(inputs)) if rows is None else rows))


def defined_in(inputs: ArraySequence, index: int) -> np.ndarray | None:
    """bool (H, W), False where any band of `inputs[index]` has no measurement; None: all are defined."""
    return inputs.defined(index) if isinstance(inputs, PartlyDefined) else None


def reduce_defined(image: np.ndarray, defined: np.ndarray, size: IntPair) -> tuple[np.ndarray, np.ndarray]:
    """Resize image (H, W, C) to `size` as the mean of the defined pixels of each area, in the type of the image.

    defined: bool (H, W). Returns the image, filled where an area has no defined pixel, and bool (*size) where it has.
    """
    counted = defined[..., np.newaxis]
    fraction = resize(counted.astype(np.float32), size)
    total = resize(np.where(counted, image, 0).astype(np.float32), size)
    mean = total / np.where(fraction > 0, fraction, 1)
    mean = mean if image.dtype.kind == "f" else np.rint(mean)
    return filled(mean.astype(image.dtype), fraction[..., 0] > 0), fraction[..., 0] > 0


def filled(image: np.ndarray, defined: np.ndarray, value: int | None = None) -> np.ndarray:
    """A copy of image (H, W, C) with `value`, None: the least number of its type, where `defined` (H, W) is False."""
    limits = np.finfo(image.dtype) if image.dtype.kind == "f" else np.iinfo(image.dtype)
    fill = limits.min if value is None else value
    return np.where(defined[..., np.newaxis], image, np.asarray(fill, dtype=image.dtype))
