"""Mask post-processing rules, one file each: how probabilities of a class become its mask.

A rule is a module of this package. Two numbers per class are searched for it: a threshold, and a minimum area in
pixels, whatever the rule compares with it. Of its functions only the first is required:

apply(prob, thresholds, min_areas, valid=None)
    Masks, bool (n, H, W, K), a new array. prob: uint8 (n, H, W, K), 255 times the probability; thresholds: (K,) in
    0..254, exceeded in the mask; min_areas: (K,) pixels; valid: bool (n, H, W), other pixels are in no mask.
counts(histogram, thresholds, min_area)
    Pixels of the masks that are true, and all, int (n, 2, T). histogram: int (n, 2, 256), see `threshold_counts`;
    thresholds: (T,). Makes the search exact and fast for metrics that are functions of pixel counts; a rule without
    counts is applied at every searched setting instead.
sweep(prob, target, valid, *, thresholds, min_areas)
    The same for minimum areas above 1 that need more than a histogram, int32 (n, K, 2, M, T). target: bool
    (n, H, W, K); thresholds: (T,); min_areas: (M,).
keeps(pixels, min_areas)
    Whether masks stay, bool; pixels: int, how many of each map are above its top threshold. For rules that empty masks
    by a second threshold, which is chosen too and never below the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from skyfold import plugins


class Rule(Protocol):
    """The required function; arguments as above."""

    def apply(
        self, prob: np.ndarray, thresholds: Sequence[int], min_areas: Sequence[int], valid: Any = None
    ) -> Any: ...


@runtime_checkable
class CountedRule(Protocol):
    """A rule whose pixel counts follow from a histogram."""

    def counts(self, histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray: ...


@runtime_checkable
class SweptRule(Protocol):
    """A rule whose pixel counts need the maps themselves where minimum areas are above 1."""

    def sweep(self, prob: np.ndarray, target: np.ndarray, valid: Any, **settings: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class TopRule(Protocol):
    """A rule that empties masks by a second threshold."""

    def keeps(self, pixels: np.ndarray, min_areas: Sequence[int] | int) -> np.ndarray: ...


@cache
def load_rule(name: str) -> Rule:
    """Module of a rule. ConfigError, with the nearest name, where there is no such rule."""
    return cast(Rule, plugins.load("postprocess.rules", name))


def above_thresholds(prob: np.ndarray, thresholds: Sequence[int], valid: np.ndarray | None = None) -> np.ndarray:
    """Masks of the pixels whose stored probability exceeds the threshold of their class, bool (n, H, W, K).

    prob: uint8 (n, H, W, K), 255 times the probability; thresholds: (K,) in 0..254; valid: bool (n, H, W), other pixels
    are in no mask. ValueError for other shapes or dtypes.
    """
    if prob.dtype != np.uint8 or prob.ndim != 4 or prob.shape[-1] != len(thresholds):
        raise ValueError(
            f"expected uint8 (n, H, W, {len(thresholds)}) for {len(thresholds)} thresholds; got {prob.dtype} "
            f"{prob.shape}"
        )
    # By rows of pixels: NumPy is slow where the last axis is as short as the number of classes.
    rows = np.tile(np.asarray(thresholds, dtype=np.uint8), prob.shape[2])
    masks: np.ndarray = (prob.reshape(*prob.shape[:2], -1) > rows).reshape(prob.shape)
    if valid is not None:
        masks &= valid[..., None]
    return masks
