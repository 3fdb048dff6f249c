"""Mask post-processing rules, one file each: how probabilities of a class become its mask.

A rule is a module of this package that keeps the protocol `Rule`. Two numbers per class are searched for it: a
threshold, and a minimum area in pixels, whatever the rule compares with it. What else a rule may offer is declared
below: a third number (`TopRule`), and pixel counts, which make the search exact and fast for metrics that are functions
of counts (`CountedRule`, `SweptRule`). A rule without counts is applied at every searched setting instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast, runtime_checkable

import numpy as np

from skyfold import plugins


class Rule(Protocol):
    """Masks from probabilities."""

    def apply(
        self, prob: np.ndarray, thresholds: Sequence[int], min_areas: Sequence[int], valid: np.ndarray | None = None
    ) -> np.ndarray:
        """Masks, bool (n, H, W, K), a new array.

        prob: uint8 (n, H, W, K), 255 times the probability; thresholds: (K,) in 0..254, exceeded in the mask;
        min_areas: (K,) pixels; valid: bool (n, H, W), other pixels are in no mask.
        """
        ...


@runtime_checkable
class TopRule(Rule, Protocol):
    """A rule that empties masks by a second threshold, the top threshold, which is never below the first."""

    def keeps(self, pixels: np.ndarray, min_areas: Sequence[int] | int) -> np.ndarray:
        """Whether masks stay, bool; pixels: int, how many of each map are above its top threshold."""
        ...


@runtime_checkable
class CountedRule(Rule, Protocol):
    """A rule whose masks are counted without being made."""

    def counts(self, histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray:
        """int (n, 2, T): pixels of the masks that are true, and all; histogram: int (n, 2, 256), see
        `threshold_counts`."""
        ...


@runtime_checkable
class SweptRule(CountedRule, Protocol):
    """A rule whose counts need more than a histogram: a sweep over the pixels of every map."""

    def needs_sweep(self, min_areas: np.ndarray) -> bool:
        """Whether `counts` is not enough for these."""
        ...

    def sweep(
        self,
        prob: np.ndarray,
        target: np.ndarray,
        valid: np.ndarray | None = None,
        *,
        thresholds: np.ndarray,
        min_areas: np.ndarray,
    ) -> np.ndarray:
        """int32 (n, K, 2, M, T): pixels of the masks that are true, and all."""
        ...


@cache
def load_rule(name: str) -> Rule:
    """ConfigError, with the nearest name, where there is no such rule."""
    return cast(Rule, plugins.load("postprocess.rules", name))
