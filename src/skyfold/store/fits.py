"""The files of one fit, and how it is told whether the fit is finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyfold.files import read_json, write_atomic, write_json
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.training_history import read_history


@dataclass(frozen=True)
class FitResult:
    """weights: the file of the weights that predict. score: validation score of their epoch, at the training size."""

    weights: Path
    score: float
    best_epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class FitSummary:
    """val_loss: mean over fits, at the epoch whose weights were kept, None where no epoch was trained; minutes: of all
    fits together; fits: their number."""

    val_loss: float | None
    minutes: float
    fits: int


def summary_of_fits(folder: Path, *, folds: Folds) -> FitSummary | None:
    """Of the finished fits in `folder` made with `folds`, all seeds of all folds; None where there is none."""
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
        write_json(self.about, {"fingerprint": fingerprint.to_json(), **result})
        write_atomic(self.weights, save_weights)
        self.checkpoint.unlink(missing_ok=True)
        return FitResult(self.weights, **result)

    def result(self, fingerprint: Fingerprint) -> FitResult | None:
        """The result of a finished fit, no known part of whose fingerprint differs; None where it is still to be done.

        A folder holds fits of one config only, so the part `folds` suffices for a run that is stored.
        """
        if not (self.weights.is_file() and self.about.is_file()):
            return None
        about = read_json(self.about)
        if Fingerprint.from_json(about.pop("fingerprint"), str(self.about)).different(fingerprint):
            return None
        self.checkpoint.unlink(missing_ok=True)  # left behind by a process killed just before it removed it
        return FitResult(self.weights, **about)
