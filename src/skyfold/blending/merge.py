"""Merge probabilities of single classes, from one run or several, into maps with exactly one class per pixel.

A merged map is stored like any other, 0 to 255 for each class, and thresholded, scored and submitted like any other.
Only the class of the pixel is above 127; how far above, and how far below the others are, is half the distance between
the class and the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.blending.combine import chunks
from skyfold.errors import ConfigError

Rule = Literal["mean", "largest", "normalised", "priority"]
FULL, HALF = 255.0, 127.5


@dataclass(frozen=True)
class Merge:
    """Rule that gives each pixel one of K classes, from M members that learned some of them each.

    "mean"         none: the mean probabilities are kept as they are, 0 for a class that no member learned
    "largest"      the class with the largest probability
    "normalised"   the same, each class's probabilities first stretched so that its own threshold lies at one half
    "priority"     the first class of `order` whose probability is above its own threshold

    sources: for each of the K classes the (member, plane) pairs that predict it; several are averaged by `weights` (one
    a member, None: equally). rest: index of the class of pixels where no other class is above its threshold (one half,
    for "largest"); None: every pixel is claimed. thresholds: (K,), in 0..254, None for "largest"; that of `rest` is not
    used. order: indices of all classes but `rest`, for "priority" only.
    """

    rule: Rule
    sources: tuple[tuple[tuple[int, int], ...], ...]
    rest: int | None
    weights: tuple[float, ...] | None = None
    thresholds: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None

    def rows(self, arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows of the chunk, merged values uint8 (n, H, W, K)), chunk by chunk, for all of `rows`.

        arrays: uint8 (N, H, W, classes of the member), one a member, memory-mapped or not.
        """
        for chunk in chunks(arrays, rows):
            values = [np.asarray(array[chunk]) for array in arrays]
            means = np.stack([self._mean(values, k) for k in range(len(self.sources))], axis=-1)
            yield chunk, np.rint(means).astype(np.uint8) if self.rule == "mean" else _as_stored(self._claims(means))

    def _mean(self, values: Sequence[np.ndarray], k: int) -> np.ndarray:
        """Of the class at index `k`, float32 (n, H, W)."""
        total, parts = np.zeros(values[0].shape[:3], dtype=np.float32), 0.0
        for member, plane in self.sources[k]:
            part = 1.0 if self.weights is None else self.weights[member]
            total += np.float32(part) * values[member][..., plane]
            parts += part
        return total / np.float32(parts) if parts else total

    def _claims(self, probabilities: np.ndarray) -> np.ndarray:
        """Strength with which each class claims each pixel, float32 (n, H, W, K) in 0..255: the strongest gets it."""
        others = [k for k in range(len(self.sources)) if k != self.rest]
        claims = probabilities.copy()
        if self.rule == "normalised":
            assert self.thresholds is not None
            for k in others:
                claims[..., k] = _stretched(probabilities[..., k], self.thresholds[k] + 0.5)
        if self.rule == "priority":
            assert self.thresholds is not None
            assert self.order is not None
            claims[...] = 0.0
            taken = np.zeros(claims.shape[:3], dtype=bool)
            for k in self.order:
                claims[..., k] = np.where(~taken & (probabilities[..., k] > self.thresholds[k]), FULL, 0.0)
                taken |= claims[..., k] > 0
        if self.rest is not None:
            strongest = claims[..., others].max(axis=-1)
            # A byte of 127 claims nothing, one of 128 does; a stretched 127 may come a little nearer to one half.
            claims[..., self.rest] = np.where(strongest > HALF - 0.25, 0.0, FULL - strongest)
        return claims


def class_sources(
    members: Sequence[tuple[str, Sequence[str]]], classes: Sequence[str]
) -> tuple[tuple[tuple[tuple[int, int], ...], ...], int | None]:
    """For each of `classes` the (member, plane) pairs that predict it, and the index of the one that none predicts.

    members: name and classes of each run. Raises ConfigError where two classes or more are predicted by none.
    """
    sources = tuple(
        tuple((member, list(own).index(name)) for member, (_, own) in enumerate(members) if name in own)
        for name in classes
    )
    unknown = [k for k, pairs in enumerate(sources) if not pairs]
    if len(unknown) > 1:
        names = ", ".join(classes[k] for k in unknown)
        raise ConfigError(
            f"merge: no run learned {names}. Only the class of all other pixels may be missing. Add runs "
            "that learned the others."
        )
    return sources, unknown[0] if unknown else None


def _stretched(values: np.ndarray, threshold: float) -> np.ndarray:
    """Map 0..255 piecewise linearly to 0..255, `threshold` to one half."""
    return np.asarray(np.interp(values, [0.0, threshold, FULL], [0.0, HALF, FULL]), dtype=np.float32)


def _as_stored(claims: np.ndarray) -> np.ndarray:
    """uint8: 128 or more for the first of the strongest claims, 127 or less for all others; see the module."""
    strongest = claims.argmax(axis=-1)
    first = claims.max(axis=-1)
    others = claims.copy()
    np.put_along_axis(others, strongest[..., np.newaxis], -1.0, axis=-1)
    second = np.maximum(others.max(axis=-1), 0.0)
    ahead = 128.0 + np.floor((first - second) / 2)
    stored = 127.0 - np.floor((first[..., np.newaxis] - others) / 2)
    np.put_along_axis(stored, strongest[..., np.newaxis], ahead[..., np.newaxis], axis=-1)
    return np.clip(stored, 0, FULL).astype(np.uint8)
