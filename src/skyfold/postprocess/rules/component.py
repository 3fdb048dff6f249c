"""Drop 8-connected components of fewer pixels than the minimum area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import uint64

from skyfold.compiled import compiled
from skyfold.postprocess.component_counts import component_counts

sweep = component_counts


def apply(masks: np.ndarray, prob: np.ndarray, min_areas: Sequence[int]) -> np.ndarray:
    """Masks without the components of class k that have fewer than min_areas[k] pixels, bool (n, H, W, K)."""
    for k, min_area in enumerate(min_areas):
        if min_area > 1:  # every component has at least one pixel
            for mask in masks:
                _clear_small(mask, k, min_area)
    return masks


def counts(histogram: np.ndarray, thresholds: np.ndarray, min_area: int) -> np.ndarray:
    """Counts for minimum areas of 0 and 1, which every component has: int (n, 2, T)."""
    return histogram[:, :, thresholds + 1]


@compiled
def _clear_small(mask, k, min_area):  # type: ignore[no-untyped-def]
    """Clear the components of mask[:, :, k], bool (H, W, K), that have fewer than min_area pixels.

    Runs of pixels are joined row by row: a run touches those of the row above that overlap it or meet it at a corner.
    """
    height, width = mask.shape[0], mask.shape[1]
    most = height * ((width + 1) // 2)
    starts, ends, rows = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    parent, area = np.empty(most, np.int32), np.empty(most, np.int32)  # of a root: all pixels of its component
    runs = first = 0
    for row in range(height):
        above, first = first, runs
        column = 0
        while column < width:
            if not mask[row, uint64(column), k]:
                column += 1
                continue
            start = column
            while column < width and mask[row, uint64(column), k]:
                column += 1
            starts[runs], ends[runs], rows[runs] = start, column, row
            parent[runs], area[runs] = runs, column - start
            while above < first and ends[above] < start:
                above += 1
            touching = above
            while touching < first and starts[touching] <= column:
                root, own = _root(parent, touching), _root(parent, runs)
                if root != own:
                    parent[own] = root
                    area[root] += area[own]
                touching += 1
            runs += 1
    for run in range(runs):
        if area[_root(parent, run)] < min_area:
            mask[rows[run], starts[run] : ends[run], k] = False


@compiled
def _root(parent, run):  # type: ignore[no-untyped-def]
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
