"""The best that any gate threshold makes of every setting: sums over rows sorted by the gate, at every cut at once.

Rows come in the order in which the gate lets them go: the first rows keep their masks, from the cut on all are emptied.
Of each setting only a running sum and the best so far are kept, so that memory does not grow with the cuts.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from skyfold.compiled import compiled


def shares(counts: np.ndarray, truth: np.ndarray, *, iou: bool) -> np.ndarray:
    """Dice (or intersection over union) of each map, float64 (n, T); 1.0 where mask and truth are both empty.

    counts: int32 (n, 2, T), pixels of the mask that the truth has too, and all of the mask; truth: (n,) pixels.
    """
    share = np.empty((len(counts), counts.shape[2]))
    _shares(np.ascontiguousarray(counts), np.ascontiguousarray(truth, dtype=np.int64), iou, share)
    return share


def best_sums(share: np.ndarray, empty: np.ndarray, kept: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The greatest sum of shares at any of the cuts, float64 (P, T).

    share: float64 (n, T); empty: bool (n,), what an emptied map gets as a number; kept: bool (n, P), the maps that the
    rule itself leaves as they are at each top level; cuts: (C,) ascending, how many first rows keep their masks.
    With P > 1, top levels below the level are not looked at: -inf.
    """
    best = np.full((kept.shape[1], share.shape[1]), -np.inf)
    _best_sums(share, np.asarray(empty, dtype=np.float64), np.asfortranarray(kept), _flags(cuts, len(share)), best)
    return best + float(empty.sum())


def best_ratios(counts: np.ndarray, truth: np.ndarray, kept: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The greatest Dice of all pixels taken together, float64 (P, T); where it is greatest, so is the IoU.

    counts: int32 (n, 2, T); truth: (n,); kept, cuts: as for `best_sums`. 1.0 where mask and truth are all empty.
    """
    best = np.full((kept.shape[1], counts.shape[2]), -np.inf)
    flags = _flags(cuts, len(counts))
    _best_ratios(np.ascontiguousarray(counts), int(truth.sum()), np.asfortranarray(kept), flags, best)
    return best


def sums_of_first(share: np.ndarray, empty: np.ndarray, kept: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The sum of shares where setting (p, t) keeps the first stop[p, t] rows and empties the others, float64 (P, T)."""
    sums = np.zeros((kept.shape[1], share.shape[1]))
    _sums_of_first(share, np.asarray(empty, dtype=np.float64), np.asfortranarray(kept), np.asarray(stop), sums)
    return sums + float(empty.sum())


def _flags(cuts: np.ndarray, count: int) -> np.ndarray:
    flags = np.zeros(count + 1, dtype=np.bool_)
    flags[cuts] = True
    return flags


@compiled
def _shares(counts, truth, iou, share):  # type: ignore[no-untyped-def]
    for i in range(counts.shape[0]):
        for t in range(counts.shape[2]):
            both = counts[i, 0, t]
            total = np.int64(counts[i, 1, t]) + truth[i]
            if total == 0:
                share[i, t] = 1.0
            elif iou:
                share[i, t] = both / (total - both)
            else:
                share[i, t] = 2.0 * both / total


@compiled
def _best_sums(share, empty, kept, is_cut, best):  # type: ignore[no-untyped-def]
    """As `best_sums`, less the sum of `empty`; best: (P, T), -inf before."""
    rows, levels = share.shape
    top_thresholds = kept.shape[1]
    running = np.empty(levels)
    for top in range(top_thresholds):
        reach = levels if top_thresholds == 1 else top + 1
        running[:] = 0.0
        if is_cut[0]:
            best[top, :reach] = 0.0
        for i in range(rows):
            if kept[i, top]:
                for t in range(reach):
                    running[uint64(t)] += share[i, uint64(t)] - empty[i]
            if is_cut[i + 1]:
                for t in range(reach):
                    best[top, uint64(t)] = max(best[top, uint64(t)], running[uint64(t)])


@compiled
def _best_ratios(counts, truth, kept, is_cut, best):  # type: ignore[no-untyped-def]
    rows, levels = counts.shape[0], counts.shape[2]
    top_thresholds = kept.shape[1]
    both = np.empty(levels, np.int64)
    pred = np.empty(levels, np.int64)
    for top in range(top_thresholds):
        reach = levels if top_thresholds == 1 else top + 1
        both[:] = 0
        pred[:] = 0
        for cut in range(rows + 1):
            if cut and kept[cut - 1, top]:
                for t in range(reach):
                    both[uint64(t)] += counts[cut - 1, 0, uint64(t)]
                    pred[uint64(t)] += counts[cut - 1, 1, uint64(t)]
            if is_cut[cut]:
                for t in range(reach):
                    total = pred[uint64(t)] + truth
                    ratio = 2.0 * both[uint64(t)] / total if total else 1.0
                    best[top, uint64(t)] = max(best[top, uint64(t)], ratio)


@compiled
def _sums_of_first(share, empty, kept, stop, sums):  # type: ignore[no-untyped-def]
    """As `sums_of_first`, less the sum of `empty`; sums: (P, T), zeros before."""
    rows, levels = share.shape
    top_thresholds = kept.shape[1]
    for top in range(top_thresholds):
        reach = levels if top_thresholds == 1 else top + 1
        for i in range(rows):
            if kept[i, top]:
                for t in range(reach):
                    if i < stop[top, t]:
                        sums[top, uint64(t)] += share[i, uint64(t)] - empty[i]
        sums[top, reach:] = -np.inf
