"""The files of one fit, and how it is told whether the fit is finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skyfold.files import read_json, write_atomic, write_json


@dataclass(frozen=True)
class FitResult:
    """weights: the file of the weights that predict. score: validation score of their epoch, at the training size."""

    weights: Path
    score: float
    best_epoch: int
    epochs: int
    seconds: float


def finished_fit(folder: Path, *, fold: int, seed: int, stamp: str) -> FitResult | None:
    """The result of a fit finished before under this `stamp`; None where it has still to be done."""
    return FitFiles(folder, fold, seed).result(stamp)


def fit_of_run(folder: Path, *, fold: int, seed: int, folds_hash: str) -> FitResult | None:
    """The result of a finished fit of the run whose folder it is, made with these folds.

    A folder holds fits of one config alone: a run of another is refused there, or begun afresh.
    """
    files = FitFiles(folder, fold, seed)
    if not files.about.is_file():
        return None
    stamp = str(read_json(files.about)["stamp"])
    return files.result(stamp) if stamp.split()[1:2] == [folds_hash] else None


class FitFiles:
    """The files of one fit in `folder`: `fold<f>_seed<s>.*`. Those of a fit that is finished have its weights."""

    def __init__(self, folder: Path, fold: int, seed: int) -> None:
        name = f"fold{fold}_seed{seed}"
        self.weights = folder / f"{name}.weights.h5"
        self.history = folder / f"{name}.csv"
        self.curves = folder / f"{name}.png"
        self.about = folder / f"{name}.json"
        self.checkpoint = folder / f"{name}.checkpoint.npz"

    def unfinish(self) -> None:
        """Take away weights of another stamp, which would pass for those of a result written now."""
        self.weights.unlink(missing_ok=True)

    def finish(
        self,
        save_weights: Callable[[Path], object],
        *,
        stamp: str,
        score: float,
        best_epoch: int,
        epochs: int,
        seconds: float,
    ) -> FitResult:
        write_json(
            self.about,
            {"stamp": stamp, "score": score, "best_epoch": best_epoch, "epochs": epochs, "seconds": seconds},
        )
        write_atomic(self.weights, save_weights)
        self.checkpoint.unlink(missing_ok=True)
        return FitResult(self.weights, score=score, best_epoch=best_epoch, epochs=epochs, seconds=seconds)

    def result(self, stamp: str) -> FitResult | None:
        if not (self.weights.is_file() and self.about.is_file()):
            return None
        about = read_json(self.about)
        if about.pop("stamp") != stamp:
            return None
        self.checkpoint.unlink(missing_ok=True)  # left behind by a process killed just before it took it away
        return FitResult(self.weights, **about)
