"""Table of forecasts: the competition's figure of each, case by case, beside a baseline.

A case is a date on which a forecast is issued or, where samples belong to events, an event. A blurred forecast has a
lower error and hides where it rains most, so events also show the error where it rained, the skill at heavier rain, and
the figure at the competition's points, the dams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, shortened
from skyfold.metrics.bootstrap import Interval
from skyfold.metrics.forecast import (
    RAIN_RATE,
    ErrorBySkill,
    mean_error_of,
    skill_of,
)
from skyfold.metrics.forecast_sums import ForecastSums, better_in, by_case, comparable, paired_by_case, write_sums
from skyfold.metrics.points import AtPoints
from skyfold.metrics.sample_stats import sample_stats
from skyfold.reports.text_table import aligned
from skyfold.store.fits import FitSummary, summary_of_fits
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, record_scores
from skyfold.types import IntPair, JsonDict, Metric

WET = 0.1  # mm/h
HEAVIER = (1.0, 5.0)  # mm/h
UNKNOWN = "-"  # nothing was observed, or no forecast hit anything


@dataclass(frozen=True)
class ForecastRow:
    """One forecast, all samples pooled unless stated otherwise.

    score, error, skill  the competition's figure and its two parts
    per_case             (N,) the figure of each date or event
    difference           its score less the baseline's, paired over the same cases
    better               cases in which its figure is below the baseline's
    compared             (N,) bool, cases in which it or the baseline hit anything; the others are in no comparison
    ratio                mean over cases of the figure over the baseline's; cases where this is 0, infinite or not
                         known are left out
    beside               further figures by name, of events
    seconds              to make one forecast; None: not known
    training             of a network, else None
    """

    name: str
    score: float
    error: float
    skill: float
    per_case: np.ndarray
    difference: Interval
    better: int
    compared: np.ndarray
    ratio: float
    beside: Mapping[str, float]
    seconds: float | None
    training: FitSummary | None = None


@dataclass(frozen=True)
class ForecastTable:
    """cases: (N,) names of dates or events; are_events: which of the two; baseline: name of the row compared with."""

    cases: tuple[str, ...]
    are_events: bool
    metric: ErrorBySkill
    baseline: str
    rows: tuple[ForecastRow, ...]


def forecast_metric(competition: Competition) -> ErrorBySkill:
    """The competition's metric; ConfigError where it is not an error over a skill."""
    metric = competition.metric
    if not isinstance(metric, ErrorBySkill):
        raise ConfigError(
            f"forecasts are compared by an error over a skill; '{competition.name}' has the metric {metric.name}."
        )
    return metric


def forecast_table(
    dataset: Dataset, folders: Mapping[str, Path], rows: np.ndarray, baseline: str | None = None
) -> ForecastTable:
    """Score the stored forecasts `folders`, by name, on the samples `rows`; scores and sums are stored in the folders.

    baseline: a name of `folders`; None: the first. ConfigError where the competition's metric is not an error over a
    skill.
    """
    metric = forecast_metric(dataset.competition)
    are_events = dataset.train.groups is not None
    case_of = dataset.train.ids[rows] if dataset.train.groups is None else dataset.train.groups[rows].astype(str)
    cases = sorted(set(case_of.tolist())) if are_events else case_of.tolist()
    figures = _figures(metric, dataset.competition.points, are_events)
    sums = {}
    for name, folder in folders.items():
        stats = sample_stats(figures, dataset.train, rows, RowStore.open(folder / "oof").checked.__getitem__)
        pooled = {key: by_case(values, case_of, cases) if are_events else values for key, values in stats.items()}
        sums[name] = ForecastSums(np.array(cases), dataset.competition.classes, pooled)
    other = baseline or next(iter(folders))
    base = metric.per_row(sums[other].contest)
    divides = np.isfinite(base) & (base > 0)
    table = []
    for name, own in sums.items():
        folder, per_case = folders[name], metric.per_row(own.contest)
        info = read_info(folder)
        row = ForecastRow(
            name=name,
            score=metric.score(own.contest),
            error=mean_error_of(own.contest),
            skill=skill_of(own.contest, metric.skill),
            per_case=per_case,
            difference=paired_by_case(own, sums[other]),
            better=better_in(own, sums[other]),
            compared=comparable(own, sums[other]),
            ratio=float((per_case[divides] / base[divides]).mean()) if divides.any() else float("nan"),
            beside={key: figures[key].score(values) for key, values in own.figures.items() if key != metric.name},
            seconds=info.scores.get("seconds_a_date"),
            training=summary_of_fits(folder / "models", folds=dataset.folds, seeds=info.seeds),
        )
        table.append(row)
        record_scores(folder, _scores(row, metric, are_events))
        write_sums(folder, own)
    return ForecastTable(tuple(cases), are_events, metric, other, tuple(table))


