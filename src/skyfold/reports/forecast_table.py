"""Table of forecasts: the competition's figure of each, case by case, beside a baseline.

A case is a date on which a forecast is issued or, where samples belong to events, an event. A blurred forecast has a
lower error and hides where it rains most, so events also show the error where it rained, the skill at heavier rain, and
the figure at the competition's points, the dams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.metrics.forecast import (
    RAIN_RATE,
    ErrorBySkill,
    EventSkill,
    MeanAbsoluteError,
    mean_error_of,
    skill_of,
)
from skyfold.metrics.forecast_sums import ForecastSums, by_case, write_sums
from skyfold.metrics.points import at_points
from skyfold.reports.text_table import aligned, training_columns
from skyfold.store.fits import FitSummary, summary_of_fits
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, record_scores
from skyfold.types import JsonDict, Metric

WET = 0.1  # mm/h
HEAVIER = (1.0, 5.0)  # mm/h
CHUNK_ROWS = 64


@dataclass(frozen=True)
class ForecastRow:
    """One forecast, all samples pooled unless stated otherwise.

    score, error, skill  the competition's figure and its two parts
    per_case             (N,) the figure of each date or event
    difference           its score less the baseline's, paired over the same cases
    better               cases in which its figure is below the baseline's
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


def forecast_table(
    dataset: Dataset, folders: Mapping[str, Path], rows: np.ndarray, baseline: str | None = None
) -> ForecastTable:
    """Score the stored forecasts `folders`, by name, on the samples `rows`; scores and sums are stored in the folders.

    baseline: a name of `folders`; None: the first.
    """
    metric = error_by_skill(dataset)
    case_of = dataset.train.ids[rows] if dataset.train.groups is None else dataset.train.groups[rows].astype(str)
    are_events = dataset.train.groups is not None
    cases = sorted(set(case_of.tolist())) if are_events else case_of.tolist()
    figures = _figures(metric, are_events)
    stats = {name: _stats(figures, dataset, RowStore.open(folder / "oof"), rows) for name, folder in folders.items()}
    other = baseline or next(iter(folders))
    groups = case_of if are_events else None
    base = _per_case(metric, stats[other][metric.name], case_of, cases)
    table = []
    for name, own in stats.items():
        folder, contest = folders[name], own[metric.name]
        per_case = _per_case(metric, contest, case_of, cases)
        row = ForecastRow(
            name=name,
            score=metric.score(contest),
            error=mean_error_of(contest),
            skill=skill_of(contest, metric.skill),
            per_case=per_case,
            difference=paired_difference(metric, contest, stats[other][metric.name], groups=groups),
            better=int((per_case < base).sum()),
            ratio=_mean_ratio(per_case, base),
            beside={key: figures[key].metric.score(values) for key, values in own.items() if key != metric.name},
            seconds=read_info(folder).scores.get("seconds_a_date"),
            training=summary_of_fits(folder / "models", folds=dataset.folds),
        )
        table.append(row)
        record_scores(folder, _scores(row, metric, are_events))
        sums = {key: by_case(values, case_of, cases) if are_events else values for key, values in own.items()}
        write_sums(folder, ForecastSums(np.array(cases), dataset.competition.classes, sums))
    return ForecastTable(tuple(cases), are_events, metric, other, tuple(table))


def as_text(table: ForecastTable) -> str:
    """The table in aligned columns."""
    training = training_columns([row.training for row in table.rows])
    head = _event_head(table) if table.are_events else _date_head(table, [column[0] for column in training])
    lines = [[*head, *(column[0] for column in training)] if table.are_events else head]
    for number, row in enumerate(table.rows, start=1):
        own = [column[number] for column in training]
        lines.append([*_event_cells(table, row), *own] if table.are_events else _date_cells(table, row, own))
    return aligned(lines)


def error_by_skill(dataset: Dataset) -> ErrorBySkill:
    """The competition's metric; ConfigError where it is not an error over a skill."""
    metric = dataset.competition.metric
    if not isinstance(metric, ErrorBySkill):
        raise ConfigError(
            f"forecasts are compared by an error over a skill; '{dataset.competition.name}' has the metric "
            f"{metric.name}."
        )
    return metric


@dataclass(frozen=True)
class _Figure:
    metric: Metric
    at_points: bool = False


