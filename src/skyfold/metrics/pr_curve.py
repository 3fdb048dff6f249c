"""Thresholds at which a classifier reaches a precision or recall, read off its precision-recall curve.

A sample is predicted positive where its score is at or above the threshold. Curves are those of scikit-learn. Scores
are float (n,), labels bool (n,), n > 0; ValueError for NaN scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, its precision and recall on the samples it was read from, and whether they reach the target."""

    threshold: float
    precision: float
    recall: float
    reached: bool


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the step curve, the sum of precision x gain in recall, as scikit-learn's `average_precision_score`.

    0 without any positive label.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores)) if labels.any() else 0.0


def threshold_for_precision(scores: np.ndarray, labels: np.ndarray, target: float) -> OperatingPoint:
    """The lowest threshold, hence the greatest recall, whose precision is at least `target`.

    Where no threshold reaches it: the one of the highest precision (the lowest such), `reached` False. Without any
    positive label: a threshold just above all scores, since nothing should pass, `reached` False.
    """
    if not labels.any():
        return _nothing_passes(scores, reached=False)
    curve = _curve(scores, labels)
    reaching = np.flatnonzero(curve[1] >= target)
    point = reaching[0] if len(reaching) else np.argmax(curve[1])
    return _point(curve, int(point), reached=len(reaching) > 0)


def threshold_for_recall(scores: np.ndarray, labels: np.ndarray, target: float) -> OperatingPoint:
    """The highest threshold, hence in general the best precision, whose recall is at least `target`.

    The lowest score reaches every recall. Without any positive label: a threshold just above all scores.
    """
    if not labels.any():
        return _nothing_passes(scores, reached=True)
    curve = _curve(scores, labels)
    return _point(curve, int(np.flatnonzero(curve[2] >= target)[-1]), reached=True)


def _curve(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Thresholds, ascending, their precision and recall: float64 (3, m), one column for each distinct score."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, scores.astype(np.float64))
    return np.stack([thresholds, precision[:-1], recall[:-1]])


def _point(curve: np.ndarray, index: int, *, reached: bool) -> OperatingPoint:
    threshold, precision, recall = curve[:, index].tolist()
    return OperatingPoint(threshold, precision, recall, reached)


def _nothing_passes(scores: np.ndarray, *, reached: bool) -> OperatingPoint:
    return OperatingPoint(float(np.nextafter(float(scores.max()), np.inf)), precision=0.0, recall=1.0, reached=reached)
