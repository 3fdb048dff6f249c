"""Which pixels of a class are its mask: those whose stored probability is above the class's level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply(prob: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """prob: uint8 (n, H, W, K), 255 times the probability; levels: (K,) in 0..254. Returns prob > level, bool."""
    if prob.dtype != np.uint8 or prob.ndim != 4 or prob.shape[-1] != len(levels):
        raise ValueError(
            f"expected uint8 (n, H, W, {len(levels)}) for {len(levels)} levels; got {prob.dtype} {prob.shape}"
        )
    return np.asarray(prob > np.asarray(levels, dtype=np.uint8))
