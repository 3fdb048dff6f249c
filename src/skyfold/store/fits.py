"""The files of one fit: its result, which marks it as finished, and its training history as CSV and loss curves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from skyfold.errors import DamagedFile
from skyfold.files import file_digest, read_csv, write_atomic, write_csv
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.records import FitRecord, read_record, write_record
from skyfold.types import JsonDict

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "lr", "seconds", "images_per_second")

FULL = "full"  # in the place of a fold's number: the fit on all samples
Fold = int | str
WEIGHTS = ".weights.h5"
HISTORY_REMEDY = "Take it from a backup, or train the run again with --restart."
REMEDY = "Delete it; the same `skyfold train` then fits this fold anew."

HistoryRow = dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """Result of a finished fit.

    weights: the file of the weights that predict; score: validation score of their epoch, at the size of training, of a
    fit on all samples, which leaves none to validate, the mean of the folds';
    best_epoch: that epoch, from 1; epochs: number of epochs trained; seconds: duration of the fit; weights_sha256: of
    the file of weights as it was written, None where the record is older than the checksum; rescale: fields of the
    `data.rescale.Rescale` of its inputs, None where stored bytes are read.

    None where the record is older: metric, the name of that of the score; metric_source, a digest of its code, where it
    lies outside skyfold; started, in UTC, ISO 8601; images_per_second
    that were trained on, None too without an epoch; peak_memory_mb, resident memory of the process until the fit ended;
    environment, a `records.Environment`.
    """

    weights: Path
    score: float
    best_epoch: int
    epochs: int
    seconds: float
    weights_sha256: str | None = None
    rescale: Mapping[str, Any] | None = None
    metric: str | None = None
    metric_source: str | None = None
    started: str | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    environment: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Fold and seed, for people."""
        return name_of(self.weights)

    def verify(self) -> None:
        """DamagedFile where the weights are not those that were written; of an older record that is not known."""
        if self.weights_sha256 is not None and self.weights_sha256 != _sha256(self.weights, *_state(self.weights)):
            raise self.damaged("not the weights that were written when the fold was fitted, by their checksum")

    def load_into(self, model: Any) -> None:
        """Set the weights of a Keras `model`. DamagedFile where they are not those that were written, or of no such
        model."""
        self.verify()
        try:
            model.load_weights(self.weights)
        except Exception as error:  # h5py and Keras raise whatever they meet
            raise self.damaged(f"not the weights of this network ({reason_of(error)})") from None

    def damaged(self, what: str) -> DamagedFile:
        """The error of weights that are `what`."""
        full = " --full" if self.weights.name.startswith(FULL) else ""
        return DamagedFile(
            f"{self.weights}: {what}. Take the file from a backup, or delete it and train run "
            f"'{self.weights.parent.parent.name}' again: skyfold train CONFIG{full} fits {self.name} anew."
        )


@dataclass(frozen=True)
class FitSummary:
    """Several fits. val_loss: mean over fits, at the epoch whose weights were kept, None where no epoch was trained;
    minutes: of all fits together; fits: their number."""

    val_loss: float | None
    minutes: float
    fits: int


def summary_of_fits(folder: Path, *, folds: Folds, seeds: Sequence[int] | None = None) -> FitSummary | None:
    """Mean validation loss and time of the finished fits in `folder` made with `folds`; None where there is none.

    seeds: of the run, None: all; those of seeds that were taken out of its config stay where they are.
    """
    losses, seconds, made_with = [], [], Fingerprint(folds=folds.hash())
    for about in sorted(folder.glob("fold*_seed*.json")):
        if (numbers := re.fullmatch(r"fold(\d+)_seed(\d+)", about.stem)) is None:
            continue
        fold, seed = map(int, numbers.groups())
        if seeds is not None and seed not in seeds:
            continue
        files = FitFiles(folder, fold, seed)
        if (fit := files.result(made_with)) is not None:
            seconds.append(fit.seconds)
            if fit.best_epoch:
                history = read_history(files.history)
                if len(history) < fit.best_epoch:
                    raise DamagedFile(f"{files.history}: holds {len(history)} of {fit.epochs} epochs. {HISTORY_REMEDY}")
                losses.append(history[fit.best_epoch - 1]["val_loss"])
    if not seconds:
        return None
    return FitSummary(sum(losses) / len(losses) if losses else None, sum(seconds) / 60, len(seconds))


