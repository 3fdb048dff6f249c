"""How many pixels every map keeps at each pair of level and minimum area of a component, exactly and in one sweep.

Lowering the threshold only ever adds pixels, so the components of all thresholds come from one run of union-find that
takes the pixels in descending order: a pixel joins the components it touches, and each component carries its area and
its overlap with the truth along. Beside that, running totals are kept for every class of area ("passes the first m
minimum areas"), so that after the last pixel of a threshold its whole row of minimum areas is read off at once.

Positions are cast to unsigned numbers wherever an array is read: else the compiler asks at each access whether they
count from the end. With that and the truth packed beside the position, the sweep takes half the time.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from skyfold.compiled import compiled
from skyfold.postprocess.map_arrays import check_lattice, check_maps, in_threads

MOST_MIN_AREAS = 255

# The eight neighbours as (row, column) steps, going round: NW, N, NE, E, SE, S, SW, W. In reading order NW, N, NE and W
# come before the pixel in the middle.
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
MOST_ARCS = 4


def component_counts(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
    workers: int | None = None,
) -> np.ndarray:
    """int32 (n, K, 2, M, T): pixels kept of the truth [..., 0, m, t], and in all [..., 1, m, t].

    Kept are the 8-connected components of prob > levels[t] that have min_areas[m] pixels or more.
    prob: uint8 (n, H, W, K), memory-mapped or strided as it may be; target: bool (n, H, W, K); valid: bool (n, H, W),
    undefined pixels belong to no component. levels: (T,) ascending in 0..254; min_areas: (M,) ascending, at most 255 of
    them, pixels >= 0. workers: threads, None: one a core.
    """
    check_maps(prob, target, valid)
    levels, min_areas = check_lattice(levels, 0, 254, "levels"), check_lattice(min_areas, 0, 2**31 - 1, "min_areas")
    if len(min_areas) > MOST_MIN_AREAS:
        raise ValueError(f"min_areas: at most {MOST_MIN_AREAS}, got {len(min_areas)}")
    count, height, width, classes = prob.shape
    rank_of_value = np.searchsorted(levels, np.arange(256)).astype(np.uint8)
    rank_of_area = np.searchsorted(min_areas, np.arange(height * width + 1), side="right").astype(np.uint8)
    arc_steps = _arc_steps(row_step=width + 2)
    everywhere = np.ones((height, width), dtype=np.bool_)
    counts = np.empty((count, classes, 2, len(min_areas), len(levels)), dtype=np.int32)

    def fill(rows: range) -> None:
        scratch = _scratch(height, width)
        for i in rows:
            values, truth = prob[i].copy(), target[i].copy()
            defined = everywhere if valid is None else valid[i].copy()
            for k in range(classes):
                _sweep(values, truth, defined, k, rank_of_value, rank_of_area, arc_steps, *scratch, counts[i, k])

    in_threads(fill, count, workers)
    return counts


def _arc_steps(row_step: int) -> np.ndarray:
    """For each set of neighbours (a bit each, as in RING) the step to one of each arc that hangs together.

    Neighbours that touch each other are in one component already, so one `_root` for each arc is enough. At most four
    arcs fit in the ring, at its four corners. Returns int32 (256, 4), steps in the bordered image, 0: no more arcs.
    """
    steps = np.zeros((256, MOST_ARCS), dtype=np.int32)
    for bits in range(256):
        remaining = {i for i in range(8) if bits >> i & 1}
        for arc in range(MOST_ARCS):
            if not remaining:
                break
            reached = {min(remaining)}
            rows, columns = RING[min(remaining)]
            steps[bits, arc] = rows * row_step + columns
            while touching := {i for i in remaining - reached if any(_touch(RING[i], RING[j]) for j in reached)}:
                reached |= touching
            remaining -= reached
    return steps


def _touch(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 1


def _scratch(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Working memory of one sweep: rank, parent and overlap on the image with a border of one pixel, and the order.

    The border keeps rank 0 for ever, so that no pixel needs to ask whether it lies at the edge.
    """
    bordered = (height + 2) * (width + 2)
    rank = np.zeros(bordered, dtype=np.uint8)
    return rank, np.zeros(bordered, np.int32), np.zeros(bordered, np.int32), np.empty(height * width, np.int32)


