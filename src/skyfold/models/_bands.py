"""How weights learned on some bands serve a network of any number of bands."""

from __future__ import annotations

import numpy as np


def adapted(weight: np.ndarray, shape: tuple[int, ...], *, learned: int = 3) -> np.ndarray:
    """`weight` with its one axis of `learned` bands changed to the count in `shape`; itself where the shapes agree.

    More bands: the learned ones keep theirs, each further one takes their mean. Fewer: each takes the mean.
    A kernel (kh, kw, learned, F) is multiplied by learned / C, so that what it answers keeps its size.
    ValueError where the shapes differ in anything but an axis of `learned`.
    """
    if weight.shape == shape:
        return weight
    differing = [axis for axis, (own, wanted) in enumerate(zip(weight.shape, shape, strict=False)) if own != wanted]
    if len(weight.shape) != len(shape) or len(differing) != 1 or weight.shape[differing[0]] != learned:
        raise ValueError(f"weights of shape {weight.shape} cannot serve as {shape}")
    axis = differing[0]
    bands = shape[axis]
    mean = weight.mean(axis=axis, keepdims=True, dtype=np.float64).astype(weight.dtype)
    more = bands > learned
    further = np.repeat(mean, bands - learned if more else bands, axis=axis)
    result = np.concatenate([weight, further], axis=axis) if more else further
    is_kernel = weight.ndim == 4
    return result * np.asarray(learned / bands, dtype=weight.dtype) if is_kernel else result
