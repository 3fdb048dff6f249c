"""Images whose bands lie far outside those of the training images: of another sensor, unit or order, or damaged.

Of each image the mean and the standard deviation of every band are compared. One is far outside where it is beyond the
outer fences of the training images, 3 interquartile ranges below the first or above the third quartile (Tukey,
Exploratory Data Analysis, 1977), and beyond every training image too. Nothing is learned from what the image shows, so
that an image within the limits may be as foreign.
"""

from __future__ import annotations

import numpy as np

from skyfold.data.rescale import StoredPixels
from skyfold.types import JsonDict

FENCE = 3.0  # interquartile ranges
STATISTICS = ("mean", "standard deviation")


def band_statistics(arrays: StoredPixels, count: int) -> np.ndarray:
    """Mean and standard deviation of each band over the defined pixels of the first `count` samples: (n, 2, C).

    NaN where a sample has no defined pixel.
    """
    found = []
    for row in range(count):
        pixels = np.concatenate([piece.astype(np.float64) for piece in arrays.pixels(np.array([row]))])
        if len(pixels):
            found.append(np.stack([pixels.mean(axis=0), pixels.std(axis=0)]))
        else:
            found.append(np.full((2, pixels.shape[-1]), np.nan))
    return np.stack(found)


def limits_of(statistics: np.ndarray) -> JsonDict:
    """The least and the greatest value of each statistic (n, 2, C) that is not far outside: lists (2, C).

    >>> limits_of(np.array([[[1.0]], [[2.0]], [[3.0]], [[9.0]]]))
    {'low': [[-6.5]], 'high': [[12.75]]}
    """
    known = statistics[~np.isnan(statistics).any(axis=(1, 2))]
    first, third = np.percentile(known, [25, 75], axis=0)
    width = FENCE * (third - first)
    low, high = np.minimum(first - width, known.min(axis=0)), np.maximum(third + width, known.max(axis=0))
    return {"low": low.tolist(), "high": high.tolist()}


def far_outside(statistics: np.ndarray, limits: JsonDict) -> dict[int, str]:
    """By row, what of the statistics (n, 2, C) is farthest outside the limits, in words; rows within are left out."""
    low, high = np.array(limits["low"]), np.array(limits["high"])
    beyond = np.nan_to_num(np.maximum(low - statistics, statistics - high), nan=-1.0)
    span = np.maximum(high - low, np.finfo(float).tiny)
    found = {}
    for row in np.flatnonzero((beyond > 0).any(axis=(1, 2))).tolist():
        which, band = np.unravel_index(int(np.argmax(beyond[row] / span)), low.shape)
        own, least, most = (of[which, band] for of in (statistics[row], low, high))
        name = f"{STATISTICS[int(which)]} of band {band + 1}"
        found[row] = f"{name} is {own:.4g}, of the training images {least:.4g} to {most:.4g}"
    return found