@compiled
def _sweep(  # type: ignore[no-untyped-def]
    prob, truth, defined, k, rank_of_value, rank_of_area, arc_steps, rank, parent, overlap, order, counts
):
    """Fill counts (2, M, T) of class k; prob, truth: (H, W, K); the others as `component_counts` makes them.

    parent[p] of a pixel that has joined: its parent's position, or at a root minus the area of its component.
    overlap[p]: at a root the component's overlap with the truth.
    Joining stands in here and not in a function of its own: handing it seven arrays a pixel took four times as long.
    """
    min_areas, levels = counts.shape[1], counts.shape[2]
    row_step = prob.shape[1] + 2
    pixels_of_rank = _sort_by_rank(prob, truth, defined, k, rank_of_value, rank, order)
    both_by_area_rank = np.zeros(min_areas + 1, np.int64)  # of the components whose area passes the first m areas
    area_by_area_rank = np.zeros(min_areas + 1, np.int64)
    i = 0
    for level in range(levels, 0, -1):
        end = i + pixels_of_rank[level]
        while i < end:
            p = np.int64(order[uint64(i)] >> 1)  # joins, making one component of all it touches
            in_truth = np.int64(order[uint64(i)] & 1)
            i += 1
            neighbours = _joined_neighbours(rank, p, level, row_step)
            if neighbours == 0:
                parent[uint64(p)] = -1
                overlap[uint64(p)] = in_truth
                both_by_area_rank[rank_of_area[1]] += in_truth
                area_by_area_rank[rank_of_area[1]] += 1
                continue
            root = _root(parent, p + arc_steps[neighbours, 0])
            area = -np.int64(parent[uint64(root)])
            both = np.int64(overlap[uint64(root)])
            m = rank_of_area[uint64(area)]
            if arc_steps[neighbours, 1] == 0 and rank_of_area[uint64(area + 1)] == m:  # nearly always
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
        both = 0
        area = 0
        for m in range(min_areas - 1, -1, -1):
            both += both_by_area_rank[m + 1]
            area += area_by_area_rank[m + 1]
            counts[0, m, level - 1] = both
            counts[1, m, level - 1] = area


@compiled
def _sort_by_rank(prob, truth, defined, k, rank_of_value, rank, order):  # type: ignore[no-untyped-def]
    """Counting sort of the positions by descending rank, in reading order within a rank; rank 0 is left out.

    The rank of a pixel is how many levels it exceeds. Fills rank and order: twice the position, plus 1 in the truth.
    Returns how many pixels each rank has.
    """
    height, width = prob.shape[0], prob.shape[1]
    pixels_of_rank = np.zeros(256, np.int64)
    for r in range(height):
        start = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = rank_of_value[prob[r, c, k]] if defined[r, c] else np.uint8(0)
            rank[uint64(start + c)] = value
            pixels_of_rank[value] += 1
    slot = np.zeros(256, np.int64)
    for level in range(254, 0, -1):
        slot[level] = slot[level + 1] + pixels_of_rank[level + 1]
    for r in range(height):
        start = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = rank[uint64(start + c)]
            if value:
                order[uint64(slot[value])] = (start + c) << 1 | truth[r, c, k]
                slot[value] += 1
    return pixels_of_rank


@compiled
def _joined_neighbours(rank, p, level, row_step):  # type: ignore[no-untyped-def]
    """Which neighbours of p have joined, a bit each as in RING.

    Those of a higher rank have, and of the same rank those which come before p in reading order: NW, N, NE, W.
    """
    return (
        (rank[uint64(p - row_step - 1)] >= level)
        | (rank[uint64(p - row_step)] >= level) << 1
        | (rank[uint64(p - row_step + 1)] >= level) << 2
        | (rank[uint64(p + 1)] > level) << 3
        | (rank[uint64(p + row_step + 1)] > level) << 4
        | (rank[uint64(p + row_step)] > level) << 5
        | (rank[uint64(p + row_step - 1)] > level) << 6
        | (rank[uint64(p - 1)] >= level) << 7
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
