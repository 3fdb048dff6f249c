"""Local leaderboard: every run, blend and forecast of a data set with its scores, as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from skyfold.errors import DamagedFile, SkyfoldError
from skyfold.files import file_digest
from skyfold.metrics.forecast import mean_error_of, skill_of
from skyfold.metrics.forecast_sums import FILE, read_sums
from skyfold.reports.text_table import aligned
from skyfold.store.records import ScoresOnTest, SidecarRecord, read_record
from skyfold.store.runs import RunInfo, read_made_blend
from skyfold.types import JsonDict

SCORES = (
    "Cross-fitted: thresholds, areas and gate chosen on k - 1 folds and scored on the other one. "
    "In-sample: chosen and scored on the same rows. The interval is of the cross-fitted score, over images."
)
FORECASTS = (
    "Less is better. Score: error / skill of forecasts that were fitted without what they are scored on; skill: F1 or "
    "CSI. The interval is over dates, or over events."
)
FORECAST_FIGURES = ("metric", "less is better", "95 % interval", "MAE", "skill", "cases")
GAINS = {  # of `blend.json`, in words
    "gate": "gain of the gate",
    "over_best_single": "gain over the best single run, post-processed alike",
    "over_equal_weights": "gain over the mean with equal weights, post-processed alike",
    "over_best_single_at_0.5": "gain over the best single run at 0.5",
    "over_largest": "gain over taking the class with the largest probability",
}
BASELINE = "baseline"  # how the kind of an entry begins that ranks below what was trained
UNREADABLE = "unreadable: "  # how the kind of an entry begins whose files cannot be read
TESTED = ".test_scores.json"  # how the name of a file of scores on the test truth ends


@dataclass(frozen=True)
class Entry:
    """One row of a leaderboard.

    rank   sorts entries, the best first
    cells  texts by column, after name and kind; entries of the same columns form one table
    note   what the columns mean
    figures  what stands in the cells, numbers with all digits
    remark   a line on this entry below the tables, or ''
    folder   what it was read from; None: it is not stored by itself
    """

    name: str
    kind: str
    rank: tuple[bool, float]
    cells: Mapping[str, str]
    note: str
    figures: Mapping[str, object] = field(default_factory=dict)
    remark: str = ""
    folder: Path | None = None


def as_text(entries: Sequence[Entry]) -> str:
    """Entries in aligned columns, a table for each kind of columns, and their remarks below."""
    tables, remarks = [aligned(rows) for rows in _tables(entries)], _remarks(entries)
    return "\n\n".join([*tables, *(["\n".join(remarks)] if remarks else [])])


def score_entry(name: str, kind: str, scores: JsonDict, test: float | None = None, submission: str = "") -> Entry:
    """Entry of a run, blend or baseline.

    scores: as in run.json; those that are missing have empty cells. test: score on the test truth; submission: file.
    Baselines rank below what was trained.
    """
    at_half, in_sample, cross_fitted = (scores.get(key) for key in ("cv_at_0.5", "cv_in_sample", "cv_cross_fitted"))
    figure = at_half if cross_fitted is None else cross_fitted
    sign = -1 if scores.get("greater_is_better", True) else 1
    cells = {
        "CV at 0.5": _figure(at_half),
        "in-sample": _figure(in_sample),
        "cross-fitted": _figure(cross_fitted),
        "95 % interval": f"{scores['low']:.4f} to {scores['high']:.4f}" if {"low", "high"} <= scores.keys() else "",
        "test": _figure(test),
        "submission": submission,
    }
    rank = kind.startswith(BASELINE), math.inf if figure is None else sign * figure
    figures, remark = {**scores, "test": test, "submission": submission}, with_excluded(scores)
    return Entry(name, kind, rank, cells, SCORES, figures, f"{name}: {remark.removeprefix(', ')}" if remark else "")


def with_excluded(scores: JsonDict) -> str:
    """What the samples that are excluded change, in words; '' where there are none."""
    together = scores.get("cv_with_excluded")
    return "" if together is None else f", {together:.4f} with the excluded samples"


def run_entry(info: RunInfo) -> Entry:
    """Entry of a trained run with the scores of its out-of-fold predictions."""
    classes = info.config.get("classes")
    if imported := imported_kind(info):
        return score_entry(info.name, imported, info.scores)
    kind = f"run, {', '.join(classes)} alone" if classes else "run"
    if not {"cv_at_0.5", "cv_cross_fitted"} & info.scores.keys():
        kind = f"{kind}, unfinished{_progress(info)}: run skyfold train again"
    return score_entry(info.name, kind, info.scores)


def _progress(info: RunInfo) -> str:
    """Folds that are trained, of how many, and their mean validation score; '' of none."""
    done, k = list(info.fold_scores.values()), info.k
    return f" ({len(done)} of {k} folds, mean {sum(done) / len(done):.4f})" if done and k else ""


def imported_kind(info: RunInfo) -> str:
    """Kind of an imported run, which says whether its folds are known; '' of any other."""
    if "imported" not in info.config:
        return ""
    return "imported" if info.config["imported"].get("folds") == "declared" else "imported, folds not known"


def blend_entries(folder: Path, submissions: Path) -> list[Entry]:
    """Entries of a blend, with and without its gate, and of the baselines it was compared with.

    submissions: folder of the data set's submissions. DamagedFile where blend.json was edited.
    """
    if not (folder / "blend.json").is_file():
        return [score_entry(folder.name, "blend, unfinished: run skyfold blend again", {})]
    result = read_made_blend(folder)
    blend, scores, gate = result["name"], result["scores"], result["gate"]
    tested: JsonDict = {}
    with suppress(DamagedFile, FileNotFoundError):
        tested = _read_beside(submissions / f"{blend}{TESTED}")

    def entry(label: str, kind: str, stage: str, own: JsonDict, file: str = "") -> Entry:
        score, scored, path = (
            tested.get("scores", {}).get(stage),
            tested.get("sha256", {}).get(stage),
            submissions / file,
        )
        if scored is not None and not (path.is_file() and file_digest(path) == scored):
            score = None  # of another table than is there now
        return score_entry(label, kind, own, score, _submission(path) if file else "")

    entries = [entry(blend, "blend, gated" if gate else "blend", "final", scores["final"], f"{blend}.csv")]
    if gate:
        label, file = f"{blend} before the gate", f"{blend}_before_gate.csv"
        entries.append(entry(label, "blend", "before_gate", scores["before_gate"], file))
    baselines, greater = scores["baselines"], scores["final"].get("greater_is_better", True)
    labels = {
        "all_empty": "all empty",
        "best_single_at_0.5": f"best single at 0.5: {baselines.get('best_single')}",
        "oracle": "perfect classifier with these masks",
    }
    for stage, label in labels.items():
        if stage in baselines:  # a merge has no single run that knows all classes
            own = {"cv_at_0.5": float(baselines[stage]), "greater_is_better": greater}
            kind = f"{BASELINE} of {blend}" if stage == "oracle" else BASELINE  # of its own masks
            entries.append(entry(label, kind, stage, own))
    return entries


def each_baseline_once(entries: Iterable[Entry]) -> list[Entry]:
    """`entries` without the baselines that another blend was compared with, too: those of one name and CV score.

    Of these, one that is up to date and was scored on the test truth is kept, where there is one.
    """
    kept: dict[object, Entry] = {}
    for entry in entries:
        key: object = len(kept)
        if entry.kind.partition(",")[0] == BASELINE:
            key = entry.name, entry.figures["cv_at_0.5"]
        kept[key] = min(
            entry, kept.get(key, entry), key=lambda one: (one.kind != BASELINE, one.figures.get("test") is None)
        )
    return list(kept.values())


def forecast_entry(folder: Path, info: RunInfo, submissions: Path) -> Entry:
    """Entry of the forecast in `folder`, scored on the cases (dates, or events) that its config names.

    Figures are empty, and the rank is last, where it was not scored yet. submissions: folder of the data set's
    submissions, of which the latest that was made of the forecast is named.
    """
    kind = imported_kind(info) or str(
        info.config.get("family") or info.config.get("model", {}).get("family", "forecast")
    )
    seconds, figures = info.scores.get("seconds_a_date"), dict.fromkeys(FORECAST_FIGURES, "")
    rank, numbers = (True, 0.0), {}
    if (folder / FILE).is_file():
        sums = read_sums(folder)
        found = sums.interval()
        rank = False, found.value
        error, skill = mean_error_of(sums.contest), skill_of(sums.contest, sums.metric.skill)
        interval = f"{found.low:.4f} to {found.high:.4f}" if found.known else "-"
        texts = [sums.metric.name, _figure(found.value), interval, _figure(error), _figure(skill), str(len(sums.cases))]
        figures = dict(zip(FORECAST_FIGURES, texts, strict=True))
        numbers = {"metric": sums.metric.name, "score": found.value, "low": found.low, "high": found.high}
        numbers |= {"mean_absolute_error": error, "skill": skill, "cases": len(sums.cases)}
    else:
        kind += ", not scored"
    cells = {
        **figures,
        "s a date": "" if seconds is None else f"{seconds:.3g}",
        "submission": _submitted(submissions).get(info.name, ""),
    }
    told = {**numbers, "seconds_a_date": seconds, "submission": cells["submission"]}
    return Entry(info.name, kind, rank, cells, FORECASTS, told)


def with_public_scores(entries: Sequence[Entry], public: Mapping[str, float]) -> list[Entry]:
    """`entries` with a column of the public score, where any submission has one. public: by name of the submission."""
    if not public:
        return list(entries)
    found = []
    for entry in entries:
        score = public.get(Path(str(entry.figures.get("submission") or "")).stem)
        cells = {name: cell for name, cell in entry.cells.items() if name != "submission"}
        cells |= {"public": _figure(score), "submission": entry.cells.get("submission", "")}
        found.append(replace(entry, cells=cells, figures={**entry.figures, "public": score}))
    return found


def unreadable(name: str, error: SkyfoldError) -> Entry:
    """Entry of a run, or of a file beside a submission, that cannot be read."""
    return score_entry(name, f"{UNREADABLE}{error}", {})


def unreadable_submissions(folder: Path) -> list[Entry]:
    """An entry for each file beside the submissions in `folder` that cannot be read; the leaderboard goes without."""
    found = []
    for path in [*_sidecars(folder), *sorted(folder.glob(f"*{TESTED}"))]:
        try:
            _read_beside(path)
        except DamagedFile as error:
            found.append(unreadable(path.name, error))
    return found


def _sidecars(folder: Path) -> list[Path]:
    """Of the submissions in `folder`, the latest last."""
    tables = sorted(folder.glob("*.csv"), key=lambda path: path.stat().st_mtime)
    return [path.with_suffix(".json") for path in tables if path.with_suffix(".json").is_file()]


def _read_beside(path: Path) -> JsonDict:
    if path.name.endswith(TESTED):
        return read_record(path, ScoresOnTest, remedy="Delete it, and score the blend again with `skyfold run`.")
    remedy = "Write the submission again with `skyfold submit`, of a forecast with `skyfold run`."
    return read_record(path, SidecarRecord, remedy=remedy)


def _submitted(folder: Path) -> dict[str, str]:
    """Forecast -> submission file made of it, the latest of several."""
    found = {}
    for sidecar in _sidecars(folder):
        with suppress(DamagedFile):
            if made := _read_beside(sidecar).get("forecast"):
                found[str(made["name"])] = _submission(sidecar.with_suffix(".csv"))
    return found


def _submission(path: Path) -> str:
    """Name of a submission for its cell; '' where it is not there."""
    if not path.is_file():
        return ""
    name = f"{path.parent.name}/{path.name}"
    with suppress(DamagedFile, FileNotFoundError):
        if _read_beside(path.with_suffix(".json"))["sha256"] == file_digest(path):
            return name
    return f"{name}, not as skyfold wrote it: submit again"


def _tables(entries: Sequence[Entry]) -> list[list[list[str]]]:
    """Rows of each table, the heading first."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for entry in entries:
        rows = tables.setdefault(tuple(entry.cells), [["name", "kind", *entry.cells]])
        rows.append([entry.name, entry.kind, *entry.cells.values()])
    return list(tables.values())


def _remarks(entries: Sequence[Entry]) -> list[str]:
    return [entry.remark for entry in entries if entry.remark]


def _figure(value: float | None) -> str:
    return "" if value is None else "-" if math.isnan(value) else f"{value:.4f}"
