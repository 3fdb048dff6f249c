"""Models compared on the folds of one data set: IoU, Dice, pixel accuracy, validation loss and minutes of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.config import PublishedFigures, RunConfig, TableConfig, TableRow, load_run
from skyfold.errors import ConfigError, OofMismatch
from skyfold.leaderboard.table import aligned
from skyfold.metrics.segmentation import MeanDice, MeanIoU, PixelAccuracy
from skyfold.oof_store import StoredRun, read_run
from skyfold.pipeline.blend import Context, open_context
from skyfold.postprocess.selection import HALF
from skyfold.training.fit_files import FitFiles
from skyfold.training.history import read_history
from skyfold.tuning.search_space import load_study
from skyfold.types import Metric
from skyfold.workspace import Workspace

ROWS_AT_ONCE = 64
COLUMNS = ["model", "IoU", "Dice", "pixel accuracy", "validation loss", "minutes", "fits"]
PUBLISHED = ["published IoU", "Dice", "pixel accuracy", "minutes"]


@dataclass(frozen=True)
class Figures:
    """Out-of-fold scores of masks cut at 0.5: IoU and Dice are means over images, accuracy is that of all pixels.

    val_loss: mean over fits, at the epoch whose weights were kept; None where nothing was fitted. minutes: of all
    `fits` (folds x seeds), of a study those of its trials, too.
    """

    iou: float
    dice: float
    pixel_accuracy: float
    val_loss: float | None
    minutes: float
    fits: int


@dataclass(frozen=True)
class Line:
    """One model. figures: None for the reason in `note`."""

    model: str
    figures: Figures | None
    note: str
    published: PublishedFigures | None


@dataclass(frozen=True)
class ExperimentTable:
    """provenance: of the files, "official", "synthetic sample" or "other files"."""

    data: str
    provenance: str
    folds: int
    samples: int
    lines: tuple[Line, ...]


def experiment_table(config: TableConfig, path: Path, workspace: Workspace) -> ExperimentTable:
    """What is there of the table's models; nothing is trained. path: the file `config` was read from."""
    context = open_context(config.data, workspace)
    lines = []
    for row in config.models:
        file = run_file(config, row, path, workspace)
        figures, note = None, f"not trained yet: scripts/run.py {path}"
        try:
            if file.is_file() and (run := load_run(file)) and _folder(run, workspace).is_dir():
                figures, note = _figures(run, context, workspace, _search_minutes(row, file)), ""
        except OofMismatch as error:
            note = str(error)
        lines.append(Line(row.model, figures, note, row.published))
    known = context.competition.provenance
    return ExperimentTable(
        data=config.data.folder,
        provenance="other files" if known is None else known(workspace.data(config.data.folder)),
        folds=context.folds.k,
        samples=len(context.samples),
        lines=tuple(lines),
    )


def table_runs(config: TableConfig, path: Path) -> list[RunConfig]:
    """The runs that the table names, without those that its studies will find; ConfigError where one does not fit."""
    runs = [load_run(path.parent / row.run) for row in config.models if row.run is not None]
    for run in runs:
        if run.data.folder != config.data.folder or run.target != "masks":
            raise ConfigError(
                f"{path}: run '{run.name}' predicts {run.target} of data set '{run.data.folder}', the table compares "
                f"masks of '{config.data.folder}'."
            )
    return runs


def run_file(config: TableConfig, row: TableRow, path: Path, workspace: Workspace) -> Path:
    """The config of the run that a row stands for; of a study it is there once a trial is complete."""
    if row.run is not None:
        return path.parent / row.run
    study, _ = load_study(path.parent / str(row.study))
    return workspace.oof(config.data.folder) / "tuning" / study.name / "best.yaml"


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
    if official:
        text.append("published: one split of the authors' own, one fit a model; minutes on their machine")
    else:
        text.append("published figures stand beside these on the contest's own files alone")
    return "\n".join(text)


def _folder(run: RunConfig, workspace: Workspace) -> Path:
    return workspace.run(run.data.folder, run.name)


def _figures(config: RunConfig, context: Context, workspace: Workspace, search_minutes: float) -> Figures:
    run = read_run(_folder(config, workspace), context.folds)
    if run.info.config_hash != config.hash():
        raise OofMismatch(
            f"run '{run.info.name}' was trained with another config than its file has now. Train it again with "
            "scripts/train.py --restart."
        )
    fits = [
        FitFiles(run.folder / "models", fold, seed) for fold in range(context.folds.k) for seed in config.training.seeds
    ]
    done = [(files, fit) for files in fits if (fit := files.result(f"{config.fit_hash()} {run.info.folds_hash}"))]
    losses = [read_history(files.history)[fit.best_epoch - 1]["val_loss"] for files, fit in done]
    iou, dice, accuracy = _scores(run, context)
    return Figures(
        iou=iou,
        dice=dice,
        pixel_accuracy=accuracy,
        val_loss=float(np.mean(losses)) if losses else None,
        minutes=sum(fit.seconds for _, fit in done) / 60 + search_minutes,
        fits=len(done),
    )


def _scores(run: StoredRun, context: Context) -> tuple[float, ...]:
    """IoU, Dice and pixel accuracy of the rows that a fold validated."""
    metrics: tuple[Metric, ...] = (MeanIoU(), MeanDice(), PixelAccuracy())
    samples, rows = context.samples, np.flatnonzero(run.oof.covered)
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


def _search_minutes(row: TableRow, file: Path) -> float:
    if row.study is None:
        return 0.0
    with open(file.parent / "trials.csv", encoding="utf-8", newline="") as trials:
        return sum(float(trial["seconds"] or 0) for trial in csv.DictReader(trials)) / 60


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
