"""Series of truth and forecasts at the stations of a competition, the dams of hydro_rain for instance, by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from skyfold.competition import build
from skyfold.config.data import DataConfig
from skyfold.data.dataset import Dataset
from skyfold.metrics.forecast_sums import PARTS, ForecastSums
from skyfold.metrics.points import at_points
from skyfold.pipeline.baselines import truth_of
from skyfold.pipeline.outdated import data_at_hand
from skyfold.pipeline.site.stored import StoredEntry
from skyfold.reports.site.charts import Line, line_chart
from skyfold.reports.site.pages import Section
from skyfold.types import IntPair, JsonDict
from skyfold.workspace import Workspace

EVENTS = 4  # those with most of what is forecast
FORECASTS = 3  # the best
SAMPLES = 200  # of an event, from its start
TRUTH = 7  # colour


def point_sections(
    sums: Mapping[str, ForecastSums],
    entries: Mapping[str, StoredEntry],
    data: JsonDict | None,
    workspace: Workspace,
    at_hand: dict[str, Dataset | None],
) -> list[Section]:
    """A section for each event, with a chart for each station where truth or forecast reach the threshold of the
    metric; none where the competition has no stations, samples are of no events, or data cannot be read.

    sums: of forecasts of the same events, the best first, by folder; data: block of a config, None: that of a network
    among `entries`; at_hand: as of `outdated.data_of`.
    """
    data = data or next((own.info.config["data"] for own in entries.values() if "data" in own.info.config), None)
    if data is None:
        return []
    config = DataConfig.model_validate(data)
    if not build(config.competition, config.options, workspace.data(config.folder)).points:
        return []
    dataset = data_at_hand(data, workspace, at_hand)
    if dataset is None or dataset.train.groups is None:
        return []
    best = {key: entries[key] for key in list(sums)[:FORECASTS] if entries[key].has_rows_of(dataset.train.ids)}
    event_of, first = dataset.train.groups.astype(str), next(iter(sums.values()))
    parts = dict(zip(PARTS, np.moveaxis(first.contest.reshape(len(first.cases), len(PARTS), -1), 1, 0), strict=True))
    observed = (parts["hits"] + parts["misses"]).sum(axis=1)
    rainiest = [first.cases[place] for place in np.argsort(-observed, kind="stable")[:EVENTS] if observed[place]]
    return [section for event in rainiest if (section := _section(event, event_of == event, best, dataset, first))]


def _section(
    event: str, of_event: np.ndarray, best: Mapping[str, StoredEntry], dataset: Dataset, sums: ForecastSums
) -> Section | None:
    forecast = np.all([own.oof.complete for own in best.values()], axis=0) if best else np.zeros(len(of_event), bool)
    rows = np.flatnonzero(of_event & forecast)[:SAMPLES]
    if not len(rows):
        return None
    points, lead = dataset.competition.points, dataset.competition.classes[0]
    known = [_values(*truth_of(dataset.train, row), points) for row in rows.tolist()]
    lines = {"truth": np.array(known)}
    lines |= {own.info.name: np.array([_values(own.oof[row], None, points) for row in rows]) for own in best.values()}
    charts: list[Markup] = []
    dry = []
    for place, (row, column) in enumerate(points):
        series = {name: values[:, place] for name, values in lines.items()}
        if all(not (values >= sums.metric.threshold).any() for values in series.values()):
            dry.append(f"({row}, {column})")
            continue
        drawn = [
            Line(name, range(1, len(rows) + 1), values.tolist(), colour, dashed=colour == TRUTH)
            for colour, (name, values) in zip((TRUTH, *range(FORECASTS)), series.items(), strict=False)
        ]
        label = f"{sums.metric.unit.name} at ({row}, {column}), {lead}"
        charts.append(line_chart(drawn, x="sample of the event", y=label, from_zero=True))
    many = f"The first {len(rows)} samples. " if len(rows) == SAMPLES else ""
    reached = f"{sums.metric.threshold:g} {sums.metric.unit.name}"
    silent = f" Below {reached} throughout: {', '.join(dry)}." if dry else ""
    note = f"{many}Truth and the best forecasts, out of fold, at (row, column) of the stations.{silent}"
    return Section(f"At the stations: event {event}", note, charts=charts)


def _values(frames: np.ndarray, valid: np.ndarray | None, points: Sequence[IntPair]) -> list[float]:
    """Of the first lead time at `points`, from frames (H, W, L), NaN where not `valid`."""
    values = at_points(frames[np.newaxis], points)[0, ..., 0].ravel().astype(np.float64)
    if valid is not None:
        values[~at_points(valid[np.newaxis], points)[0, ..., 0].ravel()] = np.nan
    return values.tolist()
