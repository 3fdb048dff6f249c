"""The files of one fit, and how it is told whether the fit is finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skyfold.files import read_json, write_atomic, write_json
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
    """val_loss: mean over fits, at the epoch whose weights were kept; minutes: of all fits together."""

    val_loss: float
    minutes: float


def finished_fit(folder: Path, *, fold: int, seed: int, fingerprint: str) -> FitResult | None:
    """The result of a fit finished before under this `stamp`; None where it has still to be done."""
    return FitFiles(folder, fold, seed).result(fingerprint)


def fit_of_run(folder: Path, *, fold: int, seed: int, folds_hash: str) -> FitResult | None:
    """The result of a finished fit of the run whose folder it is, made with these folds.

    A folder holds fits of one config alone: a run of another is refused there, or begun afresh.
    """
    files = FitFiles(folder, fold, seed)
    if not files.about.is_file():
        return None
    fingerprint = str(read_json(files.about)["fingerprint"])
    return files.result(fingerprint) if fingerprint.split()[1:2] == [folds_hash] else None


def summary_of_fits(folder: Path, *, folds: Folds) -> FitSummary | None:
    """Of the finished fits in `folder` made with `folds`, all seeds of all folds; None where there is none."""
    fits = []
    for about in sorted(folder.glob("fold*_seed*.json")):
        fold, seed = (int(part) for part in about.stem.removeprefix("fold").split("_seed"))
        if (fit := fit_of_run(folder, fold=fold, seed=seed, folds_hash=folds.hash())) is not None:
            fits.append(
                (read_history(FitFiles(folder, fold, seed).history)[fit.best_epoch - 1]["val_loss"], fit.seconds)
            )
    if not fits:
        return None
    losses, seconds = zip(*fits, strict=True)
    return FitSummary(val_loss=sum(losses) / len(losses), minutes=sum(seconds) / 60)


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
        fingerprint: str,
        score: float,
        best_epoch: int,
        epochs: int,
        seconds: float,
    ) -> FitResult:
        write_json(
            self.about,
            {
                "fingerprint": fingerprint,
                "score": score,
                "best_epoch": best_epoch,
                "epochs": epochs,
                "seconds": seconds,
            },
        )
        write_atomic(self.weights, save_weights)
        self.checkpoint.unlink(missing_ok=True)
        return FitResult(self.weights, score=score, best_epoch=best_epoch, epochs=epochs, seconds=seconds)

    def result(self, fingerprint: str) -> FitResult | None:
        if not (self.weights.is_file() and self.about.is_file()):
            return None
        about = read_json(self.about)
        if about.pop("fingerprint") != fingerprint:
            return None
        self.checkpoint.unlink(missing_ok=True)  # left behind by a process killed just before it took it away
        return FitResult(self.weights, **about)
