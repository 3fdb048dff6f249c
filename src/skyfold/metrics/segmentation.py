"""Dice, IoU and pixel accuracy of masks, computed from pixel counts.

Every metric turns a sample into a few counts (`stats`) and a selection of such rows into a score (`score`): chunks,
folds and bootstrap draws never read the pixels again. Pixels outside `valid` are not counted. To add a metric, write a
class here and name it in METRICS; `skyfold.types` says what a metric offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skyfold.errors import ConfigError, InvalidSubmission
from skyfold.plugins import from_file, nearest
from skyfold.types import Metric

LONGEST_UINT8_SUM = 255


def dice_score(*, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Dice per image and class, 2 |both| / (|target| + |pred|); 1.0 where both masks are empty (the contest's rule).

    target, pred: bool (N, H, W, K), or 0 and 1; valid: bool (N, H, W), pixels that count, None: all. Returns float64
    (N, K). InvalidSubmission for unequal shapes, NaN, or other values than 0 and 1.

    >>> mask = np.array([1, 1, 0, 0], dtype=bool).reshape(1, 2, 2, 1)
    >>> dice_score(target=mask, pred=~mask | mask).round(3).tolist()
    [[0.667]]
    """
    return MeanDice().per_class(_pixel_counts(target, pred, valid))


def iou_score(*, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union per image and class, |both| / |either|; 1.0 where both masks are empty.

    Arrays and errors as for `dice_score`. Returns float64 (N, K).
    """
    return MeanIoU().per_class(_pixel_counts(target, pred, valid))


@dataclass(frozen=True)
class RowScore:
    """Score of a metric that is known from its rows (see `skyfold.types.RowMetric`)."""

    name: str
    pooled: Literal["each", "samples"] = "each"
    greater_is_better: bool = True

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Of masks as `skyfold.types.Metric.stats`; TypeError where a metric has statistics of its own."""
        raise TypeError(f"{self.name}: the statistics are computed beforehand, not from masks")

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        raise NotImplementedError

    def score(self, stats: np.ndarray) -> float:
        """ValueError where there are no rows."""
        if not len(stats):
            raise ValueError("no samples to score")
        rows = stats.sum(axis=0, keepdims=True) if self.pooled == "samples" else stats
        return float(self.per_row(rows).mean())


@dataclass(frozen=True)
class MeanOfMaps(RowScore):
    """Mean of scores that were computed map by map, for their bootstrap. stats: the scores, (n, K)."""

    name: str = "mean_of_maps"

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """Mean over the classes, float64 (n,)."""
        return np.asarray(stats.astype(np.float64).mean(axis=1))


class OverlapMetric(RowScore):
    """A metric of pixel counts: a subclass gives `of_counts`. stats: (n, 3K), see `skyfold.types.CountMetric`."""

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Score of single maps from pixels in both masks, in the prediction and in the target.

        float64, elementwise, of the shape of the arguments.
        """
        raise NotImplementedError

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Pixel counts, float64 (n, 3K): in both masks, in the prediction, in the target. Arrays as `dice_score`."""
        return _pixel_counts(target, pred, valid)

    def per_class(self, stats: np.ndarray) -> np.ndarray:
        """Score of each map by itself, float64 (n, K), from stats (n, 3K)."""
        return self.of_counts(*np.split(stats, 3, axis=1))

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """Mean over the classes, float64 (n,)."""
        return np.asarray(self.per_class(stats).mean(axis=1))


@dataclass(frozen=True)
class MeanDice(OverlapMetric):
    """Mean Dice over images and classes, both empty = 1: the metric of "Understanding Clouds"."""

    name: str = "mean_dice"

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        total = pred + target
        return np.where(total == 0, 1.0, 2.0 * both / np.maximum(total, 1.0))


@dataclass(frozen=True)
class MeanIoU(OverlapMetric):
    """Mean intersection over union over images and classes, both empty = 1."""

    name: str = "mean_iou"

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        union = pred + target - both
        return np.where(union == 0, 1.0, both / np.maximum(union, 1.0))


@dataclass(frozen=True)
class GlobalDice(MeanDice):
    """Dice of the pixels of all images together, per class, then the mean over classes.

    A class that appears nowhere, neither in the truth nor in the prediction, scores 1.
    """

    name: str = "global_dice"
    pooled: Literal["each", "samples"] = "samples"


@dataclass(frozen=True)
class GlobalIoU(MeanIoU):
    """Intersection over union of the pixels of all images together, per class, then the mean over classes (mIoU).

    A class that appears nowhere, neither in the truth nor in the prediction, scores 1.
    """

    name: str = "global_iou"
    pooled: Literal["each", "samples"] = "samples"


@dataclass(frozen=True)
class PixelAccuracy(RowScore):
    """Fraction of the valid pixels of all images at which every class is predicted right.

    stats: (n, 2) pixels right, pixels valid. 1 where no pixel is valid.
    """

    name: str = "pixel_accuracy"
    pooled: Literal["each", "samples"] = "samples"

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """float64 (n, 2), see the class. Arrays and errors as for `dice_score`."""
        target, pred = _masks(target, pred, valid)
        right = (target == pred).all(axis=-1)
        defined = np.ones_like(right) if valid is None else valid
        return np.stack([(right & defined).sum(axis=(1, 2)), defined.sum(axis=(1, 2))], axis=1).astype(np.float64)

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """Accuracy of each row by itself, float64 (n,)."""
        right, defined = stats.T
        return np.where(defined == 0, 1.0, right / np.maximum(defined, 1.0))


_KINDS: tuple[type[Any], ...] = (MeanDice, MeanIoU, GlobalDice, GlobalIoU, PixelAccuracy)
METRICS: dict[str, Callable[[], Metric]] = {kind().name: kind for kind in _KINDS}


def named_metric(name: object) -> Metric:
    """The metric `name` of METRICS, or of a file: `FILE.py:CLASS`, as `plugins.from_file`.

    ConfigError, with the nearest name, where there is none, and where the class is no metric (`skyfold.types.Metric`).
    """
    if isinstance(name, str) and ".py:" in name:
        return _metric_of_file(name)
    if not isinstance(name, str) or name not in METRICS:
        raise ConfigError(f"metric '{name}'{nearest(str(name), list(METRICS))}. There are: {', '.join(METRICS)}.")
    return METRICS[name]()


def known_metric(name: str) -> str:
    """`name`; ValueError, as pydantic expects, where `named_metric` refuses it."""
    if ".py:" not in name and name not in METRICS:
        raise ValueError(f"unknown{nearest(name, list(METRICS))}. There are: {', '.join(METRICS)}, and FILE.py:CLASS")
    try:
        named_metric(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return name


def _metric_of_file(reference: str) -> Metric:
    kind: Any = from_file(reference)
    try:
        metric: Metric = kind()
    except Exception as error:
        raise ConfigError(
            f"metric '{reference}': cannot be made without arguments ({error}). Give defaults."
        ) from error
    lacks = [part for part in ("name", "greater_is_better", "stats", "score") if not hasattr(metric, part)]
    if lacks:
        raise ConfigError(f"metric '{reference}': has no '{lacks[0]}'. A metric offers what skyfold.api.Metric lists.")
    return metric


def _pixel_counts(target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
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
