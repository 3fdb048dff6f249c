"""How weights learned on three bands serve a network of any number of bands."""

from __future__ import annotations

import numpy as np


def adapted(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`weight` with its one axis of 3 bands changed to the count in `shape`; itself where the shapes agree.

    Three and more bands: the first three keep theirs, each further one takes their mean. Fewer: each takes the mean.
    A kernel (kh, kw, 3, F) is multiplied by 3 / C, so that what it answers keeps its size.
    ValueError where the shapes differ in anything but an axis of 3.
    """
    if weight.shape == shape:
        return weight
    differing = [axis for axis, (own, wanted) in enumerate(zip(weight.shape, shape, strict=False)) if own != wanted]
    if len(weight.shape) != len(shape) or len(differing) != 1 or weight.shape[differing[0]] != 3:
        raise ValueError(f"weights of shape {weight.shape} cannot serve as {shape}")
    axis = differing[0]
    bands = shape[axis]
    mean = weight.mean(axis=axis, keepdims=True, dtype=np.float64).astype(weight.dtype)
    further = np.repeat(mean, bands - 3 if bands > 3 else bands, axis=axis)
    result = np.concatenate([weight, further], axis=axis) if bands > 3 else further
    is_kernel = weight.ndim == 4
    return result * np.asarray(3 / bands, dtype=weight.dtype) if is_kernel else result
