"""Mask post-processing rules, one file each: how probabilities of a class become its mask.

A rule is a module of this package. Two numbers per class are searched for it: a threshold, and a minimum area in
pixels, whatever the rule compares with it. Of its functions only the first is required:

apply(masks, prob, min_areas)
    The masks that remain, bool (n, H, W, K). masks: the same, true where `prob`, uint8 (n, H, W, K), 255 times the
    probability, exceeds the threshold of the class; they may be changed in place; min_areas: (K,) pixels. Invalid
    pixels are cleared afterwards.
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

    def apply(self, masks: np.ndarray, prob: np.ndarray, min_areas: Sequence[int]) -> np.ndarray: ...


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
