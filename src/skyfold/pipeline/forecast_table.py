"""The table of forecasts: the contest's figure of each, year by year, beside the one they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.config.forecasts import ForecastConfig
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.metrics.forecast import ErrorBySkill, mean_error_of, skill_of
from skyfold.metrics.forecast_sums import ForecastSums, write_sums
from skyfold.pipeline.forecast_data import ForecastData, stored_forecasts
from skyfold.reports.leaderboard import aligned, training_columns
from skyfold.store.fits import FitSummary, summary_of_fits
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, record_scores
from skyfold.types import JsonDict
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class ForecastRow:
    """One forecast. per_date: (n,) the contest's figure of each date; error, skill: its two parts, dates pooled;
    difference: its score less that of the forecast it is compared with, on the same dates; better: on how many;
    training: of a network, else None."""

    name: str
    score: float
    error: float
    skill: float
    per_date: np.ndarray
    difference: Interval
    better: int
    seconds: float | None
    training: FitSummary | None = None


def forecast_table(config: ForecastConfig, data: ForecastData, workspace: Workspace) -> list[ForecastRow]:
    """Score every stored forecast on the dates of the table, in the order of the config; keep scores and sums."""
    metric = data.competition.metric
    assert isinstance(metric, ErrorBySkill)
    rows = data.scored(config)
    stats = {
        model.name: _stats(metric, data, stored_forecasts(workspace.run(config.data.folder, model.name)), rows)
        for model in config.forecasts
    }
    against = stats[config.baseline or config.forecasts[0].name]
    table = []
    for name, own in stats.items():
        folder = workspace.run(config.data.folder, name)
        difference = paired_difference(metric, own, against)
        table.append(
            ForecastRow(
                name=name,
                score=metric.score(own),
                error=mean_error_of(own),
                skill=skill_of(own, metric.skill),
                per_date=metric.per_row(own),
                difference=difference,
                better=int((metric.per_row(own) < metric.per_row(against)).sum()),
                seconds=read_info(folder).scores.get("seconds_a_date"),
                training=summary_of_fits(folder / "models", folds=data.folds),
            )
        )
        record_scores(folder, _scores(table[-1], metric))
        write_sums(folder, ForecastSums(data.samples.ids[rows], data.competition.classes, {metric.name: own}))
    return table


def as_text(config: ForecastConfig, data: ForecastData, table: list[ForecastRow]) -> str:
    """Aligned columns: the figures, then one column a date."""
    metric = data.competition.metric
    assert isinstance(metric, ErrorBySkill)
    against = config.baseline or config.forecasts[0].name
    dates = [str(date) for date in data.samples.ids[data.scored(config)].tolist()]
    training = training_columns([row.training for row in table])
    head = [
        "forecast",
        metric.name,
        "MAE",
        metric.skill.upper(),
        f"less {against} (95 %)",
        "better",
        "s a date",
        *(column[0] for column in training),
        *dates,
    ]
    lines = [head]
    for number, row in enumerate(table, start=1):
        gain = row.difference
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        lines.append(
            [
                row.name,
                f"{row.score:.3f}",
                f"{row.error:.3f}",
                f"{row.skill:.3f}",
                f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
                f"{row.better}/{len(dates)}",
                seconds,
                *(column[number] for column in training),
                *(f"{figure:.2f}" for figure in row.per_date),
            ]
        )
    return aligned(lines)


def _stats(metric: ErrorBySkill, data: ForecastData, stored: RowStore, rows: np.ndarray) -> np.ndarray:
    samples = data.samples
    assert samples.targets is not None
    parts = []
    for row in rows.tolist():
        valid = None if samples.valid is None else samples.valid[row][None]
        parts.append(metric.stats(target=samples.targets[row][None], pred=stored[row][None], valid=valid))
    return np.concatenate(parts)


def _scores(row: ForecastRow, metric: ErrorBySkill) -> JsonDict:
    """What is kept beside the run; a figure that is infinite, of a forecast without a hit, is left out."""
    scores = {metric.name: row.score, "mae": row.error, metric.skill: row.skill}
    if row.training is not None:
        scores |= {"val_loss": row.training.val_loss, "minutes": row.training.minutes}
    return {name: value for name, value in scores.items() if np.isfinite(value)}
