"""Models compared on the folds of one data set: IoU, Dice, pixel accuracy, validation loss and minutes of each.

Below them stands the metric of the competition, with thresholds, or whatever else a model has fitted to out-of-fold
rows, chosen without the fold that is scored; and the paired difference to the first model.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.config.blend import BlendConfig
from skyfold.config.experiment import PublishedFigures, TableConfig
from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_masks
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.bootstrap import Interval
from skyfold.metrics.segmentation import MeanDice, MeanIoU, PixelAccuracy
from skyfold.postprocess.evaluate import difference
from skyfold.postprocess.selection import HALF
from skyfold.reports.text_table import aligned
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import summary_of_fits
from skyfold.store.runs import StoredRun, read_run
from skyfold.tasks.stored_blend import read_blend, read_member
from skyfold.tuning.search_space import load_study
from skyfold.types import Metric
from skyfold.workspace import Workspace

ROWS_AT_ONCE = 64
COLUMNS = ["model", "IoU", "Dice", "pixel accuracy", "validation loss", "minutes", "fits"]
PUBLISHED = ["published IoU", "Dice", "pixel accuracy", "minutes"]
CROSS_FITTED = ["model", "cross-fitted", "95 % interval", "minus the first", "95 % interval, paired"]


@dataclass(frozen=True)
class Figures:
    """Out-of-fold scores of masks cut at 0.5: IoU and Dice are means over images, accuracy is that of all pixels.

    val_loss: mean over fits, at the epoch whose weights were kept; None where nothing was fitted, and of a blend.
    minutes: of all `fits` (folds x seeds), of a study those of its trials, of a blend those of its runs, too.
    cross_fitted: by the competition's metric, with its 95 % interval (low, high); None where it was not computed.
    """

    iou: float
    dice: float
    pixel_accuracy: float
    val_loss: float | None
    minutes: float
    fits: int
    cross_fitted: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One model. figures: None for the reason in `note`; gain: over the first model of the table, cross-fitted and
    paired, None for that one and where the two cannot be paired."""

    model: str
    figures: Figures | None
    note: str
    published: PublishedFigures | None
    gain: Interval | None = None


@dataclass(frozen=True)
class ExperimentTable:
    """provenance: of the files, "official", "synthetic sample" or "other files"."""

    data: str
    provenance: str
    metric: str
    folds: int
    samples: int
    lines: tuple[Line, ...]


def experiment_table(config: TableConfig, path: Path, workspace: Workspace) -> ExperimentTable:
    """What is there of the table's models; nothing is trained. path: the file `config` was read from."""
    dataset = open_masks(config.data, workspace)
    lines: list[Line] = []
    first: Path | None = None
    for row in config.models:
        figures, note, gain = None, f"not trained yet: skyfold run {path}", None
        try:
            best = best_of_study(config, path.parent / row.study, workspace) if row.study else None
            model = row.run or row.blend or (load_run(best) if best and best.is_file() else None)
            if model is not None and (folder := _stored(model, workspace)):
                figures, note = _figures(model, folder, dataset, workspace), ""
                if best:
                    figures = replace(figures, minutes=figures.minutes + _minutes_of(best.with_name("trials.csv")))
                gain = None if first is None else _gain(folder, first, dataset.competition.metric)
                first = first or folder
        except (OofMismatch, ConfigError) as error:
            note = str(error)
        lines.append(Line(row.model, figures, note, row.published, gain))
    return ExperimentTable(
        data=config.data.folder,
        provenance=_provenance(dataset, workspace.data(config.data.folder)),
        metric=dataset.competition.metric.name,
        folds=dataset.folds.k,
        samples=len(dataset.train),
        lines=tuple(lines),
    )


def best_of_study(config: TableConfig, study: Path, workspace: Workspace) -> Path:
    """The config of the best trial of a study; the file is there once a trial is complete."""
    return workspace.oof(config.data.folder) / "tuning" / load_study(study)[0].name / "best.yaml"


def as_text(table: ExperimentTable) -> str:
    """The table in aligned columns; published figures stand beside ours on the official files alone."""
    official = table.provenance == "official"
    rows = [[*COLUMNS, *PUBLISHED] if official else COLUMNS]
    for line in table.lines:
        rows.append([line.model, *_cells(line.figures), *(_published(line.published) if official else [])])
    text = [
        f"{table.data}: {table.provenance}, {table.samples} samples, out-of-fold over {table.folds} folds, cut at 0.5",
        aligned(rows),
        *(f"{line.model}: {line.note}" for line in table.lines if line.note),
    ]
    if any(line.figures and line.figures.cross_fitted is not None for line in table.lines):
        text += ["", f"{table.metric}, cross-fitted", aligned([CROSS_FITTED, *map(_cross_fitted, table.lines)]), ""]
    if official:
        text.append("published: one split of the authors' own, one fit a model; minutes on their machine")
    elif any(line.published for line in table.lines):
        text.append("published figures stand beside these on the contest's own files alone")
    return "\n".join(text).rstrip()


