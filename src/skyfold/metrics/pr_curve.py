"""Thresholds at which a classifier reaches a precision or recall, read off its precision-recall curve.

A sample counts as positive where its score is at or above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve: one point for each distinct score, thresholds ascending.

    thresholds, precision, recall: float64 (m,). Without any positive label precision is 0 and recall 1 throughout.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, its precision and recall on the samples it was read from, and whether they reach the target."""

    threshold: float
    precision: float
    recall: float
    reached: bool


def precision_recall(scores: np.ndarray, labels: np.ndarray) -> PrecisionRecall:
    """The exact curve of scores (n,) against labels bool (n,); equal scores are one point.

    ValueError for no samples, shapes that differ, labels that are not bool (a swap shows so), or NaN scores.
    """
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores) or labels.dtype != np.bool_:
        raise ValueError(
            f"expected scores (n,) and bool labels (n,), n > 0; got {scores.shape} and {labels.dtype} {labels.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"score of sample {int(np.flatnonzero(np.isnan(scores))[0])} is NaN; predict it again")
    descending = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-descending, kind="stable")
    descending = descending[order]
    last_of_ties = np.append(descending[1:] != descending[:-1], True)
    predicted = np.arange(1, len(scores) + 1)[last_of_ties]
    found = np.cumsum(labels[order])[last_of_ties]
    recall = found / found[-1] if found[-1] else np.ones(len(found))
    return PrecisionRecall(descending[last_of_ties][::-1], (found / predicted)[::-1], recall[::-1])


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the step curve, the sum of precision x gain in recall; 0 without any positive label."""
    if not np.any(labels):
        return 0.0
    curve = precision_recall(scores, labels)
    gains = curve.recall - np.append(curve.recall[1:], 0.0)
    return float((gains * curve.precision).sum())


def threshold_for_precision(scores: np.ndarray, labels: np.ndarray, target: float) -> OperatingPoint:
    """The lowest threshold, hence the greatest recall, whose precision is at least `target`.

    Where no threshold reaches it: the one of the highest precision (the lowest such), `reached` False. Without any
    positive label: a threshold just above all scores, since nothing should pass, `reached` False.
    """
    if not np.any(labels):
        return _nothing_passes(scores, reached=False)
    curve = precision_recall(scores, labels)
    reaching = np.flatnonzero(curve.precision >= target)
    point = int(reaching[0]) if len(reaching) else int(np.argmax(curve.precision))
    return _point(curve, point, reached=len(reaching) > 0)


def threshold_for_recall(scores: np.ndarray, labels: np.ndarray, target: float) -> OperatingPoint:
    """The highest threshold, hence in general the best precision, whose recall is at least `target`.

    The lowest score reaches every recall. Without any positive label: a threshold just above all scores.
    """
    if not np.any(labels):
        return _nothing_passes(scores, reached=True)
    curve = precision_recall(scores, labels)
    return _point(curve, int(np.flatnonzero(curve.recall >= target)[-1]), reached=True)


def _point(curve: PrecisionRecall, index: int, *, reached: bool) -> OperatingPoint:
    threshold, precision, recall = (float(x[index]) for x in (curve.thresholds, curve.precision, curve.recall))
    return OperatingPoint(threshold, precision, recall, reached)


def _nothing_passes(scores: np.ndarray, *, reached: bool) -> OperatingPoint:
    highest = precision_recall(scores, np.zeros(len(scores), dtype=bool)).thresholds[-1]
    return OperatingPoint(float(np.nextafter(highest, np.inf)), precision=0.0, recall=1.0, reached=reached)
