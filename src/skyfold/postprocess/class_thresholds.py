"""Masks of the pixels whose stored probability exceeds the threshold of their class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply(prob: np.ndarray, thresholds: Sequence[int], valid: np.ndarray | None = None) -> np.ndarray:
    """prob > threshold, bool (n, H, W, K).

    prob: uint8 (n, H, W, K), 255 times the probability; thresholds: (K,) in 0..254; valid: bool (n, H, W), other pixels
    are in no mask. ValueError for other shapes or dtypes.
    """
    if prob.dtype != np.uint8 or prob.ndim != 4 or prob.shape[-1] != len(thresholds):
        raise ValueError(
            f"expected uint8 (n, H, W, {len(thresholds)}) for {len(thresholds)} thresholds; got {prob.dtype} "
            f"{prob.shape}"
        )
    masks: np.ndarray = prob > np.asarray(thresholds, dtype=np.uint8)
    if valid is not None:
        masks &= valid[..., None]
    return masks
