"""Neighbouring samples side by side as bands of one input (2.5D): slices of a volume, frames, dates of one place.

The cache holds every sample once; bands are put together when a batch is made. A neighbour is an input only: its
target is never read, and limits of `image.rescale` come from the training rows themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.errors import ConfigError
from skyfold.types import Samples


@dataclass(frozen=True)
class NeighbourBands:
    """stored (n, h, w, C), rows (n, 2k + 1): `bands[i]` is (h, w, (2k + 1) C), the samples `rows[i]` one after the
    other, which is how a network sees sample i."""

    stored: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.concatenate([self.stored[row] for row in self.rows[index]], axis=-1)

    @property
    def dtype(self) -> np.dtype:
        """Type of the images."""
        return self.stored.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, (2k + 1) C)."""
        return *self.stored.shape[:3], self.stored.shape[3] * self.rows.shape[1]


def neighbour_rows(samples: Samples, k: int) -> np.ndarray:
    """The k samples before each one, itself, and the k after it: int64 (n, 2k + 1).

    Neighbours are of one group (of all samples where there are no groups), in the order of their times, or, without
    times, in that of the samples. The first and last of a group stand in for what is missing. ConfigError where the
    samples have neither groups nor times.
    """
    if samples.groups is None and samples.times is None:
        raise ConfigError(
            "image.neighbours: the samples have neither groups nor times, so that none is beside another. Set the "
            "group of each (data.options.group of mask_folder), or remove image.neighbours."
        )
    groups = np.zeros(len(samples), dtype=np.int64) if samples.groups is None else samples.groups
    order = np.arange(len(samples)) if samples.times is None else np.argsort(samples.times, kind="stable")
    found = np.empty((len(samples), 2 * k + 1), dtype=np.int64)
    for group in np.unique(groups):
        own = order[groups[order] == group]
        places = np.arange(len(own))[:, np.newaxis] + np.arange(-k, k + 1)
        found[own] = own[np.clip(places, 0, len(own) - 1)]
    return found