def _figures(metric: ErrorBySkill, are_events: bool) -> dict[str, _Figure]:
    """Figures by name, the competition's first."""
    figures = {metric.name: _Figure(metric)}
    if are_events:
        beside: list[MeanAbsoluteError | EventSkill] = [
            MeanAbsoluteError(RAIN_RATE, threshold=WET, error_from=WET, name="mae_where_wet")
        ]
        beside += [replace(EventSkill(RAIN_RATE, threshold=rate), name=f"csi_at_{rate:g}") for rate in HEAVIER]
        figures |= {one.name: _Figure(one) for one in beside}
        figures[f"{metric.name}_at_points"] = _Figure(metric, at_points=True)
    return figures


def _stats(
    figures: Mapping[str, _Figure], dataset: Dataset, stored: RowStore, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Sufficient statistics of each figure, a row a sample."""
    samples, points = dataset.train, dataset.competition.points
    assert samples.targets is not None
    parts: dict[str, list[np.ndarray]] = {name: [] for name in figures}
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS].tolist()
        target = np.stack([samples.targets[row] for row in chunk])
        valid = None if samples.valid is None else np.stack([samples.valid[row] for row in chunk])
        pred = np.stack([stored[row] for row in chunk])
        for name, figure in figures.items():
            if figure.at_points:
                known = None if valid is None else at_points(valid, points)
                own = figure.metric.stats(target=at_points(target, points), pred=at_points(pred, points), valid=known)
            else:
                own = figure.metric.stats(target=target, pred=pred, valid=valid)
            parts[name].append(own)
    return {name: np.concatenate(found) for name, found in parts.items()}


def _per_case(metric: ErrorBySkill, stats: np.ndarray, case_of: np.ndarray, cases: Sequence[str]) -> np.ndarray:
    return np.array([metric.score(stats[case_of == case]) for case in cases])


def _mean_ratio(per_case: np.ndarray, base: np.ndarray) -> float:
    comparable = np.isfinite(base) & (base > 0)
    return float((per_case[comparable] / base[comparable]).mean()) if comparable.any() else float("nan")


def _scores(row: ForecastRow, metric: ErrorBySkill, are_events: bool) -> JsonDict:
    """Infinite where nothing was hit, NaN where nothing is known: neither can be stored as JSON."""
    parts = {"ratio": row.ratio} if are_events else {"mae": row.error, metric.skill: row.skill}
    trained = {} if row.training is None else {"val_loss": row.training.val_loss, "minutes": row.training.minutes}
    scores = {metric.name: row.score, **parts, **trained}
    return {name: value for name, value in scores.items() if value is not None and np.isfinite(value)}


def _event_head(table: ForecastTable) -> list[str]:
    # Groups that a competition numbers would head columns by bare numbers.
    named = [f"event {case}" if case.isdecimal() else case for case in table.cases]
    skills = [f"CSI {rate:g}" for rate in HEAVIER]
    return ["forecast", *named, f"of {table.baseline}", "better", "all", "MAE wet", *skills, "dams", "ms"]


def _event_cells(table: ForecastTable, row: ForecastRow) -> list[str]:
    return [
        row.name,
        *(f"{figure:.3f}" for figure in row.per_case),
        f"{row.ratio:.3f}",
        f"{row.better}/{len(table.cases)}",
        f"{row.score:.3f}",
        *(f"{figure:.3f}" for figure in row.beside.values()),
        "" if row.seconds is None else f"{1000 * row.seconds:.1f}",
    ]


def _date_head(table: ForecastTable, training: Sequence[str]) -> list[str]:
    metric = table.metric
    against = f"less {table.baseline} (95 %)"
    return [
        "forecast",
        metric.name,
        "MAE",
        metric.skill.upper(),
        against,
        "better",
        "s a date",
        *training,
        *table.cases,
    ]


def _date_cells(table: ForecastTable, row: ForecastRow, training: Sequence[str]) -> list[str]:
    gain = row.difference
    return [
        row.name,
        f"{row.score:.3f}",
        f"{row.error:.3f}",
        f"{row.skill:.3f}",
        f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        f"{row.better}/{len(table.cases)}",
        "" if row.seconds is None else f"{row.seconds:.1f}",
        *training,
        *(f"{figure:.2f}" for figure in row.per_case),
    ]
