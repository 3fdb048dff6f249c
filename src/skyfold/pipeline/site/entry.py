"""The page of one entry: its scores in parts, curves, predictions, config and files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from skyfold.data.dataset import Dataset
from skyfold.errors import SkyfoldError
from skyfold.files import digest, read_json
from skyfold.metrics.bootstrap import interval_of_draws
from skyfold.metrics.threshold_curves import threshold_curves
from skyfold.pipeline.compare import config_differences
from skyfold.pipeline.site.confusion import TITLE as CONFUSION
from skyfold.pipeline.site.confusion import confusion_section
from skyfold.pipeline.site.draws import class_draws
from skyfold.pipeline.site.images import Thumbnails
from skyfold.pipeline.site.stored import StoredEntry, once, section
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.leaderboard import GAINS
from skyfold.reports.mask_plot import COLOURS, ERRORS
from skyfold.reports.paired_scores import metric_of
from skyfold.reports.site.charts import Line, interval_bar, line_chart, scale_of
from skyfold.reports.site.pages import Link, Row, Section, Sections, Table
from skyfold.store.fits import WEIGHTS, name_of, read_history
from skyfold.store.rows import RowStore
from skyfold.tasks.stored_blend import rows_of
from skyfold.types import JsonDict, VolumeMetric

EXAMPLES = 12  # predictions shown of each kind
GROUPS = 20  # of the worst


def entry_page(
    row: Row,
    entry: StoredEntry,
    scores: SampleScores | None,
    *,
    others: Mapping[str, StoredEntry],
    further: Sequence[Section],
    thumbnails: Thumbnails | None,
    filled: Dataset | None,
    cache: Path,
    submissions: Path,
) -> Sections:
    """The page of the entry in `row`.

    others: all entries by folder; further: sections of its task; thumbnails: None without images; filled: the data
    where classes exclude each other; cache: a folder for what is computed once; submissions: that of the data set.
    """
    sections = [
        *_of_blend(entry, others),
        _classes(entry, scores, cache),
        section(CONFUSION, lambda: confusion_section(entry, filled if scores else None)),
        *_folds_and_groups(scores),
        *further,
        _curves(entry),
        section("Thresholds", lambda: _sweep(entry, scores, cache)),
        section("Predictions", lambda: _predictions(entry, scores, thumbnails)),
        _fits(entry),
        *_config(entry, others),
        section("Files", lambda: _files(entry, row, submissions)),
    ]
    values, facts = row.values, [f"{row.kind}{f': {row.state}' if row.state else ''}"]
    if values.get("score") is not None:
        interval = "" if values.get("low") is None else f" ({values['low']:.4f} to {values['high']:.4f})"
        parts = {"in-sample": values.get("in_sample"), "at 0.5": values.get("at_half"), "public": values.get("public")}
        beside = "".join(f", {label} {value:.4f}" for label, value in parts.items() if value is not None)
        facts.append(f"score {values['score']:.4f}{interval}{beside}")
    return Sections(row.name, facts, sections)


def _of_blend(entry: StoredEntry, others: Mapping[str, StoredEntry]) -> list[Section]:
    """Members with their weights, and what each step gains."""
    if entry.blend is None:
        return []
    made, config = entry.blend, entry.blend["config"]
    own = {name: scores.get("cv_cross_fitted") for name, scores in made["scores"]["runs"].items()}
    weighed = config.get("merge") is None and config["combine"] != "stack"
    weights = made["weights"] if weighed else [None] * len(made["runs"])
    members = [(run["name"], run["name"], weight) for run, weight in zip(made["runs"], weights, strict=True)]
    if made["gate"]:
        members.append((made["gate"]["name"], f"{made['gate']['name']}, the gate", None))
    rows = [
        [Link(label, others[name].page if name in others else ""), *([weight] if weighed else []), own.get(name)]
        for name, label, weight in members
    ]
    gains = made["scores"].get("gains") or {}
    scale = scale_of([0.0, *(limit for gain in gains.values() for limit in (gain["low"], gain["high"]))])
    steps = [
        [
            GAINS.get(name, name),
            gain["value"],
            _limits(gain),
            interval_bar(gain["value"], gain["low"], gain["high"], scale),
        ]
        for name, gain in gains.items()
    ]
    run_heads = [("run", "text"), *([("weight", "score")] if weighed else []), ("score", "score")]
    heads = [("step", "text"), ("gain", "difference"), ("95 % interval", "text"), ("", "drawn")]
    return [
        Section("Members", f"Combined by: {config['combine']}.", Table(run_heads, rows)),
        Section(
            "What each step gains", "Cross-fitted and paired: both sides see the same images.", Table(heads, steps)
        ),
    ]


def _classes(entry: StoredEntry, scores: SampleScores | None, cache: Path) -> Section:
    """Mean score of the maps of each class, at every stage that `rows.csv` holds."""
    stages = {
        "cv_cross_fitted": "score",
        "cv_in_sample": "in-sample",
        "cv_at_0.5": "at 0.5",
        "before_gate": "before the gate",
        "all_empty": "all empty",
    }
    if scores is None or not (draws := class_draws(scores, entry.info.classes, cache)):
        return Section("By class")
    if entry.blend is None or not entry.blend["gate"]:
        del stages["before_gate"]
    held = [stage for stage in stages if f"{stage} {entry.info.classes[0]}" in scores.rows]
    rows = []
    for name, own in draws.items():
        first, *means = (float(scores.rows[f"{stage} {name}"].mean()) for stage in held)
        interval = interval_of_draws(first, own)
        rows.append([name, first, f"{interval.low:.4f} to {interval.high:.4f}", *means])
    heads = [("class", "text"), ("score", "score"), ("95 % interval", "text")]
    table = Table([*heads, *((stages[stage], "score") for stage in held[1:])], rows)
    return Section("By class", "Mean over the maps of a class, each scored by itself.", table)


def _folds_and_groups(scores: SampleScores | None) -> list[Section]:
    if scores is None:
        return []
    found = []
    fold, groups = scores.rows["fold"].to_numpy(), scores.groups
    if len(np.unique(fold)) > 1:
        found.append(Section("By fold", table=Table(_of("fold"), _scores_by(scores, fold))))
    names, counts = np.unique(groups, return_counts=True)
    several = names[counts > 1]  # a sample by itself is among the predictions
    if len(several) > 1:
        sign = 1 if scores.metric.greater_is_better else -1
        of_several = np.where(np.isin(groups, several), groups, "")
        rows = sorted(_scores_by(scores, of_several), key=lambda row: sign * row[2])
        title = f"The {GROUPS} worst groups" if len(rows) > GROUPS else "By group"
        found.append(Section(title, table=Table(_of("group"), rows[:GROUPS])))
    return found


def _of(part: str) -> list[tuple[str, str]]:
    return [(part, "text"), ("samples", "number"), ("score", "score")]


def _scores_by(scores: SampleScores, labels: np.ndarray) -> list[tuple[str, int, float]]:
    """Label, number of samples and score of each part of the samples; those labelled "" are left out."""
    parts = [(label, labels == label) for label in np.unique(labels) if label != ""]
    return [(str(label), int(own.sum()), float(scores.metric.score(scores.stats[own]))) for label, own in parts]


def _curves(entry: StoredEntry) -> Section:
    """Losses and validation score of every fit over its epochs, as stored with it."""
    losses, validation, metric = [], [], ""
    for number, (stem, fit) in enumerate(entry.fits.items()):
        with suppress(SkyfoldError):  # named where the run is resumed
            history = read_history(entry.folder / "models" / f"{stem}.csv")
            epochs, name = [row["epoch"] for row in history], name_of(Path(stem))
            columns = {key: [row[key] for row in history] for key in ("loss", "val_loss", "val_score")}
            losses.append(Line("", epochs, columns["loss"], number, dashed=True))
            losses.append(Line(name, epochs, columns["val_loss"], number))
            kept = fit["best_epoch"]
            mark = (kept, columns["val_score"][kept - 1]) if 0 < kept <= len(history) else None
            mark = None if mark is None or math.isnan(mark[1]) else mark
            validation.append(Line(name, epochs, columns["val_score"], number, mark=mark))
            metric = fit.get("metric") or "validation score"
    charts = [line_chart(losses, x="epoch", y="loss"), line_chart(validation, x="epoch", y=metric.replace("_", " "))]
    return Section(
        "Training",
        "Dashed: training loss. A dot marks the epoch whose weights were kept.",
        charts=[one for one in charts if one],
    )


def _sweep(entry: StoredEntry, scores: SampleScores | None, cache: Path) -> Section:
    """Score, precision and recall by threshold, and reliability, of the counts that are stored beside a scored run."""
    folder = entry.folder / "threshold_sweep" / "histogram"
    if scores is None or not (folder / "rows.json").is_file():
        return Section("Thresholds")
    store = RowStore.open(folder)
    metric = scores.metric

    def compute() -> JsonDict:
        curves = threshold_curves(store.checked[np.flatnonzero(store.complete)], metric_of(entry.info))
        return {name: np.where(np.isnan(own), -1, own).round(5).tolist() for name, own in vars(curves).items()}

    key = digest("curves 1", store.checksum(), metric.name)
    found = {name: np.array(own) for name, own in once(cache / f"{key}.json", compute).items()}
    known = {name: np.where(own < 0, np.nan, own).tolist() for name, own in found.items()}
    lines: dict[str, list[Line]] = {"score": [], "precision": [], "reliability": []}
    for k, name in enumerate(entry.info.classes):
        lines["score"].append(Line(name, known["thresholds"], known["score"][k], k, mark=_chosen(entry, known, k)))
        lines["precision"].append(Line(name, known["recall"][k], known["precision"][k], k))
        lines["reliability"].append(Line(name, known["forecast"][k], known["observed"][k], k))
    charts = [
        line_chart(lines["score"], x="threshold of the probability", y=metric.name.replace("_", " ")),
        line_chart(lines["precision"], x="recall of pixels", y="precision of pixels", unit=True),
        line_chart(
            lines["reliability"], x="predicted probability", y="fraction in the truth", unit=True, diagonal=True
        ),
    ]
    return Section(
        "Thresholds",
        "Out-of-fold probability maps before any post-processing: score of each class by threshold, precision and "
        "recall of all pixels together, and how often pixels of a probability are in the truth. A dot marks the "
        "threshold that a blend chose.",
        charts=[one for one in charts if one],
    )


def _chosen(entry: StoredEntry, curves: Mapping[str, Sequence], k: int) -> tuple[float, float] | None:
    """The point of the curve of class k at the threshold that a blend chose; None of other entries."""
    if entry.blend is None or entry.blend["selection"]["final"] is None:
        return None
    threshold = (entry.blend["selection"]["final"]["thresholds"][k] + 0.5) / 255
    score = float(np.interp(threshold, curves["thresholds"], curves["score"][k]))
    return (threshold, score) if math.isfinite(score) else None


def _predictions(entry: StoredEntry, scores: SampleScores | None, thumbnails: Thumbnails | None) -> Section:
    if scores is None or thumbnails is None or isinstance(scores.metric, VolumeMetric):
        return Section("Predictions")
    own = scores.of_samples()
    known = scores.worst_first(own)
    drawn = np.random.default_rng(0).permutation(len(own))[:EXAMPLES]  # the same of every entry
    chosen = {"Worst": known[:EXAMPLES], "Best": known[: -EXAMPLES - 1 : -1], "Random": drawn.tolist()}
    ids = scores.rows["id"].to_numpy(dtype=str)
    found = {
        name: thumbnails.predictions(entry, {str(ids[row]): f"{own[row]:.4f}" for row in rows})
        for name, rows in chosen.items()
    }
    masks = "The masks are those that are submitted" if entry.blend else "The masks are cut at probability 0.5"
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(entry.info.classes)}
    note = f"Out of fold. {masks}; the score of an image is its cross-fitted one."
    return Section("Predictions", note, predictions=found, colours={**colours, **ERRORS})


def _fits(entry: StoredEntry) -> Section:
    heads = [("fit", "text"), ("score", "score"), ("best epoch", "number"), ("epochs", "number"), ("time", "seconds")]
    heads += [("images/s", "number"), ("memory", "bytes"), ("device", "text"), ("precision", "text")]
    rows = []
    for stem, fit in entry.fits.items():
        environment, memory, speed = (
            fit.get("environment") or {},
            fit.get("peak_memory_mb"),
            fit.get("images_per_second"),
        )
        rows.append(
            [
                name_of(Path(stem)),
                *(fit["score"], fit["best_epoch"], fit["epochs"], fit["seconds"]),
                None if speed is None else f"{speed:.0f}",
                None if memory is None else memory * 1e6,
                *(environment.get("device"), environment.get("precision")),
            ]
        )
    return Section("Fits", "Scores at the size of training, of the epoch whose weights were kept.", Table(heads, rows))


def _config(entry: StoredEntry, others: Mapping[str, StoredEntry]) -> list[Section]:
    """The config, and what it changes against the entry of the same kind that differs in the fewest keys."""
    own = entry.flat_config
    alike = [one for one in others.values() if one.folder != entry.folder and one.info.kind == entry.info.kind]
    sections = []
    if alike:
        nearest = min(alike, key=lambda one: (_differing_keys(own, one.flat_config), one.folder.name))
        rows = config_differences(entry.info, nearest.info)
        heads = [("key", "text"), (entry.info.name, "text"), (nearest.info.name, "text")]
        note = f"Against '{nearest.info.name}', the {entry.info.kind} whose config differs in the fewest keys."
        sections.append(Section("What the config changes", note, Table(heads, rows)))
    rows = [[key, "not set" if value is None else str(value)] for key, value in sorted(own.items())]
    return [*sections, Section("Config", table=Table([("key", "text"), ("value", "text")], rows), folded=True)]


def _differing_keys(one: Mapping[str, object], other: Mapping[str, object]) -> int:
    return sum(one.get(key) != other.get(key) for key in {*one, *other} - {"name"})


def _files(entry: StoredEntry, row: Row, submissions: Path) -> Section:
    """Files of the entry, with the hashes that were recorded when they were written."""
    rows: list[list[object]] = []
    submitted = str(row.values.get("submission") or "")
    if submitted.endswith(".csv"):  # as it was written: its hash was compared for the board
        path = submissions / Path(submitted).name
        sha256 = read_json(path.with_suffix(".json"))["sha256"]
        rows.append([f"submissions/{submissions.name}/{submitted}", path.stat().st_size, f"SHA-256 {sha256}"])
    for stem, fit in entry.fits.items():
        path = entry.folder / "models" / f"{stem}{WEIGHTS}"
        sha256 = fit.get("weights_sha256")
        rows.append([f"models/{path.name}", path.stat().st_size, f"SHA-256 {sha256}" if sha256 else "not recorded"])
    for part, checksum in rows_of(entry.folder).items():
        path = entry.folder / part / "values.npy"
        rows.append([f"{part}/values.npy", path.stat().st_size, f"of the CRC-32 of its rows: {checksum}"])
    return Section(
        "Files", table=Table([("file", "text"), ("size", "bytes"), ("hash", "text hash")], rows), folded=True
    )


def _limits(gain: Mapping[str, float]) -> str:
    return f"{gain['low']:+.4f} to {gain['high']:+.4f}"
