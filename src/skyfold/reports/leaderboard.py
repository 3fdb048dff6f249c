"""The local leaderboard: every run and blend of a data set with its scores, best first."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from skyfold.errors import DamagedFile, DataLayoutError
from skyfold.files import read_json
from skyfold.reports.forecast_leaderboard import forecast_entries
from skyfold.reports.text_table import aligned
from skyfold.store.runs import read_info
from skyfold.workspace import Workspace


class Row(Protocol):
    """What every entry has: COLUMNS name its cells, NOTE says what they mean."""

    COLUMNS: ClassVar[list[str]]
    NOTE: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def cells(self) -> list[str]: ...


@dataclass(frozen=True)
class Entry:
    """One row. Scores are None where they were not computed, `test` where no truth file was scored against."""

    COLUMNS: ClassVar[list[str]] = [
        "name", "kind", "CV at 0.5", "cv_in_sample", "cross-fitted", "95 % interval", "test", "submission",
    ]  # fmt: skip
    NOTE: ClassVar[str] = (
        "Cross-fitted: thresholds, areas and gate chosen on k - 1 folds and scored on the other one. "
        "Naive: chosen and scored on the same rows. The interval is of the cross-fitted score, over images."
    )

    name: str
    kind: str
    at_half: float | None = None
    in_sample: float | None = None
    cross_fitted: float | None = None
    interval: tuple[float, float] | None = None
    test: float | None = None
    submission: str = ""

    def cells(self) -> list[str]:
        interval = "" if self.interval is None else f"{self.interval[0]:.4f} to {self.interval[1]:.4f}"
        figures = [
            _figure(self.at_half),
            _figure(self.in_sample),
            _figure(self.cross_fitted),
            interval,
            _figure(self.test),
        ]
        return [self.name, self.kind, *figures, self.submission]


def leaderboard(name: str, workspace: Workspace) -> Sequence[Row]:
    """Entries of data set `name`, best cross-fitted score first, then the baselines; of forecasts, the least first.

    DataLayoutError where nothing was trained yet.
    """
    folder = workspace.oof(name)
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not runs:
        raise DataLayoutError(
            f"{folder}: no runs here. Train one with scripts/train.py CONFIG, or name another data set."
        )
    if any(_kind(run) == "forecasting" for run in runs):
        return forecast_entries(runs, workspace.submissions(name))
    entries: list[Entry] = []
    for run in runs:
        try:
            entries += _blend_entries(run, name, workspace) if (run / "blend.json").is_file() else [_run_entry(run)]
        except DamagedFile as error:
            entries.append(Entry(run.name, f"unreadable: {error}"))
    return sorted(entries, key=_rank, reverse=True)


def as_text(entries: Sequence[Row]) -> str:
    """The table in aligned columns."""
    return aligned([entries[0].COLUMNS, *(entry.cells() for entry in entries)])


def as_html(name: str, entries: Sequence[Row]) -> str:
    """The table as one self-contained page."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in entries[0].COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in entry.cells()) + "</tr>" for entry in entries
    )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2733}"
        "table{border-collapse:collapse;width:100%}"
        "th,td{padding:.4rem .8rem;text-align:left;border-bottom:1px solid #dde3e9}"
        "td:nth-child(n+3):nth-child(-n+7){font-variant-numeric:tabular-nums}th{background:#f3f6f9}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}: leaderboard</title>'
        f"<style>{style}</style><h1>{html.escape(name)}</h1><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
        f"</table><p>{html.escape(entries[0].NOTE)}</p></html>\n"
    )


def _kind(folder: Path) -> str:
    """'' of a run that cannot be read."""
    try:
        return read_info(folder).kind
    except DamagedFile:
        return ""


def _run_entry(folder: Path) -> Entry:
    info = read_info(folder)
    if info.kind == "classification":
        figure = info.scores.get("average_precision")
        return Entry(info.name, "classifier" if figure is None else f"classifier, AP {figure:.3f}")
    classes = info.config.get("classes")
    return _scored(info.name, f"run, {', '.join(classes)} alone" if classes else "run", info.scores)


def _blend_entries(folder: Path, name: str, workspace: Workspace) -> list[Entry]:
    result = read_json(folder / "blend.json")
    if not isinstance(result, dict) or not {"name", "gate", "scores"} <= set(result):
        raise DamagedFile(f"{folder / 'blend.json'}: not what was written there. Run scripts/blend.py again.")
    scores = result["scores"]
    tested = _test_scores(workspace, name, result["name"])
    baselines = scores["baselines"]
    blend = result["name"]
    entries = [
        _scored(blend, "blend, gated" if result["gate"] else "blend", scores["final"], *tested.get("final", (None, "")))
    ]
    if result["gate"]:
        label = f"{blend} before the gate"
        entries.append(_scored(label, "blend", scores["before_gate"], *tested.get("before_gate", (None, ""))))
    for kind, label in [
        ("all_empty", "all empty"),
        ("best_single_at_0.5", f"best single at 0.5: {baselines.get('best_single')}"),
        ("oracle", "perfect classifier with these masks"),
    ]:
        if kind not in baselines:  # a merge has no single run that knows all classes
            continue
        test = tested.get(kind, (None, ""))[0]
        entries.append(Entry(label, f"baseline of {blend}", at_half=float(baselines[kind]), test=test))
    return entries


def _test_scores(workspace: Workspace, name: str, blend: str) -> dict[str, tuple[float | None, str]]:
    """Stage -> (score on the test truth or None, submission file)."""
    folder = workspace.submissions(name)
    found: dict[str, tuple[float | None, str]] = {}
    scored = folder / f"{blend}.test_scores.json"
    for stage, value in (read_json(scored)["scores"] if scored.is_file() else {}).items():
        found[stage] = (float(value), "")
    for stage, file in [("final", f"{blend}.csv"), ("before_gate", f"{blend}_before_gate.csv")]:
        if (folder / file).is_file():
            found[stage] = (found.get(stage, (None, ""))[0], f"{folder.name}/{file}")
    return found


def _scored(name: str, kind: str, scores: dict[str, float], test: float | None = None, file: str = "") -> Entry:
    interval = (scores["low"], scores["high"]) if "low" in scores else None
    at_half, in_sample, cross = (scores.get(key) for key in ("cv_at_0.5", "cv_in_sample", "cv_cross_fitted"))
    return Entry(name, kind, at_half, in_sample, cross, interval, test, file)


def _rank(entry: Entry) -> tuple[bool, float]:
    """Baselines stand below what was trained, since nobody can hand them in for more."""
    figure = entry.cross_fitted if entry.cross_fitted is not None else entry.at_half
    return not entry.kind.startswith("baseline"), -1.0 if figure is None else figure


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
