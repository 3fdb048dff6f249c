"""How predicted masks agree with the truth: Dice, IoU and pixel accuracy, from counts of pixels.

Every metric turns a sample into a few counts (`stats`) and a selection of such rows into its figure (`score`), so that
chunks, folds and bootstrap draws never look at the pixels again. Pixels that `valid` calls undefined count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.metrics.segment_overlap import overlap_counts
from skyfold.rle.segments import Segments

LONGEST_UINT8_SUM = 255


def dice_score(*, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Dice per image and class, 2 |both| / (|target| + |pred|); 1.0 where both masks are empty (the contest's rule).

    target, pred: bool (N, H, W, K); valid: bool (N, H, W). Returns float64 (N, K).

    >>> mask = np.array([1, 1, 0, 0], dtype=bool).reshape(1, 2, 2, 1)
    >>> dice_score(target=mask, pred=~mask | mask).round(3).tolist()
    [[0.667]]
    """
    return MeanDice().per_class(MeanDice().stats(target=target, pred=pred, valid=valid))


def iou_score(*, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union per image and class; 1.0 where both masks are empty. Arrays as for `dice_score`."""
    return MeanIoU().per_class(MeanIoU().stats(target=target, pred=pred, valid=valid))


class _Overlap:
    """What Dice and IoU have in common. stats: (n, 3K) pixels in both masks, in the predicted, in the true one."""

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return _overlap_counts(target, pred, valid)

    def stats_of_segments(
        self, *, target: Segments, pred: Segments, classes: int, valid: Segments | None = None
    ) -> np.ndarray:
        """As `stats`, of the segments of n * K masks and, where not all pixels count, of n masks of those that do."""
        return overlap_counts(target, pred, valid, classes)


class _MeanOverlap(_Overlap):
    """A mean over image x class of what `per_class` says of each."""

    def per_class(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n, K)."""
        raise NotImplementedError

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n,), whose mean is the score."""
        rows: np.ndarray = self.per_class(stats).mean(axis=1)
        return rows

    def score(self, stats: np.ndarray) -> float:
        return _mean_of_rows(self.per_row(stats))


@dataclass(frozen=True)
class MeanDice(_MeanOverlap):
    """Mean of Dice over image x class, both empty = 1: the figure of "Understanding Clouds"."""

    name: str = "mean_dice"
    greater_is_better: bool = True

    def per_class(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n, K)."""
        return _dice(*_thirds(stats))


@dataclass(frozen=True)
class MeanIoU(_MeanOverlap):
    """Mean of intersection over union over image x class, both empty = 1."""

    name: str = "mean_iou"
    greater_is_better: bool = True

    def per_class(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n, K)."""
        return _iou(*_thirds(stats))


@dataclass(frozen=True)
class GlobalDice(_Overlap):
    """Dice of the pixels of all images taken together, per class, then the mean over classes.

    A class that is nowhere, neither in the truth nor in the prediction, counts 1.
    """

    name: str = "global_dice"
    greater_is_better: bool = True

    def score(self, stats: np.ndarray) -> float:
        return float(_dice(*_thirds(_sum_of_rows(stats))).mean())


@dataclass(frozen=True)
class GlobalIoU(_Overlap):
    """Intersection over union of the pixels of all images taken together, per class, then the mean (mIoU).

    A class that is nowhere, neither in the truth nor in the prediction, counts 1.
    """

    name: str = "global_iou"
    greater_is_better: bool = True

    def score(self, stats: np.ndarray) -> float:
        return float(_iou(*_thirds(_sum_of_rows(stats))).mean())


@dataclass(frozen=True)
class PixelAccuracy:
    """Share of the defined pixels of all images at which every class is predicted right.

    stats: (n, 2) pixels right, pixels defined. Where no pixel is defined the score is 1.
    """

    name: str = "pixel_accuracy"
    greater_is_better: bool = True

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        target, pred = _masks(target, pred, valid)
        right = (target == pred).all(axis=-1)
        defined = np.ones_like(right) if valid is None else valid
        return np.stack([(right & defined).sum(axis=(1, 2)), defined.sum(axis=(1, 2))], axis=1).astype(np.float64)

    def score(self, stats: np.ndarray) -> float:
        right, defined = _sum_of_rows(stats)[0]
        return float(right / defined) if defined else 1.0


METRICS = {
    "mean_dice": MeanDice,
    "mean_iou": MeanIoU,
    "global_dice": GlobalDice,
    "global_iou": GlobalIoU,
    "pixel_accuracy": PixelAccuracy,
}


def _overlap_counts(target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    target, pred = _masks(target, pred, valid)
    if valid is not None:
        target, pred = target & valid[..., None], pred & valid[..., None]
    counts = [_pixels(target & pred), _pixels(pred), _pixels(target)]
    return np.concatenate(counts, axis=1).astype(np.float64)


def _masks(target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if target.ndim != 4 or target.shape != pred.shape:
        raise InvalidSubmission(
            f"masks to score: expected truth and prediction of one shape (N, H, W, K), got {target.shape} and "
            f"{pred.shape}. Resize the prediction to the competition's grid."
        )
    if valid is not None and (valid.shape != target.shape[:3] or valid.dtype != np.bool_):
        raise InvalidSubmission(
            f"pixels that count: expected bool {target.shape[:3]}, got {valid.dtype} {valid.shape}. "
            "Leave the class axis off."
        )
    return _as_bool(target, "truth"), _as_bool(pred, "prediction")


def _as_bool(mask: np.ndarray, which: str) -> np.ndarray:
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        row = int(np.flatnonzero(np.isnan(mask).reshape(len(mask), -1).any(axis=1))[0])
        raise InvalidSubmission(
            f"{which}, sample {row} of this chunk: NaN instead of a mask. Predict this sample again."
        )
    truthy = mask == 1
    if not (truthy | (mask == 0)).all():
        raise InvalidSubmission(f"{which}: {mask.dtype} values other than 0 and 1. Compare with a threshold first.")
    return truthy


def _pixels(masks: np.ndarray) -> np.ndarray:
    """Pixels set per image and class: bool (n, H, W, K) -> int64 (n, K).

    Adds up to 255 image rows in uint8, where nothing can overflow and the additions run over contiguous memory: some
    ten times faster than a sum over both image axes, which takes K-sized steps.
    """
    by_column = np.zeros((len(masks), *masks.shape[2:]), dtype=np.int64)
    for top in range(0, masks.shape[1], LONGEST_UINT8_SUM):
        strip = masks[:, top : top + LONGEST_UINT8_SUM].view(np.uint8)
        by_column += strip.sum(axis=1, dtype=np.uint8)
    pixels: np.ndarray = by_column.sum(axis=1)
    return pixels


def _thirds(stats: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    both, pred, target = np.split(stats, 3, axis=1)
    return both, pred, target


def _dice(both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    total = pred + target
    return np.where(total == 0, 1.0, 2.0 * both / np.maximum(total, 1.0))


def _iou(both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    union = pred + target - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1.0))


def _sum_of_rows(stats: np.ndarray) -> np.ndarray:
    if not len(stats):
        raise ValueError("no samples to score")
    total: np.ndarray = stats.sum(axis=0, keepdims=True)
    return total


def _mean_of_rows(rows: np.ndarray) -> float:
    if not len(rows):
        raise ValueError("no samples to score")
    return float(rows.mean())
