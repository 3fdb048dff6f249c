"""Score of a submission on the held-back truth, in lines of text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skyfold.competition import Competition
from skyfold.metrics.points import AtPoints
from skyfold.metrics.score_submission import prediction_stats, score_note, score_submission


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
