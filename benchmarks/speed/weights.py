"""25 greedy steps to the blend weights of ten models, on exact mean Dice, against NumPy.

Screening the maps is timed too. The peers do the same search, step by step, and find the same weights: one over whole
maps, one over the pixels that weights can change, picked with NumPy (which is timed too). Both work image by image, so
that their data stays in the cache, add in 16 bits without casting, write into preallocated buffers, and count with
`count_nonzero`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from timing import Line, Work, growth, ratios

from skyfold.blending.mask_counts import cuts_of
from skyfold.blending.search import greedy
from skyfold.blending.uncertain_pixels import screen
from skyfold.metrics.segmentation import MeanDice
from speed.maps import probabilities, truth_masks

MODELS, STEPS = 10, 25
HALF = np.array([127])
THRESHOLDS = np.linspace(51, 204, 15).round().astype(np.int64)


def lines(*, quick: bool) -> list[Line]:
    count, steps, rounds = (2, 3, 1) if quick else (24, STEPS, 5)
    arrays, truth = _ensemble(count)
    for thresholds in (HALF, THRESHOLDS):
        same = {
            ours(arrays, truth, thresholds, steps),
            *(peer(arrays, truth, thresholds, steps) for peer in (whole, picked)),
        }
        assert len(same) == 1, same
    path = f"{steps} greedy weight steps, {MODELS} models, {count} maps"
    found = ratios(
        f"{path}, one threshold",
        Work(lambda: ours(arrays, truth, HALF, steps)),
        {
            "NumPy, whole maps": (Work(lambda: whole(arrays, truth, HALF, steps)), None),
            "NumPy, picked pixels": (Work(lambda: picked(arrays, truth, HALF, steps)), 5.0),
        },
        rounds=rounds,
    )
    found += ratios(
        f"{path}, {len(THRESHOLDS)} thresholds",
        Work(lambda: ours(arrays, truth, THRESHOLDS, steps)),
        {"NumPy, picked pixels": (Work(lambda: picked(arrays, truth, THRESHOLDS, steps)), 5.0)},
        rounds=1 if quick else 2,
    )

    def of_size(size: int) -> Work:
        more, its_truth = _ensemble(size * (1 if quick else 8))
        return Work(lambda: ours(more, its_truth, HALF, steps))

    return [*found, *growth(f"{steps} greedy weight steps, {MODELS} models", of_size, rounds=1 if quick else 3)]


def ours(arrays: list[np.ndarray], truth: np.ndarray, thresholds: np.ndarray, steps: int) -> tuple[int, ...]:
    maps = screen(arrays, truth, rows=np.arange(len(truth)), thresholds=thresholds)
    return greedy(maps, MeanDice(), np.ones(len(truth), dtype=bool), steps).parts


def whole(arrays: list[np.ndarray], truth: np.ndarray, thresholds: np.ndarray, steps: int) -> tuple[int, ...]:
    """The search over all pixels. Returns how often each model was taken at the best step."""
    values = [np.stack([array[i].reshape(-1) for array in arrays]).astype(np.uint16) for i in range(len(truth))]
    masks = [truth[i].reshape(-1) for i in range(len(truth))]
    nothing = np.zeros((len(truth), 3), dtype=np.int64)
    nothing[:, 2] = [np.count_nonzero(mask) for mask in masks]
    return _search(values, masks, nothing, thresholds, steps)


def picked(arrays: list[np.ndarray], truth: np.ndarray, thresholds: np.ndarray, steps: int) -> tuple[int, ...]:
    """The search over the pixels that are not the same under all weights."""
    values, masks, sure = [], [], np.zeros((len(truth), 3), dtype=np.int64)
    for i in range(len(truth)):
        stacked, mask = np.stack([array[i].reshape(-1) for array in arrays]), truth[i].reshape(-1)
        always, ever = stacked.min(axis=0) > thresholds[-1], stacked.max(axis=0) > thresholds[0]
        uncertain = np.flatnonzero(ever & ~always)
        values.append(stacked[:, uncertain].astype(np.uint16))
        masks.append(mask[uncertain])
        sure[i] = np.count_nonzero(always), np.count_nonzero(always & mask), np.count_nonzero(mask)
    return _search(values, masks, sure, thresholds, steps)


def _search(
    values: list[np.ndarray], masks: list[np.ndarray], sure: np.ndarray, thresholds: np.ndarray, steps: int
) -> tuple[int, ...]:
    """values: uint16 (M, pixels) an image; sure: (n, 3) pixels always in the mask, those in the truth, truth."""
    models, longest = len(values[0]), max(value.shape[1] for value in values)
    sums = [np.zeros(value.shape[1], dtype=np.uint16) for value in values]
    moved, above, common = np.empty(longest, np.uint16), np.empty(longest, bool), np.empty(longest, bool)
    parts, best = np.zeros(models, dtype=np.int64), (-1.0, np.zeros(models, dtype=np.int64))
    dice = np.empty((len(values), models, len(thresholds)))
    for step in range(1, steps + 1):
        cuts = cuts_of(thresholds, step).astype(np.uint16)
        for i, (own, mask, total) in enumerate(zip(values, masks, sums, strict=True)):
            pixels = len(total)
            for m in range(models):
                np.add(total, own[m], out=moved[:pixels])
                for t, cut in enumerate(cuts):
                    np.greater(moved[:pixels], cut, out=above[:pixels])
                    np.logical_and(above[:pixels], mask, out=common[:pixels])
                    pred = np.count_nonzero(above[:pixels]) + sure[i, 0]
                    both = np.count_nonzero(common[:pixels]) + sure[i, 1]
                    whole_ = pred + sure[i, 2]
                    dice[i, m, t] = 2.0 * both / whole_ if whole_ else 1.0
        scores = dice.mean(axis=0).max(axis=1)
        taken = int(np.argmax(scores >= scores.max() - 1e-12))
        parts[taken] += 1
        for total, own in zip(sums, values, strict=True):
            total += own[taken]
        if scores[taken] > best[0] + 1e-12:
            best = (float(scores[taken]), parts.copy())
    return tuple(best[1].tolist())


@cache
def _ensemble(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Ten models of made-up clouds, uint8 (count, 350, 525, 1), and the truth.

    Networks of one data set err alike: their logits correlate by 0.95 (measured between a U-Net and an FPN), which
    nine parts of one common answer and three of one of their own come near to.
    """
    truth = truth_masks(count, seed=0)
    common = _logits(probabilities(truth, seed=1))
    arrays = []
    for m in range(MODELS):
        logits = 0.9 * common + 0.3 * _logits(probabilities(truth, seed=2 + m))
        arrays.append(np.rint(255.0 / (1.0 + np.exp(-logits))).astype(np.uint8))
    return arrays, truth


def _logits(stored: np.ndarray) -> np.ndarray:
    prob = np.clip(stored.astype(np.float32), 0.25, 254.75) / 255
    return np.log(prob / (1 - prob))
