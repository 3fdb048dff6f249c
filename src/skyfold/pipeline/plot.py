"""Figures of a stored forecast: maps beside the ground truth, animations, reliability, error by lead time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError, OofMismatch
from skyfold.forecasting.past_frames import PastFrames, past_frames
from skyfold.metrics.forecast import ErrorBySkill
from skyfold.metrics.forecast_sums import ForecastSums, read_sums
from skyfold.metrics.reliability import event_counts
from skyfold.metrics.sample_stats import sample_stats
from skyfold.pipeline.baselines import truth_of
from skyfold.plugins import nearest
from skyfold.reports.forecast_curves import draw_by_lead, draw_reliability
from skyfold.reports.forecast_maps import SCALES, DrawnForecast, draw_animation, draw_sheet
from skyfold.store import runs
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.rows import RowStore
from skyfold.types import Samples
from skyfold.workspace import Workspace

QUANTILES = (0.15, 0.5, 0.85)  # of the score, where no sample is named: a good, a median and a bad one
KNOWN_FRAMES = 12  # of an animation at most
BINS = 25


def draw_pictures(
    config: ForecastConfig,
    workspace: Workspace,
    forecast: str | None = None,
    ids: Sequence[str] = (),
    worst: int | None = None,
) -> list[Path]:
    """Draw `forecast` (None: the config's last one) into `pictures` in its folder; returns the files.

    ids: of the samples to draw; worst: how many of the worst are drawn, too; with neither, those at three quantiles of
    the competition's score. ConfigError on a forecast or
    a sample that does not exist; OofMismatch on a forecast that is not stored, was made with another config, or was
    last scored on other dates.
    """
    names = [model.name for model in config.forecasts]
    name = forecast or names[-1]
    if name not in names:
        raise ConfigError(f"no forecast '{name}'{nearest(name, names)}. There are: {', '.join(names)}.")
    data = open_dataset(config.data, workspace)
    metric = data.competition.metric
    assert isinstance(metric, ErrorBySkill)
    folder, rows = workspace.run(config.data.folder, name), data.eval_rows(config.eval_years)
    drawn = dict.fromkeys([name, config.baseline or name])
    sums = {one: _sums_of(workspace.run(config.data.folder, one), data, rows) for one in drawn}
    _refuse_changed(config.forecasts[names.index(name)], folder)
    stored = RowStore.open(folder / "oof")

    def scores(rows: np.ndarray) -> np.ndarray:
        stats = sample_stats({metric.name: metric}, data.train, rows, stored.checked.__getitem__)
        return metric.per_row(stats[metric.name])

    chosen = _rows_of(ids, data.train, stored)
    if worst or not ids:
        chosen = np.append(chosen, _ranked(rows, scores(rows), worst))
    title, pictures, files = f"{config.data.folder}, {name}", folder / "pictures", []
    for row, score in zip(chosen.tolist(), scores(chosen), strict=True):
        label = str(data.train.ids[row])
        issued = label if data.train.times is None else f"issued {label}"
        heading = f"{title}: {issued}, MAE / {metric.skill.upper()} {score:.3f}"
        line = f"(line: {metric.threshold:g} {metric.unit.name} in the truth)"
        sheet, movie = pictures / f"{Path(label).stem}.png", pictures / f"{Path(label).stem}.gif"
        one = _drawn(data, stored, row)
        draw_sheet(sheet, one, metric, f"{heading} {line}")
        draw_animation(movie, one, metric, heading)
        files += [sheet, movie]
    title = f"{title}, {len(rows)} samples, out of fold"
    reliability, by_lead = pictures / "reliability.png", pictures / "by_lead.png"
    edges = _edges(metric)
    counts = np.zeros((2, len(edges) + 1), dtype=np.int64)
    for row in rows.tolist():
        truth, valid = truth_of(data.train, row)
        counts += event_counts(target=truth, pred=stored[row], valid=valid, edges=edges, threshold=metric.threshold)
    logarithmic = SCALES[metric.unit.name].limits[0] > 0
    draw_reliability(reliability, counts, edges, metric, title, logarithmic=logarithmic)
    draw_by_lead(by_lead, sums, title)
    return [*files, reliability, by_lead]


def _sums_of(folder: Path, data: Dataset, rows: np.ndarray) -> ForecastSums:
    """The sums stored beside the forecast in `folder`; OofMismatch where they are not of `rows`."""
    sums = read_sums(folder)
    cases = data.train.ids[rows] if data.train.groups is None else data.train.groups[rows].astype(str)
    if set(sums.cases.tolist()) != set(cases.tolist()):
        raise OofMismatch(
            f"{folder}: scored last on {len(sums.cases)} other dates or events than this config's. Run `skyfold run` "
            "with this config again; stored forecasts are not made again."
        )
    return sums


def _refuse_changed(model: ForecastModel, folder: Path) -> None:
    """OofMismatch where the forecast in `folder` was made with another config."""
    info = runs.read_info(folder)
    if model.run is None:
        changed = [key for key, value in model.model_dump(mode="json").items() if info.config.get(key) != value]
    else:
        other = runs.current_fingerprint(info).different(Fingerprint(rows=model.run.hash()))
        changed = ["its run"] if other else []
    if changed:
        raise OofMismatch(
            f"{folder}: this forecast was made with another config (changed: {', '.join(changed)}). Give the new one "
            "another name and make it with `skyfold run`, or take back what was changed."
        )


def _edges(metric: ErrorBySkill) -> np.ndarray:
    """Edges of the bins of the reliability diagram, spaced as the scale of the maps."""
    least, greatest = SCALES[metric.unit.name].limits
    if least > 0:
        return np.geomspace(least / 10, greatest, BINS)
    return np.linspace(greatest / BINS, greatest, BINS)[:-1]


def _rows_of(ids: Sequence[str], samples: Samples, stored: RowStore) -> np.ndarray:
    place = {name: row for row, name in enumerate(samples.ids.tolist())}
    for name in ids:
        if name not in place:
            raise ConfigError(f"no sample '{name}'{nearest(name, list(place))}.")
        if not stored.complete[place[name]]:
            raise OofMismatch(f"sample '{name}' was not forecast: no fold validates it.")
    return np.array([place[name] for name in ids], dtype=np.int64)


def _ranked(rows: np.ndarray, scores: np.ndarray, worst: int | None) -> np.ndarray:
    """The `worst`, the worst first, of None those at the quantiles. Samples whose score is 0 or infinite, of a day
    without rain for instance, are left out."""
    telling = np.flatnonzero(np.isfinite(scores) & (scores > 0))
    if not len(telling):
        return rows[:1]
    ranked = telling[np.argsort(scores[telling], kind="stable")]
    if worst:
        return rows[ranked[: -worst - 1 : -1]]
    places = np.round(np.array(QUANTILES) * (len(ranked) - 1)).astype(int)
    return rows[ranked[np.unique(places)]]


def _drawn(data: Dataset, stored: RowStore, row: int) -> DrawnForecast:
    history = past_frames(data.train).history(row)
    truth, valid = truth_of(data.train, row)
    known = history.frames[-KNOWN_FRAMES:].astype(np.float32)
    back = {-frames: f"{frames} before the last" if frames else "the last frame" for frames in range(len(known))}
    ahead = dict(zip(history.lead_times.tolist(), data.competition.classes, strict=True))
    return DrawnForecast(
        forecast=np.where(valid, stored[row], np.float32(0)),
        truth=truth,
        valid=valid,
        known=known,
        leads=tuple(_time(data, history, row, frames, name) for frames, name in ahead.items()),
        frames=tuple(_time(data, history, row, frames, name) for frames, name in reversed(back.items())),
    )


def _time(data: Dataset, history: PastFrames, row: int, frames: int, otherwise: str) -> str:
    """The date `frames` after the last known one, where samples have dates."""
    if data.train.times is None or data.competition.horizon is None:
        return otherwise
    step = data.competition.horizon // int(history.lead_times[-1])
    return str(data.train.times[row] + (frames - int(history.lead_times[0])) * step)
