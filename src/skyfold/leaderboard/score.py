"""The contest's own figure for a submission file against a truth file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.errors import InvalidSubmission
from skyfold.metrics.bootstrap import Interval, bootstrap_interval
from skyfold.types import ArraySequence

CHUNK_PIXELS = 16 << 20


@dataclass(frozen=True)
class Scored:
    """score, its bootstrap interval over images, and the figure of each class alone (where the metric has one)."""

    score: float
    interval: Interval
    per_class: dict[str, float]
    images: int


def score_submission(competition: Competition, submission: Path, truth: Path, *, draws: int = 1000) -> Scored:
    """Score `submission` (a CSV, or a folder of masks where the competition reads those) against `truth`.

    InvalidSubmission names the row and the remedy where a file is not what the contest takes.
    """
    known = competition.read_truth(truth)
    stats = prediction_stats(competition, truth, competition.read_pred(submission, known.ids))
    per_class_of = getattr(competition.metric, "per_class", None)
    per_class = (
        {} if per_class_of is None else dict(zip(competition.classes, per_class_of(stats).mean(axis=0), strict=True))
    )
    return Scored(
        score=competition.metric.score(stats),
        interval=bootstrap_interval(competition.metric, stats, draws=draws),
        per_class={name: float(value) for name, value in per_class.items()},
        images=len(stats),
    )


def prediction_stats(competition: Competition, truth: Path, pred: ArraySequence) -> np.ndarray:
    """Sufficient statistics (n, S) of `pred`, rows in the order of the truth file's ids."""
    known = competition.read_truth(truth)
    if len(pred) != len(known.ids):
        raise InvalidSubmission(f"{truth}: holds {len(known.ids)} images, the prediction {len(pred)}.")
    height, width = competition.grid
    size = max(1, CHUNK_PIXELS // (height * width * len(competition.classes)))
    parts = []
    for start in range(0, len(known.ids), size):
        rows = range(start, min(start + size, len(known.ids)))
        valid = None if known.valid is None else np.stack([known.valid[i] for i in rows])
        target = np.stack([known.targets[i] for i in rows])
        parts.append(competition.metric.stats(target=target, pred=np.stack([pred[i] for i in rows]), valid=valid))
    return np.concatenate(parts)