def as_text(table: ForecastTable) -> str:
    """The table in aligned columns, a row per forecast; below it the cases in which nothing can be compared."""
    rows, metric = table.rows, table.metric
    training = []
    if any(row.training for row in rows):
        losses = [row.training.val_loss if row.training else None for row in rows]
        training = [
            ["validation loss", *("" if loss is None else f"{loss:.5f}" for loss in losses)],
            ["minutes", *(f"{row.training.minutes:.1f}" if row.training else "" for row in rows)],
        ]
    better = ["better", *(f"{row.better}/{row.compared.sum()}" for row in rows)]
    if table.are_events:
        # Groups that a competition numbers would head columns by bare numbers.
        named = [f"event {case}" if case.isdecimal() else case for case in table.cases]
        beside = ["MAE wet", *(f"CSI {rate:g}" for rate in HEAVIER), "dams"]
        columns = [
            *_cases(table, named, 3),
            [f"of {table.baseline}", *(_figure(row.ratio, 3) for row in rows)],
            better,
            ["all", *(_figure(row.score, 3) for row in rows)],
            *(
                [head, *(_figure(row.beside[name], 3) for row in rows)]
                for head, name in zip(beside, rows[0].beside, strict=False)  # no dams where there are no points
            ),
            ["ms", *("" if row.seconds is None else f"{1000 * row.seconds:.1f}" for row in rows)],
            *training,
        ]
    else:
        gains = [row.difference for row in rows]
        columns = [
            [metric.name, *(f"{row.score:.3f}" for row in rows)],
            ["MAE", *(f"{row.error:.3f}" for row in rows)],
            [metric.skill.upper(), *(f"{row.skill:.3f}" for row in rows)],
            [
                f"less {table.baseline} (95 %)",
                *(
                    f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" if gain.known else UNKNOWN
                    for gain in gains
                ),
            ],
            better,
            ["s a date", *("" if row.seconds is None else f"{row.seconds:.1f}" for row in rows)],
            *training,
            *_cases(table, table.cases, 2),
        ]
    text = aligned(zip(["forecast", *(row.name for row in rows)], *columns, strict=True))
    return "\n".join([text, *_not_compared(table)])


def _not_compared(table: ForecastTable) -> list[str]:
    """A line for each forecast that hit nothing where the baseline hit nothing either."""
    cases = np.array(table.cases)
    return [
        f"{row.name} and {table.baseline} hit nothing in {shortened(cases[~row.compared].tolist())}: not compared there"
        for row in table.rows
        if row.name != table.baseline and not row.compared.all()
    ]


def _figures(metric: ErrorBySkill, points: Sequence[IntPair], are_events: bool) -> dict[str, Metric]:
    """Figures by name, the competition's first."""
    if not are_events:
        return {metric.name: metric}
    return {
        metric.name: metric,
        "mae_where_wet": ErrorBySkill(RAIN_RATE, threshold=WET, error_from=WET, part="error"),
        **{f"csi_at_{rate:g}": ErrorBySkill(RAIN_RATE, threshold=rate, skill="csi", part="skill") for rate in HEAVIER},
        **({f"{metric.name}_at_points": AtPoints(metric, points)} if points else {}),
    }


def _scores(row: ForecastRow, metric: ErrorBySkill, are_events: bool) -> JsonDict:
    """Infinite where nothing was hit, NaN where nothing is known: neither can be stored as JSON."""
    parts = {"ratio": row.ratio} if are_events else {"mae": row.error, metric.skill: row.skill}
    trained = {} if row.training is None else {"val_loss": row.training.val_loss, "minutes": row.training.minutes}
    scores = {metric.name: row.score, **parts, **trained}
    return {name: value for name, value in scores.items() if value is not None and np.isfinite(value)}


def _figure(value: float, digits: int) -> str:
    return UNKNOWN if np.isnan(value) else f"{value:.{digits}f}"


def _cases(table: ForecastTable, names: Sequence[str], digits: int) -> list[list[str]]:
    """A column per case: its name, then the figure of each forecast."""
    return [[name, *(f"{_figure(row.per_case[i], digits)}" for row in table.rows)] for i, name in enumerate(names)]
