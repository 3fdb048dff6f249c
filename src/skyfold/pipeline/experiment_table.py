"""Experiments: train the models of one config on the same folds, and compare them.

The table gives IoU, Dice, pixel accuracy, validation loss and minutes of each model. Below it is the metric of the
competition, cross-fitted, with the paired difference to the first model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from skyfold.config.blend import BlendConfig
from skyfold.config.experiment import PublishedFigures, TableConfig
from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_masks
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.bootstrap import Interval
from skyfold.metrics.sample_stats import sample_stats
from skyfold.metrics.segmentation import MeanDice, MeanIoU, PixelAccuracy
from skyfold.pipeline import train
from skyfold.postprocess.evaluate import difference
from skyfold.postprocess.selection import HALF
from skyfold.reports.text_table import aligned
from skyfold.store.fits import summary_of_fits
from skyfold.store.runs import read_run
from skyfold.tasks import task_class
from skyfold.tasks.stored_blend import read_blend, read_member
from skyfold.tuning.search_space import load_study
from skyfold.types import Metric
from skyfold.workspace import Workspace

# Heading, field and format of each column.
COLUMNS = (
    ("IoU", "iou", ".4f"),
    ("Dice", "dice", ".4f"),
    ("pixel accuracy", "pixel_accuracy", ".4f"),
    ("validation loss", "val_loss", ".4f"),
    ("minutes", "minutes", ".1f"),
    ("fits", "fits", "d"),
)
PUBLISHED = (
    ("published IoU", "iou", ".3f"),
    ("Dice", "dice", ".3f"),
    ("pixel accuracy", "pixel_accuracy", ".3f"),
    ("minutes", "minutes", "g"),
)
METRICS: dict[str, Metric] = {"iou": MeanIoU(), "dice": MeanDice(), "pixel_accuracy": PixelAccuracy()}
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
    """One model of an experiment.

    figures  None for the reason in `note`
    gain     cross-fitted score minus that of the first model, paired; None for the first one and where there is none
    """

    model: str
    figures: Figures | None
    note: str
    published: PublishedFigures | None
    gain: Interval | None = None


@dataclass(frozen=True)
class ExperimentTable:
    """The models of one experiment.

    title     data set, its origin, and folds, in words
    official  whether the files are the competition's own, which published figures are of
    metric    name of the competition's metric
    """

    title: str
    official: bool
    metric: str
    lines: tuple[Line, ...]


def run_table(config: TableConfig, path: Path, workspace: Workspace, log: Callable[[str], None]) -> None:
    """Search, train, score and blend the models in the order of the table's rows, and log the table.

    path: the file `config` was read from; log: called with each line. folds.csv must exist. An interrupted call
    resumes. ConfigError where no trial of a study is complete.
    """
    from skyfold.tuning.tune import tune  # loads Optuna

    done: set[str] = set()

    def trained(run: RunConfig) -> None:
        if run.name not in done:
            if train.train(run, workspace).complete:
                task_class(run.task).report_run(run, workspace)
            done.add(run.name)

    for row in config.models:
        log(f"model {row.model}")
        for run in row.runs:
            trained(run)
        if row.blend is not None:
            task = task_class(row.blend.task)
            for line in task.blend_lines(task.blend(row.blend, workspace)):
                log(line)
        if row.study is not None:
            assert row.trials is not None
            tune(path.parent / row.study, workspace, trials=row.trials)
            best = _best_of_study(path.parent / row.study, config, workspace)
            if not best.is_file():
                raise ConfigError(f"{path}: no trial of {row.study} is complete. Look at {best.parent}.")
            trained(load_run(best))
    log(as_text(experiment_table(config, path, workspace)))


def experiment_table(config: TableConfig, path: Path, workspace: Workspace) -> ExperimentTable:
    """The table of what is stored of the models; nothing is trained. path: the file `config` was read from."""
    dataset = open_masks(config.data, workspace)
    lines: list[Line] = []
    first: Path | None = None
    for row in config.models:
        figures, note, gain = None, f"not trained yet: skyfold run {path}", None
        try:
            best = _best_of_study(path.parent / row.study, config, workspace) if row.study else None
            model = row.run or row.blend or (load_run(best) if best and best.is_file() else None)
            if model is not None and (folder := _stored(model, workspace)):
                figures, note = _figures(model, folder, best, dataset, workspace), ""
                if first and all((one / "rows.csv").is_file() for one in (folder, first)):
                    gain = difference(folder / "rows.csv", first / "rows.csv", metric=dataset.competition.metric)
                first = first or folder
        except (OofMismatch, ConfigError) as error:
            note = str(error)
        lines.append(Line(row.model, figures, note, row.published, gain))
    folder, competition = workspace.data(config.data.folder), dataset.competition
    origin = "synthetic sample" if (folder / ABOUT).is_file() else "other files"
    if competition.provenance is not None:
        origin = competition.provenance(folder)
    title = f"{config.data.folder}: {origin}, {len(dataset.train)} samples, out-of-fold over {dataset.folds.k} folds"
    return ExperimentTable(title, origin == "official", competition.metric.name, tuple(lines))


def as_text(table: ExperimentTable) -> str:
    """The table in aligned columns; published figures are shown on the official files only."""
    lines = table.lines
    columns = [["model", *(line.model for line in lines)], *_columns(COLUMNS, [line.figures for line in lines])]
    if table.official:
        columns += _columns(PUBLISHED, [line.published for line in lines])
    text = [
        f"{table.title}, cut at 0.5",
        aligned(zip(*columns, strict=True)),
        *(f"{line.model}: {line.note}" for line in lines if line.note),
    ]
    if any(line.figures and line.figures.cross_fitted is not None for line in lines):
        text += ["", f"{table.metric}, cross-fitted", aligned([CROSS_FITTED, *map(_cross_fitted, lines)]), ""]
    if table.official:
        text.append("published: one split of the authors' own, one fit a model; minutes on their machine")
    elif any(line.published for line in lines):
        text.append("published figures stand beside these on the contest's own files alone")
    return "\n".join(text).rstrip()


def _best_of_study(study: Path, config: TableConfig, workspace: Workspace) -> Path:
    """The config of the best trial of a study; it exists once a trial is complete."""
    return workspace.oof(config.data.folder) / "tuning" / load_study(study)[0].name / "best.yaml"


def _stored(model: RunConfig | BlendConfig, workspace: Workspace) -> Path | None:
    """The folder of a run or blend; None where it is not stored."""
    folder = workspace.run(model.data.folder, model.name)
    return folder if (folder / ("run.json" if isinstance(model, RunConfig) else "blend.json")).is_file() else None


def _figures(
    model: RunConfig | BlendConfig, folder: Path, best: Path | None, dataset: Dataset, workspace: Workspace
) -> Figures:
    """best: of a study whose trials count, too. OofMismatch where a run is not of its config or of the blend's."""
    if isinstance(model, RunConfig):
        run = read_member(model, dataset, workspace)
        members = [run]
    else:
        read_blend(model, workspace, dataset.contents)  # refuses one whose runs were trained again
        run = read_run(folder, dataset.folds)
        members = [read_member(member, dataset, workspace) for member in model.runs]
    fits = [
        summary_of_fits(member.folder / "models", folds=dataset.folds, seeds=member.info.seeds) for member in members
    ]
    trained = [one for one in fits if one is not None]
    minutes = sum(one.minutes for one in trained)
    if best:
        seconds = pd.read_csv(best.with_name("trials.csv"))["seconds"].fillna(0)
        minutes += float(seconds.sum()) / 60
    rows = dataset.folds.scored
    stats = sample_stats(METRICS, dataset.train, rows, lambda chunk: run.oof.values[chunk] > HALF)
    scores = run.info.scores
    return Figures(
        **{name: metric.score(stats[name]) for name, metric in METRICS.items()},
        val_loss=trained[0].val_loss if trained and isinstance(model, RunConfig) else None,
        minutes=minutes,
        fits=sum(one.fits for one in trained),
        cross_fitted=scores.get("cv_cross_fitted"),
        interval=(scores["low"], scores["high"]) if {"low", "high"} <= scores.keys() else None,
    )


def _columns(columns: Sequence[tuple[str, str, str]], rows: Sequence[object]) -> list[list[str]]:
    """Each column as its heading and a cell per row; "-" where there is no row, or no value."""
    values = [(head, form, [getattr(row, field, None) for row in rows]) for head, field, form in columns]
    return [[head, *("-" if one is None else format(one, form) for one in cells)] for head, form, cells in values]


def _cross_fitted(line: Line) -> list[str]:
    figures, gain = line.figures, line.gain
    if figures is None or figures.interval is None:
        return [line.model, *["-"] * (len(CROSS_FITTED) - 1)]
    own = [f"{figures.cross_fitted:.4f}", f"{figures.interval[0]:.4f} to {figures.interval[1]:.4f}"]
    paired = ["", ""] if gain is None else [f"{gain.value:+.4f}", f"{gain.low:+.4f} to {gain.high:+.4f}"]
    return [line.model, *own, *paired]
