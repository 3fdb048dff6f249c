"""Forecasts: scores by year or event and by lead time, and the pictures that `skyfold plot` drew."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from skyfold.errors import SkyfoldError
from skyfold.files import write_atomic
from skyfold.metrics.forecast_sums import FILE, ForecastSums, read_sums
from skyfold.pipeline.site.stored import StoredEntry
from skyfold.reports.forecast_curves import by_lead
from skyfold.reports.site.charts import COLOURS, Line, line_chart
from skyfold.reports.site.pages import Link, Picture, Section, Sections, Table

ADDRESS = "forecasts.html"
PICTURES = "pictures"  # of the site, and of a forecast
KINDS = (".png", ".gif")


def forecast_sums(entries: Mapping[str, StoredEntry]) -> dict[str, ForecastSums]:
    """The sums of those of `entries` that are scored forecasts, by the name of their folder."""
    found = {}
    for key, entry in entries.items():
        if (entry.folder / FILE).is_file():
            with suppress(SkyfoldError):  # the board names it
                found[key] = read_sums(entry.folder)
    return found


def forecasts_page(
    sums: Mapping[str, ForecastSums], entries: Mapping[str, StoredEntry], further: Sequence[Section]
) -> Sections:
    """The best forecasts side by side. sums: of forecasts of the same cases, the best first; further: more sections."""
    best = {entries[key].info.name: own for key, own in list(sums.items())[:COLOURS]}
    first = next(iter(best.values()))
    counts = {key: len(_pictures(entries[key])) for key in sums}
    drawn = [[Link(entries[key].info.name, entries[key].page), count] for key, count in counts.items() if count]
    metric = first.metric
    facts = [
        f"{metric.name.replace('_', ' ')}, lower is better: mean absolute error over {metric.skill.upper()}",
        f"{len(first.cases)} dates or events, {len(first.leads)} lead times",
    ]
    note = "Maps, animations and the reliability diagram are on the page of the forecast. Draw them with skyfold plot."
    pictures = Section("Pictures", note, Table([("forecast", "text"), ("pictures", "number")], drawn))
    return Sections("Forecasts", facts, [*forecast_sections(best), *further, pictures])


def forecast_sections(sums: Mapping[str, ForecastSums]) -> list[Section]:
    """Scores by year or event, and by lead time. sums: by what to call the forecasts, of the same cases."""
    first = next(iter(sums.values()))
    per_case = [own.metric.per_row(own.contest).tolist() for own in sums.values()]
    rows = [[case, *values] for case, *values in zip(first.cases.tolist(), *per_case, strict=True)]
    heads = [("date or event", "text"), *((name, "score") for name in sums)]
    panels: list[list[Line]] = [[], [], []]
    for colour, (name, own) in enumerate(sums.items()):
        for panel, values in zip(panels, by_lead(own), strict=True):
            panel.append(Line(name, range(1, len(values) + 1), values, colour))
    skill = first.metric.skill.upper()
    labels = (f"MAE, {first.metric.unit.name}", skill, f"MAE / {skill}")
    several = len(first.leads) > 1
    charts = [
        line_chart(panel, x="lead time" if several else "date or event", y=label, from_zero=True)
        for panel, label in zip(panels, labels, strict=True)
    ]
    named = f"{first.leads[0]} to {first.leads[-1]}" if several else ""
    return [
        Section("By lead time" if several else "Error and skill", named, charts=[one for one in charts if one]),
        Section("By date or event", "Infinite where nothing was hit.", Table(heads, rows)),
    ]


def pictures_section(entry: StoredEntry, folder: Path, shown: set[str]) -> Section:
    """The pictures of a forecast, copied into the site `folder`; their addresses are added to `shown`."""
    found = []
    for path in _pictures(entry):
        address = f"{PICTURES}/{entry.folder.name}/{path.name}"
        write_atomic(folder / address, partial(shutil.copyfile, path))
        shown.add(address)
        found.append(Picture(path.stem.replace("_", " "), address))
    return Section("Pictures", "Drawn by skyfold plot.", pictures=found)


def _pictures(entry: StoredEntry) -> list[Path]:
    return [path for path in sorted(entry.folder.glob(f"{PICTURES}/*")) if path.suffix in KINDS]
