"""The local leaderboard: every run and blend of a data set with its scores, best first."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from skyfold.errors import DamagedFile
from skyfold.files import read_json
from skyfold.reports.text_table import aligned
from skyfold.store.runs import RunInfo


class Row(Protocol):
    """What every entry has: COLUMNS name its cells, NOTE says what they mean."""

    COLUMNS: ClassVar[list[str]]
    NOTE: ClassVar[str]

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts entries, best first."""
        ...

    def cells(self) -> list[str]: ...


@dataclass(frozen=True)
class Entry:
    """One row. Scores are None where they were not computed, `test` where no truth file was scored against."""

    COLUMNS: ClassVar[list[str]] = [
        "name", "kind", "CV at 0.5", "in-sample", "cross-fitted", "95 % interval", "test", "submission",
    ]  # fmt: skip
    NOTE: ClassVar[str] = (
        "Cross-fitted: thresholds, areas and gate chosen on k - 1 folds and scored on the other one. "
        "In-sample: chosen and scored on the same rows. The interval is of the cross-fitted score, over images."
    )

    name: str
    kind: str
    at_half: float | None = None
    in_sample: float | None = None
    cross_fitted: float | None = None
    interval: tuple[float, float] | None = None
    test: float | None = None
    submission: str = ""
    greater_is_better: bool = True

    @property
    def rank(self) -> tuple[bool, float]:
        """Baselines stand below what was trained, since nobody can submit them for more."""
        figure = self.cross_fitted if self.cross_fitted is not None else self.at_half
        sign = -1 if self.greater_is_better else 1
        return self.kind.startswith("baseline"), math.inf if figure is None else sign * figure

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


def as_text(entries: Sequence[Row]) -> str:
    """A table in aligned columns for each kind of entries."""
    return "\n\n".join(aligned([rows[0].COLUMNS, *(row.cells() for row in rows)]) for rows in _by_columns(entries))


def as_html(name: str, entries: Sequence[Row]) -> str:
    """The tables as one self-contained page."""
    tables = "\n".join(_html_table(rows) for rows in _by_columns(entries))
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2733}"
        "table{border-collapse:collapse;width:100%}"
        "th,td{padding:.4rem .8rem;text-align:left;border-bottom:1px solid #dde3e9}"
        "td:nth-child(n+3):nth-child(-n+7){font-variant-numeric:tabular-nums}th{background:#f3f6f9}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}: leaderboard</title>'
        f"<style>{style}</style><h1>{html.escape(name)}</h1>{tables}</html>\n"
    )


def _by_columns(entries: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry.COLUMNS), []).append(entry)
    return list(groups.values())


def _html_table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in rows[0].COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table><p>{html.escape(rows[0].NOTE)}</p>"


def run_entry(info: RunInfo) -> Entry:
    """A trained run with the scores of its out-of-fold predictions."""
    classes = info.config.get("classes")
    return _scored(info.name, f"run, {', '.join(classes)} alone" if classes else "run", info.scores)


def blend_entries(folder: Path, submissions: Path) -> list[Entry]:
    """A blend, and the baselines it was compared with. submissions: folder of the data set's submissions."""
    result = read_json(folder / "blend.json")
    if not isinstance(result, dict) or not {"name", "gate", "scores"} <= set(result):
        raise DamagedFile(f"{folder / 'blend.json'}: not what was written there. Run skyfold blend again.")
    scores = result["scores"]
    tested = _test_scores(submissions, result["name"])
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
        at_half, greater = float(baselines[kind]), scores["final"].get("greater_is_better", True)
        entries.append(Entry(label, f"baseline of {blend}", at_half=at_half, test=test, greater_is_better=greater))
    return entries


def _test_scores(folder: Path, blend: str) -> dict[str, tuple[float | None, str]]:
    """Stage -> (score on the test truth or None, submission file)."""
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
    greater = bool(scores.get("greater_is_better", True))
    return Entry(name, kind, at_half, in_sample, cross, interval, test, file, greater)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
