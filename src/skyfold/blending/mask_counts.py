"""Exact pixel counts of masks: weighted means above a threshold, for many weights and thresholds at once.

Blend weights are whole parts, at most `MAX_PARTS` of them. A pixel's weighted sum of stored bytes then fits into 16
bits, and the count equals that of the blend as it is stored, rounding included.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skyfold.blending.byte_sums import add_bytes
from skyfold.blending.uncertain_pixels import UncertainPixels
from skyfold.compiled import compiled

NOBODY = -1  # source of a move that adds parts instead of exchanging them
BLOCK = 4096  # pixels whose sums stay in the nearest cache; fewer than 65,536, since they are counted in 16 bits
MIN_WORK = 1 << 25  # sums compared; fewer take about a millisecond, and threads would not pay


def weighted_sums(pixels: UncertainPixels, parts: np.ndarray) -> np.ndarray:
    """Sum of parts[m] * value of member m for every uncertain pixel, uint16 (P,)."""
    sums = np.zeros(pixels.start[-1], dtype=np.uint16)
    for member in np.flatnonzero(parts):
        add_parts(pixels, sums, int(member), int(parts[member]))
    return sums


def add_parts(pixels: UncertainPixels, sums: np.ndarray, member: int, parts: int) -> None:
    """Give `member` more parts in `sums`, or fewer where `parts` is negative; `sums` is changed in place."""
    add_bytes(sums, pixels.values[member][: len(sums)], np.uint16(parts % 65536))


def cuts_of(thresholds: np.ndarray, total: int) -> np.ndarray:
    """Greatest sum of `total` parts that is not in the mask of each threshold, int64 (T,).

    The mean is stored rounded to the nearest whole number, halves to the even one, and the mask is what is stored above
    the threshold: twice the sum must be above total * (2 * threshold + 1), or equal to it where the threshold is odd.

    >>> cuts_of(np.array([127, 128]), 2).tolist()
    [254, 257]
    """
    thresholds = np.asarray(thresholds, dtype=np.int64)
    cuts: np.ndarray = (total * (2 * thresholds + 1) - thresholds % 2) // 2
    return cuts


def count_masks(
    pixels: UncertainPixels, sums: np.ndarray, moves: np.ndarray, cuts: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels in the predicted mask and the ground truth, and in the predicted mask, after each move.

    moves: int64 (C, 3), each (to, source, parts): parts that member `to` gets from member `source`, or from `NOBODY`.
    cuts: (T,), see `cuts_of`; rows: (n,). Returns two int32 (n, C, T), counts of the whole maps.
    """
    both, pred = np.zeros((2, len(rows), len(moves), len(cuts)), dtype=np.int32)

    def count(part: slice) -> None:
        _count_rows(pixels.values, pixels.truth, pixels.start, sums, moves, cuts, rows[part], both[part], pred[part])

    threads = (os.cpu_count() or 1) if len(sums) * len(moves) * len(cuts) > MIN_WORK else 1
    if threads == 1:
        count(slice(None))
    else:
        size = -(-len(rows) // threads)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, (slice(first, first + size) for first in range(0, len(rows), size))))
    both += pixels.sure_both[rows, None, None].astype(np.int32)
    pred += pixels.sure_pred[rows, None, None].astype(np.int32)
    return both, pred


@compiled
def _count_rows(values, truth, start, sums, moves, cuts, rows, both, pred):  # type: ignore[no-untyped-def]
    """Add to both, pred (n, C, T), block by block, so that a block is read from memory once for all moves and cuts."""
    buffer, zeros = np.empty(BLOCK, dtype=np.uint16), np.zeros(BLOCK, dtype=np.uint8)
    for position in range(len(rows)):
        i = rows[position]
        for begin in range(start[i], start[i + 1], BLOCK):
            end = min(begin + BLOCK, start[i + 1])
            moved = buffer[: end - begin]
            for c in range(len(moves)):
                to, source, parts = moves[c]
                losing = zeros[: end - begin] if source == NOBODY else values[source][begin:end]
                _exchange(sums[begin:end], values[to][begin:end], losing, np.uint16(parts), moved)
                for t in range(len(cuts)):
                    counted = _count_above(moved, truth[begin:end], np.uint16(cuts[t]))
                    both[position, c, t] += counted[0]
                    pred[position, c, t] += counted[1]


@compiled
def _exchange(sums, gaining, losing, parts, moved):  # type: ignore[no-untyped-def]
    for j in range(len(moved)):
        change = np.uint16(np.uint16(gaining[j]) - np.uint16(losing[j]))
        moved[j] = np.uint16(sums[j] + np.uint16(parts * change))


@compiled
def _count_above(sums, truth, cut):  # type: ignore[no-untyped-def]
    """Counters as narrow as the sums let the processor compare many of them at once."""
    both, pred = np.uint16(0), np.uint16(0)
    for j in range(len(sums)):
        above = np.uint16(sums[j] > cut)
        pred = np.uint16(pred + above)
        both = np.uint16(both + np.uint16(above & np.uint16(truth[j])))
    return np.int32(both), np.int32(pred)
