"""What Dice every map would get at each pair of threshold and minimum area, exactly and in one sweep a map.

Lowering the threshold only ever adds pixels, so the components of all thresholds come from one run of union-find that
takes the pixels in descending order: a pixel joins the components it touches, and each component carries its area and
its overlap with the truth along. Beside that, running totals are kept for every class of area ("passes the first m
minimum areas"), so that after the last pixel of a threshold its whole row of minimum areas is read off at once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from skyfold.compiled import compiled

Area = Literal["component", "total"]

# The eight neighbours as (row, column) steps, going round: NW, N, NE, E, SE, S, SW, W. In reading order NW, N, NE and W
# come before the pixel in the middle.
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
MOST_ARCS = 4


def dice_surface(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
    area: Area = "component",
    workers: int | None = None,
) -> np.ndarray:
    """Dice of every map at every level and minimum area; 1.0 where mask and truth are both empty.

    prob: uint8 (n, H, W, K), memory-mapped or strided as it may be; target: bool (n, H, W, K); valid: bool (n, H, W),
    undefined pixels belong to no mask and no component. levels: (T,) ascending in 0..254, mask = prob > level;
    min_areas: (M,) ascending pixels >= 0. area "component": 8-connected components of fewer pixels are dropped;
    "total": a mask of fewer pixels is emptied. workers: threads, None: one a core.
    Returns float32 (n, K, T, M).
    """
    levels, min_areas = _lattice(levels, 0, 254, "levels"), _lattice(min_areas, 0, 2**31 - 1, "min_areas")
    _check_maps(prob, target, valid)
    count, height, width, classes = prob.shape
    level_rank = np.searchsorted(levels, np.arange(256)).astype(np.uint8)
    area_rank = np.searchsorted(min_areas, np.arange(height * width + 1), side="right").astype(np.int32)
    arc_steps = _arc_steps(row_step=width + 2)
    surface = np.empty((count, classes, len(levels), len(min_areas)), dtype=np.float32)

    def fill(rows: np.ndarray) -> None:
        scratch = _scratch(height, width)
        kept = np.empty((2, len(levels), len(min_areas)), dtype=np.int64)
        for i in rows:
            ranks, truth = level_rank[prob[i]], np.ascontiguousarray(target[i]).view(np.uint8)
            if valid is not None:
                ranks, truth = ranks * valid[i][..., None], truth * valid[i][..., None]
            for k in range(classes):
                if area == "component":
                    total = _sweep_components(ranks, truth, k, area_rank, arc_steps, *scratch, kept)
                else:
                    total = _sweep_totals(ranks, truth, k, area_rank, kept)
                surface[i, k] = _dice(kept[0], kept[1], total)

    threads = min(workers or os.cpu_count() or 1, max(count, 1))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, np.array_split(np.arange(count), threads)))
    return surface


def truth_empty(target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Where the truth has no pixel: bool (n, K), as a number the Dice that an emptied map gets. Shapes as above."""
    empty = np.empty((len(target), target.shape[-1]), dtype=np.bool_)
    for i in range(len(target)):
        truth = target[i] if valid is None else target[i] & valid[i][..., None]
        empty[i] = ~truth.any(axis=(0, 1))
    return empty


def _lattice(values: np.ndarray, lowest: int, highest: int, name: str) -> np.ndarray:
    lattice = np.asarray(values)
    ascending = lattice.ndim == 1 and len(lattice) > 0 and lattice.dtype.kind in "iu" and (np.diff(lattice) > 0).all()
    if not ascending or lattice[0] < lowest or lattice[-1] > highest:
        raise ValueError(f"{name}: expected ascending whole numbers in {lowest}..{highest}, got {values!r}")
    return lattice.astype(np.int64)


def _check_maps(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None) -> None:
    if prob.dtype != np.uint8 or target.dtype != np.bool_ or prob.ndim != 4 or prob.shape != target.shape:
        raise ValueError(
            f"expected prob uint8 and target bool of one shape (n, H, W, K); got {prob.dtype} {prob.shape} and "
            f"{target.dtype} {target.shape}"
        )
    if valid is not None and (valid.dtype != np.bool_ or valid.shape != prob.shape[:3]):
        raise ValueError(f"expected valid bool {prob.shape[:3]}, got {valid.dtype} {valid.shape}")