def read_fits(folder: Path) -> dict[str, JsonDict]:
    """What is recorded of the finished fits in `folder`, a `FitRecord` each, by the stem of their files, such as
    "fold0_seed0". DamagedFile where a record is damaged.
    """
    found = {}
    for weights in sorted(folder.glob(f"*_seed*{WEIGHTS}")):
        about = weights.with_name(f"{weights.name.removesuffix(WEIGHTS)}.json")
        if about.is_file():
            found[about.stem] = read_record(about, FitRecord, remedy=REMEDY)
    return found


def read_environments(folder: Path) -> dict[str, JsonDict]:
    """`records.Environment` by the name of the fit, of the fits of `read_fits` that recorded it."""
    fits = {name_of(Path(stem)): fit.get("environment") for stem, fit in read_fits(folder).items()}
    return {name: environment for name, environment in fits.items() if environment}


class FitFiles:
    """The files of one fit in `folder`: `fold<f>_seed<s>.*`, on all samples `full_seed<s>.*`. Those of a fit that is
    finished have its weights."""

    def __init__(self, folder: Path, fold: Fold, seed: int) -> None:
        name = f"{FULL if fold == FULL else f'fold{fold}'}_seed{seed}"
        self.name = name
        self.weights = folder / f"{name}{WEIGHTS}"
        self.history = folder / f"{name}.csv"
        self.curves = folder / f"{name}.png"
        self.about = folder / f"{name}.json"
        self.checkpoint = folder / f"{name}.checkpoint.npz"

    def finish(self, save_weights: Callable[[Path], object], *, fingerprint: Fingerprint, **result: Any) -> FitResult:
        """Write the result, then the weights, which mark the fit as finished, and remove the checkpoint.

        save_weights: writes the weights to a path. result: fields of `FitResult` besides `weights`.
        """
        self.weights.unlink(missing_ok=True)  # those of another fingerprint would pass for this result's
        about = {"fingerprint": fingerprint.to_json(), **result}

        def save(beside: Path) -> None:
            save_weights(beside)
            about["weights_sha256"] = file_digest(beside)
            write_record(self.about, about)

        write_atomic(self.weights, save)
        self.checkpoint.unlink(missing_ok=True)
        return FitResult(self.weights, weights_sha256=about["weights_sha256"], **result)

    def told(self, result: FitResult) -> JsonDict:
        """What `loggers.Logger.end_fit` is told of a finished fit."""
        figures = ("score", "best_epoch", "epochs", "seconds", "peak_memory_mb", "weights_sha256")
        files = {"weights": self.weights, "history": self.history, "curves": self.curves}
        return {key: getattr(result, key) for key in figures} | {key: str(path) for key, path in files.items()}

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

    def with_checksum(self, fit: FitResult) -> FitResult:
        """`fit` as its record is from now on: one that is older than the checksum of weights gets it."""
        if fit.weights_sha256 is not None:
            return fit
        sha256 = file_digest(self.weights)
        write_record(self.about, {**read_record(self.about, FitRecord, remedy=REMEDY), "weights_sha256": sha256})
        return replace(fit, weights_sha256=sha256)


def name_of(weights: Path) -> str:
    """Fold and seed of a file of weights, for people.

    >>> name_of(Path("fold2_seed0.weights.h5")), name_of(Path("full_seed0.weights.h5"))
    ('fold 2, seed 0', 'full fit, seed 0')
    """
    fold, _, seed = weights.name.partition(".")[0].partition("_seed")
    return f"{'full fit' if fold == FULL else fold.replace('fold', 'fold ')}, seed {seed}"


def reason_of(error: Exception) -> str:
    """The first line of what a library says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _state(path: Path) -> tuple[int, ...]:
    """Changes with any write to the file."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=4096)
def _sha256(path: Path, *state: int) -> str:
    return file_digest(path)


def write_history(path: Path, history: list[HistoryRow]) -> None:
    """A row an epoch; what was not measured in it (NaN) is left empty."""
    rows = [["" if math.isnan(row[name]) else f"{row[name]:.6g}" for name in COLUMNS] for row in history]
    write_csv(path, [COLUMNS, *rows])


def read_history(path: Path) -> list[HistoryRow]:
    """What `write_history` wrote; NaN where a cell is empty. DamagedFile where it is missing or no such table."""
    if not path.is_file():
        raise DamagedFile(f"{path}: missing. {HISTORY_REMEDY}")
    table = read_csv(path, text=(), remedy=HISTORY_REMEDY, empty=True)
    if tuple(table.columns) != COLUMNS:
        raise DamagedFile(f"{path}: expected the columns {', '.join(COLUMNS)}. {HISTORY_REMEDY}")
    return [dict(zip(COLUMNS, row, strict=True)) for row in table.to_numpy(dtype=float).tolist()]


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
