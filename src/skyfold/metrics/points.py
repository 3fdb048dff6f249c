"""Forecasts at single places, dams for instance, in the shape of maps, so that every forecast metric scores them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.types import IntPair


def at_points(values: np.ndarray, points: Sequence[IntPair]) -> np.ndarray:
    """values: (n, H, W, ...); points: (row, column) each. Returns (n, P, 1, ...): the points as rows of a narrow map.

    >>> at_points(np.arange(6).reshape(1, 2, 3), [(0, 2), (1, 0)]).tolist()
    [[[2], [3]]]
    """
    rows, columns = np.array(points).T
    return values[:, rows, columns][:, :, np.newaxis]