def _dice(both: np.ndarray, pred: np.ndarray, target: int) -> np.ndarray:
    total = pred + target
    return np.where(total == 0, 1.0, 2.0 * both / np.maximum(total, 1)).astype(np.float32)


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
def _sweep_components(  # type: ignore[no-untyped-def]
    ranks, truth, k, area_rank, arc_steps, rank, parent, overlap, order, kept
):
    """Fill kept[0] (overlap with the truth) and kept[1] (area) at every level x minimum area, for class k.

    ranks: uint8 (H, W, K), how many levels a pixel exceeds; truth: uint8 (H, W, K). Returns the area of the truth.
    parent[p] of a pixel that has joined: its parent's position, or at a root minus the area of its component.
    overlap[p]: at a root the component's overlap with the truth.
    Joining stands in here and not in a function of its own: handing it seven arrays a pixel took four times as long.
    """
    levels, min_areas = kept.shape[1], kept.shape[2]
    row_step = ranks.shape[1] + 2
    pixels_of_rank, target = _sort_by_rank(ranks, truth, k, rank, overlap, order)
    both_by_area_rank = np.zeros(min_areas + 1, np.int64)  # of the components whose area passes the first m areas
    area_by_area_rank = np.zeros(min_areas + 1, np.int64)
    i = 0
    for level in range(levels, 0, -1):
        end = i + pixels_of_rank[level]
        while i < end:
            p = order[i]  # joins, making one component of all it touches
            i += 1
            both = np.int64(overlap[p])
            area = 1
            root = p
            root_area = 0
            neighbours = _joined_neighbours(rank, p, level, row_step)
            for arc in range(MOST_ARCS):
                step = arc_steps[neighbours, arc]
                if step == 0:
                    break
                other = _root(parent, p + step)
                if other == root:
                    continue
                other_area = -parent[other]
                m = area_rank[other_area]
                both_by_area_rank[m] -= overlap[other]
                area_by_area_rank[m] -= other_area
                both += overlap[other]
                area += other_area
                if other_area > root_area:  # the greatest component stays the root, so that paths stay short
                    parent[root] = other
                    root = other
                    root_area = other_area
                else:
                    parent[other] = root
            parent[p] = root
            parent[root] = -area
            overlap[root] = both
            m = area_rank[area]
            both_by_area_rank[m] += both
            area_by_area_rank[m] += area
        both = 0
        area = 0
        for m in range(min_areas - 1, -1, -1):
            both += both_by_area_rank[m + 1]
            area += area_by_area_rank[m + 1]
            kept[0, level - 1, m] = both
            kept[1, level - 1, m] = area
    return target


@compiled
def _sort_by_rank(ranks, truth, k, rank, overlap, order):  # type: ignore[no-untyped-def]
    """Counting sort of the positions by descending rank, in reading order within a rank; rank 0 is left out."""
    height, width = ranks.shape[0], ranks.shape[1]
    pixels_of_rank = np.zeros(256, np.int64)
    target = 0
    for r in range(height):
        p = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = ranks[r, c, k]
            rank[p + c] = value
            overlap[p + c] = truth[r, c, k]
            pixels_of_rank[value] += 1
            target += truth[r, c, k]
    slot = np.zeros(256, np.int64)
    for level in range(254, 0, -1):
        slot[level] = slot[level + 1] + pixels_of_rank[level + 1]
    for r in range(height):
        p = (r + 1) * (width + 2) + 1
        for c in range(width):
            value = rank[p + c]
            if value:
                order[slot[value]] = p + c
                slot[value] += 1
    return pixels_of_rank, target


@compiled
def _joined_neighbours(rank, p, level, row_step):  # type: ignore[no-untyped-def]
    """Which neighbours of p have joined, a bit each as in RING.

    Those of a higher rank have, and of the same rank those which come before p in reading order: NW, N, NE, W.
    """
    return (
        (rank[p - row_step - 1] >= level)
        | (rank[p - row_step] >= level) << 1
        | (rank[p - row_step + 1] >= level) << 2
        | (rank[p + 1] > level) << 3
        | (rank[p + row_step + 1] > level) << 4
        | (rank[p + row_step] > level) << 5
        | (rank[p + row_step - 1] > level) << 6
        | (rank[p - 1] >= level) << 7
    )


@compiled
def _root(parent, p):  # type: ignore[no-untyped-def]
    """The root of p's component; on the way every second pixel is hung one higher, which shortens later walks."""
    while True:
        above = parent[p]
        if above < 0:
            return p
        higher = parent[above]
        if higher < 0:
            return above
        parent[p] = higher
        p = higher


@compiled
def _sweep_totals(ranks, truth, k, area_rank, kept):  # type: ignore[no-untyped-def]
    """As `_sweep_components`, but the mask as a whole has the area: the histogram of ranks says it all."""
    levels, min_areas = kept.shape[1], kept.shape[2]
    histogram = np.zeros((2, 256), np.int64)
    for r in range(ranks.shape[0]):
        for c in range(ranks.shape[1]):
            histogram[truth[r, c, k], ranks[r, c, k]] += 1
    both = 0
    area = 0
    for level in range(levels, 0, -1):
        both += histogram[1, level]
        area += histogram[0, level] + histogram[1, level]
        for m in range(min_areas):
            passes = area_rank[area] > m
            kept[0, level - 1, m] = both * passes
            kept[1, level - 1, m] = area * passes
    return histogram[1].sum()
