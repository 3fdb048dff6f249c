"""The table of rain forecasts: the contest's figure of each, event by event, and what a blur would hide.

A blurred forecast errs less and says nothing of where it pours. So beside MAE / CSI stand the error where it rained,
the skill at heavier rain, and the figure at the competition's points alone, the dams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyfold.config.forecasts import ForecastConfig
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.metrics.forecast import RAIN_RATE, ErrorBySkill, EventSkill, MeanAbsoluteError
from skyfold.metrics.forecast_sums import ForecastSums, by_case, write_sums
from skyfold.metrics.points import at_points
from skyfold.pipeline.forecast_data import ForecastData, stored_forecasts
from skyfold.reports.leaderboard import aligned, training_columns
from skyfold.store.fits import FitSummary, summary_of_fits
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, record_scores
from skyfold.workspace import Workspace

WET = 0.1  # mm/h
HEAVIER = (1.0, 5.0)  # mm/h
CHUNK_ROWS = 64


@dataclass(frozen=True)
class EventRow:
    """One forecast, all samples pooled but where said.

    per_event   (E,) the contest's figure of each event
    ratio       mean over events of the figure, over that of the forecast it is compared with; events are left out where
                this is 0, infinite or not known
    difference  its figure less the other's, with an interval over events
    better      on how many events it is below the other
    wet_error   mean absolute error where at least 0.1 mm/h fell; heavier: CSI at 1 and 5 mm/h
    over_dams   the contest's figure of the dams' pixels alone; seconds: to make one forecast; None: not known
    training    of a network, else None
    """

    name: str
    score: float
    per_event: np.ndarray
    ratio: float
    difference: Interval
    better: int
    wet_error: float
    heavier: tuple[float, ...]
    over_dams: float
    seconds: float | None
    training: FitSummary | None = None


@dataclass(frozen=True)
class _Sums:
    """stats of a forecast, a row a sample: of the contest's metric, over wet pixels, at heavier rain, over the dams."""

    contest: np.ndarray
    wet: np.ndarray
    heavier: tuple[np.ndarray, ...]
    dams: np.ndarray


def event_table(config: ForecastConfig, data: ForecastData, workspace: Workspace) -> tuple[list[str], list[EventRow]]:
    """Events, and every stored forecast scored on them in the order of the config; scores and sums are kept."""
    metric = data.competition.metric
    assert isinstance(metric, ErrorBySkill)
    assert data.samples.groups is not None
    rows = data.scored(config)
    group_of = data.samples.groups[rows].astype(str)
    events = sorted(set(group_of.tolist()))
    sums = {
        model.name: _sums(metric, data, stored_forecasts(workspace.run(config.data.folder, model.name)), rows)
        for model in config.forecasts
    }
    against = sums[config.baseline or config.forecasts[0].name].contest
    base = _per_event(metric, against, group_of, events)
    table = []
    for name, own in sums.items():
        folder = workspace.run(config.data.folder, name)
        per_event = _per_event(metric, own.contest, group_of, events)
        table.append(
            EventRow(
                name=name,
                score=metric.score(own.contest),
                per_event=per_event,
                ratio=_mean_ratio(per_event, base),
                difference=paired_difference(metric, own.contest, against, groups=group_of),
                better=int((per_event < base).sum()),
                wet_error=_wet().score(own.wet),
                heavier=tuple(_at(level).score(stats) for level, stats in zip(HEAVIER, own.heavier, strict=True)),
                over_dams=metric.score(own.dams),
                seconds=read_info(folder).scores.get("seconds_a_date"),
                training=summary_of_fits(folder / "models", folds=data.folds),
            )
        )
        training = table[-1].training
        known = {} if training is None else {"val_loss": training.val_loss, "minutes": training.minutes}
        scores = {metric.name: table[-1].score, "ratio": table[-1].ratio, **known}
        # Infinite where nothing was hit, NaN where nothing is known: neither can be kept as JSON.
        record_scores(folder, {name: value for name, value in scores.items() if np.isfinite(value)})
        figures = {name: by_case(stats, group_of, events) for name, stats in _named(metric, own).items()}
        write_sums(folder, ForecastSums(np.array(events), data.competition.classes, figures))
    return events, table


def as_text(config: ForecastConfig, events: Sequence[str], table: Sequence[EventRow]) -> str:
    """Aligned columns: the contest's figure by event, what it is of the other's, and what stands beside."""
    against = config.baseline or config.forecasts[0].name
    # Groups that a competition numbers would head columns by bare numbers.
    named = [f"event {event}" if event.isdecimal() else event for event in events]
    head = ["forecast", *named, f"of {against}", "better", "all", "MAE wet"]
    head += [f"CSI {level:g}" for level in HEAVIER] + ["dams", "ms"]
    training = training_columns([row.training for row in table])
    lines = [head + [column[0] for column in training]]
    for number, row in enumerate(table, start=1):
        lines.append(
            [
                row.name,
                *(f"{figure:.3f}" for figure in row.per_event),
                f"{row.ratio:.3f}",
                f"{row.better}/{len(events)}",
                f"{row.score:.3f}",
                f"{row.wet_error:.3f}",
                *(f"{skill:.3f}" for skill in row.heavier),
                f"{row.over_dams:.3f}",
                "" if row.seconds is None else f"{1000 * row.seconds:.1f}",
                *(column[number] for column in training),
            ]
        )
    return aligned(lines)


def _sums(metric: ErrorBySkill, data: ForecastData, stored: RowStore, rows: np.ndarray) -> _Sums:
    samples, points = data.samples, data.competition.points
    assert samples.targets is not None
    parts = []
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS].tolist()
        target = np.stack([samples.targets[row] for row in chunk])
        valid = None if samples.valid is None else np.stack([samples.valid[row] for row in chunk])
        pred = np.stack([stored[row] for row in chunk])
        at_dams = {"target": at_points(target, points), "pred": at_points(pred, points)}
        parts.append(
            (
                metric.stats(target=target, pred=pred, valid=valid),
                _wet().stats(target=target, pred=pred, valid=valid),
                *(_at(level).stats(target=target, pred=pred, valid=valid) for level in HEAVIER),
                metric.stats(**at_dams, valid=None if valid is None else at_points(valid, points)),
            )
        )
    contest, wet, *heavier, dams = (np.concatenate(stats) for stats in zip(*parts, strict=True))
    return _Sums(contest, wet, tuple(heavier), dams)


def _named(metric: ErrorBySkill, sums: _Sums) -> dict[str, np.ndarray]:
    heavier = {_at(level).name: stats for level, stats in zip(HEAVIER, sums.heavier, strict=True)}
    return {metric.name: sums.contest, _wet().name: sums.wet, **heavier, f"{metric.name}_at_points": sums.dams}


def _per_event(metric: ErrorBySkill, stats: np.ndarray, group_of: np.ndarray, events: Sequence[str]) -> np.ndarray:
    return np.array([metric.score(stats[group_of == event]) for event in events])


def _mean_ratio(per_event: np.ndarray, base: np.ndarray) -> float:
    comparable = np.isfinite(base) & (base > 0)
    return float((per_event[comparable] / base[comparable]).mean()) if comparable.any() else float("nan")


def _wet() -> MeanAbsoluteError:
    return MeanAbsoluteError(RAIN_RATE, threshold=WET, error_from=WET, name="mae_where_wet")


def _at(level: float) -> EventSkill:
    return replace(EventSkill(RAIN_RATE, threshold=level), name=f"csi_at_{level:g}")
