"""Pixels that every map keeps at each pair of threshold and minimum component area, exactly and in one sweep.

Lowering the threshold only ever adds pixels, so the components of all thresholds come from one run of union-find that
takes the pixels in descending order: a pixel joins the components it touches, and each component carries its area and
its overlap with the truth along. Beside that, running totals are kept of the components that are too small, by how many
minimum areas they pass, so that after the last pixel of a threshold its whole row of minimum areas is read off at once.

Positions are cast to unsigned numbers wherever an array is read: else the compiler asks at each access whether they
count from the end. With that and the truth packed beside the position, the sweep takes half the time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import uint8, uint64
from scipy.sparse.csgraph import connected_components

from skyfold.compiled import compiled, in_threads
from skyfold.postprocess.threshold_counts import check_grid, check_maps

MAX_MIN_AREAS = 255

# The eight neighbours as (row, column) steps, going round: NW, N, NE, E, SE, S, SW, W. In reading order NW, N, NE and W
# come before the pixel in the middle.
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
MOST_ARCS = 4


def component_counts(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    thresholds: np.ndarray,
    min_areas: np.ndarray,
    workers: int | None = None,
) -> np.ndarray:
    """int32 (n, K, 2, M, T): pixels kept of the truth [..., 0, m, t], and in all [..., 1, m, t].

    Kept are the 8-connected components of prob > thresholds[t] that have min_areas[m] pixels or more.
    prob: uint8 (n, H, W, K), memory-mapped or strided as it may be; target: bool (n, H, W, K); valid: bool (n, H, W),
    other pixels belong to no component. thresholds: (T,) ascending in 0..254; min_areas: (M,) ascending, at most 255 of
    them, pixels >= 0. workers: threads, None: one per core.
    """
    check_maps(prob, target, valid)
    thresholds = check_grid(thresholds, 0, 254, "thresholds")
    min_areas = check_grid(min_areas, 0, 2**31 - 1, "min_areas")
    if len(min_areas) > MAX_MIN_AREAS:
        raise ValueError(f"min_areas: at most {MAX_MIN_AREAS}, got {len(min_areas)}")
    count, height, width, classes = prob.shape
    rank_of_value = np.searchsorted(thresholds, np.arange(256)).astype(np.uint8)
    reached = np.bincount(min_areas[min_areas <= height * width], minlength=height * width + 1)
    rank_of_area = np.cumsum(reached).astype(np.uint8)
    arc_steps = _arc_steps(row_step=width + 2)
    counts = np.empty((count, classes, 2, len(min_areas), len(thresholds)), dtype=np.int32)

    def fill(rows: range) -> None:
        # On the image with a border of one pixel, whose rank stays 0, so that no pixel asks whether it is at the edge.
        rank, joined = np.zeros((2, (height + 2) * (width + 2)), np.uint8)
        parent, overlap = np.zeros((2, (height + 2) * (width + 2)), np.int32)
        scratch = rank, joined, parent, overlap, np.empty(height * width, np.int32)
        values, truth = np.empty(prob.shape[1:], np.uint8), np.empty(prob.shape[1:], np.bool_)
        for i in rows:
            values[:], truth[:] = prob[i], target[i]
            if valid is not None:
                values[~valid[i]] = 0  # no threshold is below 0
            for k in range(classes):
                _sweep(values, truth, k, rank_of_value, rank_of_area, arc_steps, *scratch, counts[i, k])

    in_threads(fill, count, workers)
    return counts


@cache
def _arc_steps(row_step: int) -> np.ndarray:
    """For each set of neighbours (a bit each, as in RING) the step to one of each arc that hangs together.

    Neighbours that touch each other are in one component already, so one `_root` for each arc is enough. At most four
    arcs fit in the ring, at its four corners. Returns int32 (256, 4), steps in the bordered image, 0: no more arcs.
    """
    steps = np.zeros((256, MOST_ARCS), dtype=np.int32)
    ring = np.array(RING)
    touch = np.abs(ring[:, None] - ring).max(axis=2) <= 1
    for bits in range(1, 256):
        neighbours = np.flatnonzero(bits >> np.arange(8) & 1)
        arc_of = connected_components(touch[np.ix_(neighbours, neighbours)])[1]
        first_of_arc = neighbours[np.unique(arc_of, return_index=True)[1]]
        steps[bits, : len(first_of_arc)] = ring[first_of_arc] @ [row_step, 1]
    return steps


@compiled
def _sweep(  # type: ignore[no-untyped-def]
    prob, truth, k, rank_of_value, rank_of_area, arc_steps, rank, joined, parent, overlap, order, counts
):
    """Fill counts (2, M, T) of class k; prob, truth: (H, W, K); the others as `component_counts` makes them.

    joined[p]: which neighbours join before p. parent[p] of a pixel that has joined: its parent's position, or at a root
    minus the area of its component. overlap[p]: at a root the component's overlap with the truth.
    Joining stands in here and not in a function of its own: handing it seven arrays a pixel took four times as long.
    """
    min_areas, thresholds = counts.shape[1], counts.shape[2]
    pixels_of_rank = _sort_by_rank(prob, truth, k, rank_of_value, rank, order)
    _find_joined(rank, prob.shape[0], prob.shape[1], joined)
    # Of the components whose area passes the first m minimum areas and no more. Those that pass all are left out, and
    # with them most of the work: what is kept is the rest of all that has joined.
    both_by_area_rank = np.zeros(min_areas + 1, np.int64)
    area_by_area_rank = np.zeros(min_areas + 1, np.int64)
    all_both = 0
    i = 0
    for value in range(thresholds, 0, -1):
        end = i + pixels_of_rank[value]
        while i < end:
            p = np.int64(order[uint64(i)] >> 1)  # joins, making one component of all it touches
            in_truth = np.int64(order[uint64(i)] & 1)
            all_both += in_truth
            i += 1
            neighbours = joined[uint64(p)]
            if neighbours == 0:
                parent[uint64(p)] = -1
                overlap[uint64(p)] = in_truth
                both_by_area_rank[rank_of_area[1]] += in_truth
                area_by_area_rank[rank_of_area[1]] += 1
                continue
            root = _root(parent, p + arc_steps[uint64(neighbours), 0])
            area = -np.int64(parent[uint64(root)])
            both = np.int64(overlap[uint64(root)])
            m = rank_of_area[uint64(area)]
            if arc_steps[neighbours, 1] == 0 and rank_of_area[uint64(area + 1)] == m:  # nearly always
                if m < min_areas:
                    both_by_area_rank[uint64(m)] += in_truth
                    area_by_area_rank[uint64(m)] += 1
                parent[uint64(p)] = root
                parent[uint64(root)] = -(area + 1)
                overlap[uint64(root)] = both + in_truth
                continue
            root_area = area
            both_by_area_rank[uint64(m)] -= both
            area_by_area_rank[uint64(m)] -= area
            for arc in range(1, MOST_ARCS):
                step = arc_steps[neighbours, arc]
                if step == 0:
                    break
                other = _root(parent, p + step)
                if other == root:
                    continue
                other_area = -np.int64(parent[uint64(other)])
                m = rank_of_area[uint64(other_area)]
                both_by_area_rank[uint64(m)] -= overlap[uint64(other)]
                area_by_area_rank[uint64(m)] -= other_area
                both += overlap[uint64(other)]
                area += other_area
                if other_area > root_area:  # the greatest component stays the root, so that paths stay short
                    parent[uint64(root)] = other
                    root = other
                    root_area = other_area
                else:
                    parent[uint64(other)] = root
            area += 1
            both += in_truth
            parent[uint64(p)] = root
            parent[uint64(root)] = -area
            overlap[uint64(root)] = both
            m = rank_of_area[uint64(area)]
            both_by_area_rank[uint64(m)] += both
            area_by_area_rank[uint64(m)] += area
        both = all_both
        area = i
        for m in range(min_areas):
            both -= both_by_area_rank[m]
            area -= area_by_area_rank[m]
            counts[0, m, value - 1] = both
            counts[1, m, value - 1] = area


@compiled
def _sort_by_rank(prob, truth, k, rank_of_value, rank, order):  # type: ignore[no-untyped-def]
    """Counting sort of the positions by descending rank, in reading order within a rank; rank 0 is left out.

    The rank of a pixel is how many thresholds it exceeds. Fills rank and order: twice the position, plus 1 where true.
    Returns how many pixels each rank has.
    """
    height, width = prob.shape[0], prob.shape[1]
    pixels_of_rank = np.zeros(256, np.int64)
    for r in range(height):
        start = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = rank_of_value[prob[r, c, k]]
            rank[uint64(start + c)] = value
            pixels_of_rank[value] += 1
    slot = np.zeros(256, np.int64)
    for value in range(254, 0, -1):
        slot[value] = slot[value + 1] + pixels_of_rank[value + 1]
    for r in range(height):
        start = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = rank[uint64(start + c)]
            if value:
                order[uint64(slot[value])] = (start + c) << 1 | truth[r, c, k]
                slot[value] += 1
    return pixels_of_rank


@compiled
def _find_joined(rank, height, width, joined):  # type: ignore[no-untyped-def]
    """Which neighbours of a pixel have joined when its turn comes, a bit each as in RING.

    Those of a higher rank have, and of the same rank those which come before it in reading order: NW, N, NE, W. Taken a
    row at a time, so that the processor compares many pixels at once.
    """
    step = width + 2
    for r in range(height):
        start = (r + 1) * step + 1
        own, bits = rank[start : start + width], joined[start : start + width]
        above, below = (
            rank[start - step - 1 : start - step + width + 1],
            rank[start + step - 1 : start + step + width + 1],
        )
        beside = rank[start - 1 : start + width + 1]
        for c in range(width):
            i = uint64(c)
            value = own[i]
            bits[i] = (
                uint8(above[i] >= value)
                | uint8(above[i + uint64(1)] >= value) << uint8(1)
                | uint8(above[i + uint64(2)] >= value) << uint8(2)
                | uint8(beside[i + uint64(2)] > value) << uint8(3)
                | uint8(below[i + uint64(2)] > value) << uint8(4)
                | uint8(below[i + uint64(1)] > value) << uint8(5)
                | uint8(below[i] > value) << uint8(6)
                | uint8(beside[i] >= value) << uint8(7)
            )


@compiled
def _root(parent, p):  # type: ignore[no-untyped-def]
    """The root of p's component; on the way every second pixel is hung one higher, which shortens later walks."""
    while True:
        above = np.int64(parent[uint64(p)])
        if above < 0:
            return p
        higher = np.int64(parent[uint64(above)])
        if higher < 0:
            return above
        parent[uint64(p)] = higher
        p = higher
