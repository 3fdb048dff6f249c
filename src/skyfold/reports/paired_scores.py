"""Scores of two stored runs, blends or forecasts, and their paired difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from skyfold.competition import build
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.bootstrap import Interval
from skyfold.metrics.forecast_sums import FILE, better_in, comparable, paired_by_case, read_sums
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.postprocess.evaluate import SampleScores, difference, read_sample_scores
from skyfold.store.runs import RunInfo, read_info
from skyfold.types import Metric

SCORES = {"cv_at_0.5": "at 0.5", "cv_in_sample": "in-sample", "cv_cross_fitted": "cross-fitted"}


@dataclass(frozen=True)
class PairedScores:
    """Two entries of a leaderboard side by side.

    metrics  name of the metric of each
    scores   label -> score of each, None where it is missing
    gain     first minus second, paired, with its interval; or the reason why they are not paired
    what     what `gain` is over, in words
    sample   what is paired, in words
    inputs   what both were made from, in words
    """

    metrics: tuple[str, str]
    scores: Mapping[str, tuple[float | None, float | None]]
    gain: Interval | str
    what: str = "cross-fitted, paired"
    sample: str = "image by image"
    inputs: str = "training images and masks"


def pair_rows(first: Path, second: Path) -> PairedScores:
    """Scores of two runs or blends in these folders, paired by the samples of their `rows.csv`."""
    one, other = read_info(first), read_info(second)
    metrics = str(one.scores.get("metric", "mean_dice")), str(other.scores.get("metric", "mean_dice"))
    gain: Interval | str = f"{one.name} is scored by {metrics[0]}, {other.name} by {metrics[1]}"
    unscored = [info.name for info in (one, other) if "cv_cross_fitted" not in info.scores]
    if unscored:
        gain = f"{' and '.join(unscored)} not scored yet"
    elif metrics[0] == metrics[1]:
        try:
            gain = difference(first / "rows.csv", second / "rows.csv", metric=metric_of(one))
        except (OofMismatch, ConfigError) as error:
            gain = str(error)
    scores = {label: (one.scores.get(name), other.scores.get(name)) for name, label in SCORES.items()}
    return PairedScores(metrics, scores, gain)


def pair_sums(first: Path, second: Path) -> PairedScores:
    """Scores of two forecasts in these folders, paired by the dates or events of their `sums.csv`."""
    metrics, scores = ("score", "score"), dict[str, tuple[float | None, float | None]]()
    gain: Interval | str
    what = ""
    try:
        ours, theirs = read_sums(first), read_sums(second)
        metrics = ours.metric.name, theirs.metric.name
        own, others = (float(sums.metric.score(sums.contest)) for sums in (ours, theirs))
        scores["out of fold, less is better"] = own, others
        both, compared = paired_by_case(ours, theirs), int(comparable(ours, theirs).sum())
        gain = both if both.known else "neither hit anything in any of the same dates or events"
        what = f"paired, better in {better_in(ours, theirs)} of {compared} dates or events in which one of them hit"
        if compared == len(ours.cases):
            what = what.removesuffix(" in which one of them hit")
    except OofMismatch as error:
        gain = str(error)
    return PairedScores(metrics, scores, gain, what, "date by date", "frames")


def scores_of_rows(folder: Path) -> SampleScores:
    """Statistics of each sample of the run or blend in `folder`. OofMismatch where it was not scored yet."""
    info = read_info(folder)
    if "cv_cross_fitted" not in info.scores:
        raise OofMismatch(f"{info.name} not scored yet")
    return read_sample_scores(folder / "rows.csv", metric_of(info))


def scores_of_sums(folder: Path) -> SampleScores:
    """Statistics of each date or event of the forecast in `folder`. OofMismatch where it was not scored yet."""
    sums = read_sums(folder)
    rows = pd.DataFrame({"id": sums.cases, "fold": 0, "group": sums.cases})
    columns = tuple(f"{lead} {i}" for lead in sums.leads for i in range(sums.contest.shape[1] // len(sums.leads)))
    return SampleScores(folder / FILE, sums.metric, rows, columns, sums.contest)


def metric_of(info: RunInfo) -> Metric:
    """The metric that a run or blend was scored by; ConfigError where neither skyfold nor its competition has it."""
    name = str(info.scores.get("metric", "mean_dice"))
    if name in METRICS or "data" not in info.config:
        return named_metric(name)
    return build(info.config["data"]["competition"], info.config["data"]["options"]).metric
