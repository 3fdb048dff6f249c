"""Pictures of a stored forecast: maps beside the truth, animations, reliability of its event, error by lead time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError, OofMismatch
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.metrics.forecast import ErrorBySkill
from skyfold.metrics.forecast_sums import ForecastSums, read_sums
from skyfold.metrics.reliability import event_counts
from skyfold.plugins import nearest
from skyfold.reports.forecast_curves import draw_by_lead, draw_reliability
from skyfold.reports.forecast_maps import SCALES, DrawnForecast, draw_animation, draw_sheet
from skyfold.store import runs
from skyfold.store.rows import RowStore
from skyfold.types import Samples
from skyfold.workspace import Workspace

QUANTILES = (0.15, 0.5, 0.85)  # of the figure, where nobody says which samples to draw: good ones and bad ones alike
KNOWN_FRAMES = 12  # of an animation at most
BINS = 25


def draw_pictures(
    config: ForecastConfig,
    workspace: Workspace,
    forecast: str | None = None,
    ids: Sequence[str] = (),
) -> list[Path]:
    """Draw `forecast` (None: the config's last one) into `pictures` in its folder; returns the files.

    ids: of the samples to draw; none: those at three quantiles of the contest's figure.
    ConfigError and OofMismatch name a forecast or a sample that is not there, and a forecast that was made with another
    config, or scored by another one last.
    """
    names = [model.name for model in config.forecasts]
    name = forecast or names[-1]
    if name not in names:
        raise ConfigError(f"no forecast '{name}'{nearest(name, names)}. There are: {', '.join(names)}.")
    data = open_dataset(config.data, workspace)
    metric = data.competition.metric
    assert isinstance(metric, ErrorBySkill)
    folder = workspace.run(config.data.folder, name)
    rows = data.eval_rows(config.eval_years)
    sums = {name: _sums_of(folder, data, rows)}
    if config.baseline not in (None, name):
        sums[str(config.baseline)] = _sums_of(workspace.run(config.data.folder, str(config.baseline)), data, rows)
    _refuse_changed(config.forecasts[names.index(name)], folder)
    stored = RowStore.open(folder / "oof")
    scores, counts, edges = _measured(data.train, stored, rows, metric)
    pictures = folder / "pictures"
    title = f"{config.data.folder}, {name}"
    drawn = []
    for row in _rows_of(ids, data.train, stored) if ids else _at_quantiles(rows, scores):
        one = _drawn(data, stored, row)
        label = str(data.train.ids[row])
        own = metric.per_row(metric.stats(target=one.truth[None], pred=one.forecast[None], valid=one.valid[None]))[0]
        figure = f"MAE / {metric.skill.upper()} {own:.3f}"
        issued = label if data.train.times is None else f"issued {label}"
        sheet, movie = pictures / f"{Path(label).stem}.png", pictures / f"{Path(label).stem}.gif"
        draw_sheet(sheet, one, metric, f"{title}: {issued}, {figure} {_edge_in_words(metric)}")
        draw_animation(movie, one, metric, f"{title}: {issued}, {figure}")
        drawn += [sheet, movie]
    reliability, by_lead = pictures / "reliability.png", pictures / "by_lead.png"
    logarithmic = SCALES[metric.unit.name].least > 0
    samples = f"{len(rows)} samples, out of fold"
    draw_reliability(reliability, counts, edges, metric, f"{title}, {samples}", logarithmic=logarithmic)
    draw_by_lead(by_lead, sums, f"{title}, {samples}")
    return [*drawn, reliability, by_lead]


def _sums_of(folder: Path, data: Dataset, rows: np.ndarray) -> ForecastSums:
    """Those kept beside the forecast in `folder`; OofMismatch where they are not of `rows`."""
    sums = read_sums(folder)
    cases = data.train.ids[rows] if data.train.groups is None else data.train.groups[rows].astype(str)
    if set(sums.cases.tolist()) != set(cases.tolist()):
        raise OofMismatch(
            f"{folder}: scored last on {len(sums.cases)} other dates or events than this config's. Run `skyfold run` "
            "with this config again; what is forecast already is not made anew."
        )
    return sums


def _refuse_changed(model: ForecastModel, folder: Path) -> None:
    """OofMismatch where the forecast in `folder` was made as another config has it."""
    info = runs.read_info(folder)
    if model.run is None:
        changed = [key for key, value in model.model_dump(mode="json").items() if info.config.get(key) != value]
    else:
        changed = ["its run"] if model.run.hash() != info.fingerprint.rows else []
    if changed:
        raise OofMismatch(
            f"{folder}: this forecast was made with another config (changed: {', '.join(changed)}). Give the new one "
            "another name and make it with `skyfold run`, or take back what was changed."
        )


def _measured(
    samples: Samples, stored: RowStore, rows: np.ndarray, metric: ErrorBySkill
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The figure of each row, and the counts for the reliability with the edges of their bins."""
    scale = SCALES[metric.unit.name]
    least = scale.least / 10 or scale.greatest / BINS
    edges = np.geomspace(least, scale.greatest, BINS) if scale.least else np.linspace(least, scale.greatest, BINS)[:-1]
    scores, counts = [], np.zeros((2, len(edges) + 1), dtype=np.int64)
    for row in rows.tolist():
        truth, valid = _truth(samples, row)
        forecast = stored[row]
        scores.append(metric.per_row(metric.stats(target=truth[None], pred=forecast[None], valid=valid[None]))[0])
        counts += event_counts(target=truth, pred=forecast, valid=valid, edges=edges, threshold=metric.threshold)
    return np.array(scores), counts, edges


def _rows_of(ids: Sequence[str], samples: Samples, stored: RowStore) -> list[int]:
    place = {name: row for row, name in enumerate(samples.ids.tolist())}
    for name in ids:
        if name not in place:
            raise ConfigError(f"no sample '{name}'{nearest(name, list(place))}.")
        if not stored.complete[place[name]]:
            raise OofMismatch(f"sample '{name}' was not forecast: no fold validates it.")
    return [place[name] for name in ids]


def _at_quantiles(rows: np.ndarray, scores: np.ndarray) -> list[int]:
    """A sample without rain, whose skill is nothing, stands for none."""
    telling = np.flatnonzero(np.isfinite(scores) & (scores > 0))
    if not len(telling):
        return [int(rows[0])]
    ranked = telling[np.argsort(scores[telling], kind="stable")]
    places = np.round(np.array(QUANTILES) * (len(ranked) - 1)).astype(int)
    return list(dict.fromkeys(rows[ranked[places]].tolist()))


def _drawn(data: Dataset, stored: RowStore, row: int) -> DrawnForecast:
    inputs = data.train.inputs
    assert isinstance(inputs, PastFramesSource)
    history = inputs.history(row)
    truth, valid = _truth(data.train, row)
    known = history.frames[-KNOWN_FRAMES:].astype(np.float32)
    return DrawnForecast(
        forecast=np.where(valid, stored[row], np.float32(0)),
        truth=truth,
        valid=valid,
        known=known,
        leads=tuple(
            _time(data, history, row, int(lead_times), name) for lead_times, name in _wanted(history, data.competition)
        ),
        frames=tuple(_time(data, history, row, -back, _back(back)) for back in range(len(known) - 1, -1, -1)),
    )


def _truth(samples: Samples, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, L) each."""
    assert samples.targets is not None
    truth = np.asarray(samples.targets[row], dtype=np.float32)
    valid = np.ones(truth.shape, dtype=bool) if samples.valid is None else samples.valid[row]
    return truth, np.broadcast_to(valid if valid.ndim == truth.ndim else valid[..., None], truth.shape)


def _wanted(history: PastFrames, competition: Competition) -> list[tuple[int, str]]:
    return list(zip(history.lead_times.tolist(), competition.classes, strict=True))


def _time(data: Dataset, history: PastFrames, row: int, frames: int, otherwise: str) -> str:
    """The date `frames` after the last known one, where samples have dates."""
    if data.train.times is None or data.competition.horizon is None:
        return otherwise
    step = data.competition.horizon // int(history.lead_times[-1])
    return str(data.train.times[row] + (frames - int(history.lead_times[0])) * step)


def _back(frames: int) -> str:
    return "the last frame" if frames == 0 else f"{frames} before the last"


def _edge_in_words(metric: ErrorBySkill) -> str:
    return f"(line: {metric.threshold:g} {metric.unit.name} in the truth)"
