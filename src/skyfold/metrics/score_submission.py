"""Score a submission file against a truth file by the metric of the competition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, Truth
from skyfold.errors import InvalidSubmission, OtherRows
from skyfold.metrics.bootstrap import Interval, bootstrap_interval
from skyfold.metrics.points import AtPoints
from skyfold.rle.segments import SegmentMasks, Segments
from skyfold.types import ArraySequence, CountMetric, Metric, VolumeMetric

CHUNK_PIXELS = 16 << 20


@dataclass(frozen=True)
class Scored:
    """score, its bootstrap interval over images, and the score of each class (of metrics of pixel counts)."""

    score: float
    interval: Interval
    per_class: dict[str, float]
    samples: int


def score_note(score: float) -> str | None:
    """Explanation of a score that is not finite; None for a finite one."""
    if math.isfinite(score):
        return None
    return "Score is not finite: no observed event was forecast, or the truth has no valid pixels. Check --truth."


def score_submission(competition: Competition, submission: Path, truth: Path | Truth, *, draws: int = 1000) -> Scored:
    """Score `submission` (a CSV, or a folder of masks where the competition reads those) against `truth`.

    truth: a file, or what `competition.read_truth` gave, to score several submissions against. InvalidSubmission names
    the row and the remedy where a file is not what the contest takes.
    """
    known = truth if isinstance(truth, Truth) else competition.read_truth(truth)
    try:
        pred = competition.read_pred(submission, known.ids)
    except OtherRows as error:
        name = "the truth" if isinstance(truth, Truth) else truth
        raise OtherRows(f"{error}\nThe rows wanted are those of {name}.") from None
    return score_predictions(competition, known, pred, groups=volumes_of(competition.metric, known.ids), draws=draws)


def score_predictions(
    competition: Competition, truth: Truth, pred: ArraySequence, *, groups: np.ndarray | None, draws: int = 1000
) -> Scored:
    """Score `pred` of the truth's ids, in their order.

    groups: (n,), drawn together by the bootstrap; None: every sample by itself.
    """
    stats = prediction_stats(competition, truth, pred)
    metric, classes = competition.metric, competition.classes
    counted = isinstance(metric, CountMetric)
    return Scored(
        score=metric.score(stats),
        interval=bootstrap_interval(metric, stats, groups=groups, draws=draws),
        per_class={name: metric.score(stats[:, k :: len(classes)]) for k, name in enumerate(classes) if counted},
        samples=len(stats),
    )


def score_lines(competition: Competition, submission: Path, truth: Path) -> list[str]:
    """Score the file `submission` on the file `truth` by the competition's metric, with a 95 % interval over samples.

    Where the competition names points, a further line gives the score at these only. InvalidSubmission names the row of
    a file that the competition would refuse.
    """
    known = competition.read_truth(truth)
    scored = score_submission(competition, submission, known)
    interval = f" ({scored.interval.low:.4f} to {scored.interval.high:.4f}) over {scored.samples} samples"
    lines = [f"test: {competition.metric.name} {scored.score:.4f}{interval if scored.samples > 1 else ', one sample'}"]
    if note := score_note(scored.score):
        lines.append(note)
    if competition.points:
        metric = AtPoints(competition.metric, competition.points)
        pred = competition.read_pred(submission, known.ids)
        stats = prediction_stats(replace(competition, metric=metric), known, pred)
        lines.append(f"test, {len(competition.points)} points: {metric.score(stats):.4f}")
    return lines


def prediction_stats(competition: Competition, truth: Truth, pred: ArraySequence) -> np.ndarray:
    """Sufficient statistics, float64 (n, S), of predictions `pred` of the truth's ids, in their order.

    Where truth and prediction are segments they are counted as such, to the same numbers as pixel by pixel.
    """
    if len(pred) != len(truth.ids):
        raise InvalidSubmission(f"the truth holds {len(truth.ids)} images, the prediction {len(pred)}.")
    target, metric = truth.targets, competition.metric
    if isinstance(metric, CountMetric) and isinstance(target, SegmentMasks) and isinstance(pred, SegmentMasks):
        return _segment_stats(target, pred, truth.valid)
    stats: dict[int, np.ndarray] = {}
    volumes = slices_of_volumes(metric, truth.ids) if isinstance(metric, VolumeMetric) else None
    for rows in volumes or [list(range(len(pred)))]:
        most = len(rows) if volumes else None
        for part, arrays in stacks(rows, [target, pred, *([] if truth.valid is None else [truth.valid])], most):
            if volumes and len(part) < len(rows):
                raise InvalidSubmission(
                    f"'{truth.ids[part[0]]}' differs in size from another slice of its volume. Mend the sizes."
                )
            valid = arrays[2] if len(arrays) > 2 else None
            stats |= zip(part, metric.stats(target=arrays[0], pred=arrays[1], valid=valid), strict=True)
    return np.stack([stats[row] for row in range(len(pred))])


def _segment_stats(target: SegmentMasks, pred: SegmentMasks, valid: ArraySequence | None) -> np.ndarray:
    (height, width), classes = target.segments.shape, target.classes
    size, parts = max(1, CHUNK_PIXELS // (height * width * classes)), []
    for start in range(0, len(pred), size):
        rows, defined = range(start, min(start + size, len(pred))), None
        if valid is not None:
            counting = np.stack([valid[row] for row in rows]).astype(bool)
            defined = Segments.from_masks(counting, target.segments.order)
        parts.append(overlap_counts(target.of_images(rows), pred.of_images(rows), defined, classes))
    return np.concatenate(parts)


def volumes_of(metric: Metric, ids: np.ndarray) -> np.ndarray | None:
    """The volume of each sample, of a metric of volumes; else None."""
    return np.array([metric.volume_of(str(name)) for name in ids]) if isinstance(metric, VolumeMetric) else None


def slices_of_volumes(metric: VolumeMetric, ids: np.ndarray) -> list[list[int]]:
    """Rows of each volume, sorted by id."""
    rows: dict[str, list[int]] = {}
    for row in np.argsort(ids, kind="stable").tolist():
        rows.setdefault(metric.volume_of(str(ids[row])), []).append(row)
    return list(rows.values())


def stacks(
    rows: Sequence[int], arrays: Sequence[ArraySequence], most: int | None = None
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Yield rows that follow each other and are of one shape, and of each of `arrays` these rows as one array.

    most: rows of a piece; None: as many as hold about CHUNK_PIXELS numbers.
    """
    piece: list[int] = []
    read: list[list[np.ndarray]] = []
    for row in rows:
        found = [array[row] for array in arrays]
        fit = most or max(1, CHUNK_PIXELS // max(1, found[0].size))
        if piece and (len(piece) == fit or found[0].shape != read[0][0].shape):
            yield piece, [np.stack(each) for each in zip(*read, strict=True)]
            piece, read = [], []
        piece.append(row)
        read.append(found)
    if piece:
        yield piece, [np.stack(each) for each in zip(*read, strict=True)]


def overlap_counts(target: Segments, pred: Segments, valid: Segments | None, classes: int) -> np.ndarray:
    """Pixels in both masks, in the predicted and in the true one, K columns each: float64 (n, 3K).

    target, pred: n * K masks, those of one image together; valid: one mask of counting pixels for each image, or None
    where all count. The same numbers, to the last bit, as from the decoded masks. ValueError where shapes, order or
    numbers of masks differ.
    """
    if valid is not None:
        valid = valid.take(np.repeat(np.arange(len(valid)), classes))
        target, pred = target.intersection(valid), pred.intersection(valid)
    counts = [part.areas().reshape(-1, classes) for part in (target.intersection(pred), pred, target)]
    return np.concatenate(counts, axis=1).astype(np.float64)
