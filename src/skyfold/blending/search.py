"""Greedy search of blend weights on the score itself, jointly with one threshold per class.

Hard Dice and IoU are step functions without a gradient, so exact scores are compared: greedy ensemble selection with
replacement (Caruana et al. 2004, "Ensemble selection from libraries of models"). Blend weights are whole parts, which
keeps counts and the rounding of the stored blend exact (see `mask_counts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.blending.combine import MAX_PARTS, add_bytes
from skyfold.blending.mask_counts import count_masks, cuts_of
from skyfold.blending.uncertain_pixels import ScreenedMaps
from skyfold.config.blend import WeightsConfig
from skyfold.errors import OofMismatch
from skyfold.types import CountMetric

COUNTS_AT_ONCE = 2_000_000  # rows x members x thresholds, each of some 50 bytes
MIN_GAIN = 1e-12  # a smaller one is rounding of the mean over maps


@dataclass(frozen=True)
class SearchedWeights:
    """parts: (M,) whole parts of weight; thresholds: (K,) the best of each class, in 0..254; score: on the rows they
    were searched on."""

    parts: tuple[int, ...]
    thresholds: tuple[int, ...]
    score: float

    @property
    def blend_weights(self) -> tuple[float, ...]:
        """The parts as fractions that add up to 1."""
        return tuple(part / sum(self.parts) for part in self.parts)


def search_thresholds(config: WeightsConfig) -> np.ndarray:
    """The thresholds to search, ascending int64; an odd count over a symmetric range contains 127, one half.

    >>> search_thresholds(WeightsConfig(thresholds=3)).tolist()
    [51, 127, 204]
    """
    low, high = config.threshold_range
    thresholds = np.linspace(low, high, config.thresholds) if config.thresholds > 1 else np.array([(low + high) / 2])
    return np.unique(np.clip(np.round(255 * thresholds - 0.5 + 1e-9), 0, 254).astype(np.int64))


def cross_fitted_weights(
    maps: ScreenedMaps, fold: np.ndarray, metric: CountMetric, steps: int
) -> tuple[SearchedWeights, dict[int, SearchedWeights], float]:
    """Search on all screened rows, and for every fold on the others.

    fold: int (n,), of the screened rows, -1: in none; steps: see `greedy`. Returns the weights of all rows, those
    searched without each fold, and the cross-fitted score: of all folds together, each with the weights and thresholds
    that were searched on the others. Raises OofMismatch for fewer than 2 folds.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2:
        raise OofMismatch(f"cross-fitting needs 2 folds or more; got folds {folds}.")
    by_fold = {f: greedy(maps, metric, (fold != -1) & (fold != f), steps) for f in folds}
    both, pred, target = np.concatenate(
        [_counts_at(maps, by_fold[f], np.flatnonzero(fold == f)) for f in folds], axis=1
    )
    return greedy(maps, metric, fold != -1, steps), by_fold, float(_scores(both, pred, target, metric).mean())


def greedy(maps: ScreenedMaps, metric: CountMetric, use: np.ndarray, steps: int) -> SearchedWeights:
    """Add the member that scores best with those added before, `steps` times; the best of all steps.

    use: bool (n,), which of the screened rows are scored. Of equal candidates the first is taken, of equal steps the
    earliest, so that the weights stay simple. Raises OofMismatch where `use` marks no row.
    """
    rows = np.flatnonzero(use)
    if not len(rows):
        raise OofMismatch("no rows to search blend weights on; train at least two folds.")
    parts = np.zeros(len(maps.classes[0].values[0]), dtype=np.int64)
    sums = [[np.zeros(len(truth), dtype=np.uint16) for truth in pixels.truth] for pixels in maps.classes]
    best = SearchedWeights((), (), -np.inf)
    for step in range(1, min(steps, MAX_PARTS) + 1):
        by_threshold = _scores_of_next(maps, metric, sums, cuts_of(maps.thresholds, step), rows)
        scores = by_threshold.max(axis=2).mean(axis=0)
        member = int(np.argmax(scores >= scores.max() - MIN_GAIN))
        parts[member] += 1
        for pixels, own in zip(maps.classes, sums, strict=True):
            for i in rows:
                add_bytes(own[i], pixels.values[i][member], np.uint16(1))
        if scores[member] > best.score + MIN_GAIN:
            thresholds = maps.thresholds[[_middle_of_best(own) for own in by_threshold[:, member]]]
            best = SearchedWeights(tuple(parts.tolist()), tuple(thresholds.tolist()), float(scores[member]))
    return best


def _scores_of_next(
    maps: ScreenedMaps, metric: CountMetric, sums: list[list[np.ndarray]], cuts: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Score of every class with one more part of every member at every threshold, float64 (K, M, T)."""
    members = len(maps.classes[0].values[0])
    at_once = max(1, COUNTS_AT_ONCE // (len(rows) * len(cuts)))
    scores = np.empty((len(maps.classes), members, len(cuts)))
    for pixels, own, of_class in zip(maps.classes, sums, scores, strict=True):
        target = pixels.target[rows, None, None]
        for first in range(0, members, at_once):
            part = slice(first, first + at_once)
            of_class[part] = _scores(*count_masks(pixels, own, part, cuts, rows), target, metric)
    return scores


def _counts_at(maps: ScreenedMaps, searched: SearchedWeights, rows: np.ndarray) -> np.ndarray:
    """Pixels in both masks, in the predicted and in the true one, int64 (3, len(rows), K), with these weights."""
    parts, columns = np.array(searched.parts, dtype=np.float32), []  # float32 holds sums of 16 bits exactly
    for pixels, threshold in zip(maps.classes, searched.thresholds, strict=True):
        cut = cuts_of(np.array([threshold]), sum(searched.parts))
        masks = [parts @ pixels.values[i] > cut for i in rows]
        both = [np.count_nonzero(mask & (pixels.truth[i] == 1)) for mask, i in zip(masks, rows, strict=True)]
        pred = [np.count_nonzero(mask) for mask in masks]
        columns.append((both + pixels.sure_both[rows], pred + pixels.sure_pred[rows], pixels.target[rows]))
    return np.array(columns, dtype=np.int64).transpose(1, 2, 0)


def _scores(both: np.ndarray, pred: np.ndarray, target: np.ndarray, metric: CountMetric) -> np.ndarray:
    """Score over axis 0, the maps of one class, from counts of pixels."""
    if metric.pooled == "samples":
        both, pred, target = (count.sum(axis=0, keepdims=True, dtype=np.int64) for count in (both, pred, target))
    return np.asarray(metric.of_counts(both, pred, target).mean(axis=0))


def _middle_of_best(by_threshold: np.ndarray) -> int:
    """Position of the best threshold: of equal ones the middle. by_threshold: float64 (T,)."""
    best = np.flatnonzero(by_threshold >= by_threshold.max() - MIN_GAIN)
    return int(best[(len(best) - 1) // 2])
