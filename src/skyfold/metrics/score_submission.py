"""The contest's own figure for a submission file against a truth file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, Truth
from skyfold.errors import InvalidSubmission, OtherRows
from skyfold.metrics.bootstrap import Interval, bootstrap_interval
from skyfold.metrics.segment_overlap import overlap_counts
from skyfold.rle.segments import SegmentMasks, Segments
from skyfold.types import ArraySequence, CountMetric

CHUNK_PIXELS = 16 << 20


@dataclass(frozen=True)
class Scored:
    """score, its bootstrap interval over images, and the score of each class (of metrics of pixel counts)."""

    score: float
    interval: Interval
    per_class: dict[str, float]
    samples: int


def score_note(score: float) -> str | None:
    """What a figure that is not finite means."""
    if math.isfinite(score):
        return None
    return "not finite: nothing that came was forecast, or the truth says nothing at all. Is it the right file?"


def score_submission(competition: Competition, submission: Path, truth: Path | Truth, *, draws: int = 1000) -> Scored:
    """Score `submission` (a CSV, or a folder of masks where the competition reads those) against `truth`.

    truth: a file, or what `competition.read_truth` gave, to score several submissions against. InvalidSubmission names
    the row and the remedy where a file is not what the contest takes.
    """
    known = _read(competition, truth)
    try:
        pred = competition.read_pred(submission, known.ids)
    except OtherRows as error:
        raise OtherRows(f"{error}\nThe rows wanted are those of {_named(truth)}.") from None
    stats = prediction_stats(competition, known, pred)
    metric, classes = competition.metric, competition.classes
    counted = isinstance(metric, CountMetric)
    return Scored(
        score=metric.score(stats),
        interval=bootstrap_interval(metric, stats, draws=draws),
        per_class={name: metric.score(stats[:, k :: len(classes)]) for k, name in enumerate(classes) if counted},
        samples=len(stats),
    )


def prediction_stats(competition: Competition, truth: Path | Truth, pred: ArraySequence) -> np.ndarray:
    """Sufficient statistics (n, S) of `pred`, rows in the order of the truth's ids.

    Where truth and prediction are segments they are counted as such, to the same numbers as pixel by pixel.
    """
    known = _read(competition, truth)
    if len(pred) != len(known.ids):
        raise InvalidSubmission(f"{_named(truth)}: holds {len(known.ids)} images, the prediction {len(pred)}.")
    counted = isinstance(competition.metric, CountMetric)
    if counted and isinstance(known.targets, SegmentMasks) and isinstance(pred, SegmentMasks):
        target = known.targets.segments
        valid = None if known.valid is None else _segments_of(known.valid, competition, target.order)
        return overlap_counts(target, pred.segments, valid, len(competition.classes))
    parts = []
    for rows in _chunks(len(known.ids), competition):
        valid_masks = None if known.valid is None else np.stack([known.valid[i] for i in rows])
        target_masks = np.stack([known.targets[i] for i in rows])
        pred_masks = np.stack([pred[i] for i in rows])
        parts.append(competition.metric.stats(target=target_masks, pred=pred_masks, valid=valid_masks))
    return np.concatenate(parts)


def _named(truth: Path | Truth) -> str:
    return "the truth" if isinstance(truth, Truth) else str(truth)


def _read(competition: Competition, truth: Path | Truth) -> Truth:
    return truth if isinstance(truth, Truth) else competition.read_truth(truth)


def _segments_of(masks: ArraySequence, competition: Competition, order: str) -> Segments:
    chunks = _chunks(len(masks), competition)
    parts = [Segments.from_masks(np.stack([masks[i] for i in rows]).astype(bool), order) for rows in chunks]
    return Segments.concatenate(parts)


def _chunks(n: int, competition: Competition) -> list[range]:
    height, width = competition.grid
    size = max(1, CHUNK_PIXELS // (height * width * len(competition.classes)))
    return [range(start, min(start + size, n)) for start in range(0, n, size)]
