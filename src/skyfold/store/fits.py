"""The files of one fit: its result, which marks it as finished, and its training history as CSV and loss curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyfold.files import write_atomic, write_csv
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.records import FitRecord, read_record, write_record

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "lr", "seconds", "images_per_second")

REMEDY = "Delete it; the same `skyfold train` then fits this fold anew."

HistoryRow = dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """Result of a finished fit.

    weights: the file of the weights that predict; score: validation score of their epoch, at the size of training;
    best_epoch: that epoch, from 1; epochs: number of epochs trained; seconds: duration of the fit.
    """

    weights: Path
    score: float
    best_epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class FitSummary:
    """Several fits. val_loss: mean over fits, at the epoch whose weights were kept, None where no epoch was trained;
    minutes: of all fits together; fits: their number."""

    val_loss: float | None
    minutes: float
    fits: int


def summary_of_fits(folder: Path, *, folds: Folds) -> FitSummary | None:
    """Mean validation loss and time of the finished fits in `folder` made with `folds`; None where there is none."""
    losses, seconds, made_with = [], [], Fingerprint(folds=folds.hash())
    for about in sorted(folder.glob("fold*_seed*.json")):
        fold, seed = (int(part) for part in about.stem.removeprefix("fold").split("_seed"))
        files = FitFiles(folder, fold, seed)
        if (fit := files.result(made_with)) is not None:
            seconds.append(fit.seconds)
            if fit.best_epoch:
                losses.append(read_history(files.history)[fit.best_epoch - 1]["val_loss"])
    if not seconds:
        return None
    return FitSummary(sum(losses) / len(losses) if losses else None, sum(seconds) / 60, len(seconds))


class FitFiles:
    """The files of one fit in `folder`: `fold<f>_seed<s>.*`. Those of a fit that is finished have its weights."""

    def __init__(self, folder: Path, fold: int, seed: int) -> None:
        name = f"fold{fold}_seed{seed}"
        self.weights = folder / f"{name}.weights.h5"
        self.history = folder / f"{name}.csv"
        self.curves = folder / f"{name}.png"
        self.about = folder / f"{name}.json"
        self.checkpoint = folder / f"{name}.checkpoint.npz"

    def finish(self, save_weights: Callable[[Path], object], *, fingerprint: Fingerprint, **result: Any) -> FitResult:
        """Write the result, then the weights, which mark the fit as finished, and remove the checkpoint.

        save_weights: writes the weights to a path. result: fields of `FitResult` besides `weights`.
        """
        self.weights.unlink(missing_ok=True)  # those of another fingerprint would pass for this result's
        write_record(self.about, {"fingerprint": fingerprint.to_json(), **result})
        write_atomic(self.weights, save_weights)
        self.checkpoint.unlink(missing_ok=True)
        return FitResult(self.weights, **result)

    def result(self, fingerprint: Fingerprint) -> FitResult | None:
        """The result of a finished fit, no known part of whose fingerprint differs; None where it is still to be done.

        A folder holds fits of one config only, so the part `folds` suffices for a run that is stored.
        """
        if not (self.weights.is_file() and self.about.is_file()):
            return None
        about = read_record(self.about, FitRecord, remedy=REMEDY)
        if Fingerprint.from_json(about.pop("fingerprint"), str(self.about)).different(fingerprint):
            return None
        self.checkpoint.unlink(missing_ok=True)  # left behind by a process killed just before it removed it
        return FitResult(self.weights, **about)


def write_history(path: Path, history: list[HistoryRow]) -> None:
    """A row an epoch; what was not measured in it (NaN) is left empty."""
    rows = [["" if math.isnan(row[name]) else f"{row[name]:.6g}" for name in COLUMNS] for row in history]
    write_csv(path, [COLUMNS, *rows])


def read_history(path: Path) -> list[HistoryRow]:
    """What `write_history` wrote; NaN where a cell is empty."""
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


def draw_history(path: Path, history: list[HistoryRow], *, title: str, score: str) -> None:
    """Losses on the left, validation score on the right, over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    measured = [row for row in history if not math.isnan(row["val_loss"])]
    validated = [row["epoch"] for row in measured]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], marker=".", label="training")
    left.plot(validated, [row["val_loss"] for row in measured], marker=".", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    right.plot(validated, [row["val_score"] for row in measured], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel=score)
    figure.suptitle(title)
    write_atomic(path, FigureCanvasAgg(figure).print_png)