def _provenance(dataset: Dataset, folder: Path) -> str:
    if dataset.competition.provenance is not None:
        return dataset.competition.provenance(folder)
    return "synthetic sample" if (folder / ABOUT).is_file() else "other files"


def _stored(model: RunConfig | BlendConfig, workspace: Workspace) -> Path | None:
    """The folder of a run or blend; None where it is not stored."""
    folder = workspace.run(model.data.folder, model.name)
    return folder if (folder / ("run.json" if isinstance(model, RunConfig) else "blend.json")).is_file() else None


def _figures(model: RunConfig | BlendConfig, folder: Path, dataset: Dataset, workspace: Workspace) -> Figures:
    if isinstance(model, RunConfig):
        run = read_member(model, dataset.folds, workspace)
        members = [run]
    else:
        run = read_run(folder, dataset.folds)
        members = _members(model, dataset, workspace)
    fits = [summary_of_fits(member.folder / "models", folds=dataset.folds) for member in members]
    trained = [one for one in fits if one is not None]
    iou, dice, accuracy = _scores(run, dataset)
    scores = run.info.scores
    return Figures(
        iou=iou,
        dice=dice,
        pixel_accuracy=accuracy,
        val_loss=trained[0].val_loss if trained and isinstance(model, RunConfig) else None,
        minutes=sum(one.minutes for one in trained),
        fits=sum(one.fits for one in trained),
        cross_fitted=scores.get("cv_cross_fitted"),
        interval=(scores["low"], scores["high"]) if "low" in scores else None,
    )


def _members(blend: BlendConfig, dataset: Dataset, workspace: Workspace) -> list[StoredRun]:
    """The runs of a stored blend; OofMismatch where one is another than the blend was made of."""
    made_of = {
        run["name"]: Fingerprint.from_json(run["fingerprint"], "blend.json")
        for run in read_blend(blend, workspace)["runs"]
    }
    members = [read_member(run, dataset.folds, workspace) for run in blend.runs]
    for run in members:
        if run.info.fingerprint.different(made_of[run.info.name]):
            raise OofMismatch(
                f"run '{run.info.name}' was retrained since. Run `skyfold blend` on '{blend.name}' again."
            )
    return members


def _gain(folder: Path, first: Path, metric: Metric) -> Interval | None:
    if not all((one / "rows.csv").is_file() for one in (folder, first)):
        return None
    return difference(folder / "rows.csv", first / "rows.csv", metric=metric)


def _scores(run: StoredRun, dataset: Dataset) -> tuple[float, ...]:
    """IoU, Dice and pixel accuracy of the rows that a fold validated."""
    metrics: tuple[Metric, ...] = (MeanIoU(), MeanDice(), PixelAccuracy())
    samples, rows = dataset.train, np.flatnonzero(run.oof.has_prediction)
    assert samples.targets is not None
    parts: list[list[np.ndarray]] = [[] for _ in metrics]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        pred = run.oof.values[chunk] > HALF
        target = np.stack([samples.targets[i] for i in chunk]).astype(bool)
        valid = None if samples.valid is None else np.stack([samples.valid[i] for i in chunk])
        for part, metric in zip(parts, metrics, strict=True):
            part.append(metric.stats(target=target, pred=pred, valid=valid))
    return tuple(metric.score(np.concatenate(part)) for metric, part in zip(metrics, parts, strict=True))


def _minutes_of(trials: Path) -> float:
    with open(trials, encoding="utf-8", newline="") as rows:
        return sum(float(trial["seconds"] or 0) for trial in csv.DictReader(rows)) / 60


def _cells(figures: Figures | None) -> list[str]:
    if figures is None:
        return ["-"] * (len(COLUMNS) - 1)
    loss = "-" if figures.val_loss is None else f"{figures.val_loss:.4f}"
    scores = [f"{score:.4f}" for score in (figures.iou, figures.dice, figures.pixel_accuracy)]
    return [*scores, loss, f"{figures.minutes:.1f}", str(figures.fits)]


def _published(figures: PublishedFigures | None) -> list[str]:
    if figures is None:
        return ["-"] * len(PUBLISHED)
    return [f"{figures.iou:.3f}", f"{figures.dice:.3f}", f"{figures.pixel_accuracy:.3f}", f"{figures.minutes:g}"]


def _cross_fitted(line: Line) -> list[str]:
    figures, gain = line.figures, line.gain
    if figures is None or figures.cross_fitted is None or figures.interval is None:
        return [line.model, *["-"] * (len(CROSS_FITTED) - 1)]
    own = [f"{figures.cross_fitted:.4f}", f"{figures.interval[0]:.4f} to {figures.interval[1]:.4f}"]
    paired = ["", ""] if gain is None else [f"{gain.value:+.4f}", f"{gain.low:+.4f} to {gain.high:+.4f}"]
    return [line.model, *own, *paired]
