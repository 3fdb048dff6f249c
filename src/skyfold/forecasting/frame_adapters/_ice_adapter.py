"""Coarser maps of sea ice, so that a network trains on a laptop: means of n x n cells, and back."""

from __future__ import annotations

import numpy as np

from skyfold.types import IntPair


def reduced_size(size: IntPair, cells: int) -> IntPair:
    """Size of a map of means over `cells` x `cells` cells; those at the far edges may lack cells.

    >>> reduced_size((448, 305), 2)
    (224, 153)
    """
    height, width = (-(-side // cells) for side in size)
    return height, width


def averaged(maps: np.ndarray, cells: int) -> np.ndarray:
    """Means over `cells` x `cells` cells: float32 (H, W, K) -> (h, w, K), of `reduced_size`.

    The last row and column are repeated where the far edges lack cells.
    """
    if cells == 1:
        return maps
    height, width = reduced_size(maps.shape[:2], cells)
    lacking = (height * cells - maps.shape[0], width * cells - maps.shape[1])
    whole = np.pad(maps, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="edge") if any(lacking) else maps
    return np.asarray(whole.reshape(height, cells, width, cells, -1).mean(axis=(1, 3)))


def enlarged(maps: np.ndarray, cells: int, size: IntPair) -> np.ndarray:
    """(h, w, K) -> (H, W, K) of `size` (H, W): each mean at all of its cells."""
    return maps.repeat(cells, axis=0).repeat(cells, axis=1)[: size[0], : size[1]]
