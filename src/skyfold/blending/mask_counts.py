"""Exact pixel counts of masks: weighted means above a threshold, for many members and thresholds at once.

Blend weights are whole parts, at most `MAX_PARTS` of them. A pixel's weighted sum of stored bytes then fits into 16
bits, and the count equals that of the blend as it is stored, rounding included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.blending.uncertain_pixels import UncertainPixels
from skyfold.compiled import compiled, in_threads

BLOCK = 4096  # pixels whose sums stay in the nearest cache; fewer than 65,536, since they are counted in 16 bits
MIN_WORK = 1 << 25  # sums compared; fewer take about a millisecond, and threads would not pay


def cuts_of(thresholds: np.ndarray, total: int) -> np.ndarray:
    """Greatest sum of `total` parts that is not in the mask of each threshold, int64 (T,).

    The mean is stored rounded to the nearest whole number, halves to the even one, and the mask is what is stored above
    the threshold: twice the sum must be above total * (2 * threshold + 1), or equal to it where the threshold is odd.

    >>> cuts_of(np.array([127, 128]), 2).tolist()
    [254, 257]
    """
    thresholds = np.asarray(thresholds, dtype=np.int64)
    return np.asarray((total * (2 * thresholds + 1) - thresholds % 2) // 2)


def count_masks(
    pixels: UncertainPixels, sums: Sequence[np.ndarray], members: slice, cuts: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels in the predicted mask and the ground truth, and in the predicted mask, after one more part.

    sums: uint16 (p,) for each map, of its uncertain pixels; members: the C members of which each in turn gets the part;
    cuts: (T,), see `cuts_of`; rows: int (n,), which of the maps. Returns two int32 (n, C, T), counts of whole maps.
    """
    candidates = len(range(*members.indices(len(pixels.values[0]))))
    both, pred = np.zeros((2, len(rows), candidates, len(cuts)), dtype=np.int32)

    def count(part: range) -> None:
        for place in part:
            i = rows[place]
            _count(pixels.values[i][members], pixels.truth[i], sums[i], cuts, both[place], pred[place])

    in_threads(count, len(rows), None if pixels.count * candidates * len(cuts) > MIN_WORK else 1)
    both += pixels.sure_both[rows, None, None].astype(np.int32)
    pred += pixels.sure_pred[rows, None, None].astype(np.int32)
    return both, pred


@compiled
def _count(values, truth, sums, cuts, both, pred):  # type: ignore[no-untyped-def]
    """Add to both, pred (C, T), block by block, so that a block is read from memory once for all members and cuts."""
    for begin in range(0, len(sums), BLOCK):
        end = min(begin + BLOCK, len(sums))
        for c in range(len(values)):
            for t in range(len(cuts)):
                counted = _count_above(sums[begin:end], values[c, begin:end], truth[begin:end], np.uint16(cuts[t]))
                both[c, t] += counted[0]
                pred[c, t] += counted[1]


@compiled
def _count_above(sums, added, truth, cut):  # type: ignore[no-untyped-def]
    """Counters as narrow as the sums let the processor compare many of them at once."""
    both, pred = np.uint16(0), np.uint16(0)
    for j in range(len(sums)):
        above = np.uint16(np.uint16(sums[j] + np.uint16(added[j])) > cut)
        pred = np.uint16(pred + above)
        both = np.uint16(both + np.uint16(above & np.uint16(truth[j])))
    return np.int32(both), np.int32(pred)
