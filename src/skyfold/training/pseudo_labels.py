"""Images without labels, labelled by a run that was trained before (the teacher), for another one to learn from too.

Fold f learns from what the teacher's networks of fold f say, and from no others: they have not seen the rows that fold
f validates, so that the labels cannot carry those rows' masks into the score. A blend or a run of other folds cannot
promise that, and is refused. So is a teacher that learned from a teacher of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.config.training import PseudoLabelsConfig
from skyfold.data.batches import WholeRows
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles, FitResult
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.training.objective import FitArrays, RunArrays
from skyfold.types import ArraySequence, Split


def find_teacher(student: RunConfig, runs: Path, folds: Folds, images: RunArrays | None) -> Teacher:
    """The run that `student.pseudo` names, from the folder `runs`, to label `images`.

    OofMismatch where there is none, ConfigError where it will not do.
    """
    assert student.pseudo_labels is not None
    name = student.pseudo_labels.run
    info = read_info(runs / name)
    if info.kind != "run":
        raise ConfigError(
            f"pseudo_labels.run: '{name}' is a {info.kind}, whose networks have seen every row between them. Name a "
            "trained run."
        )
    if info.task != student.task:
        raise ConfigError(f"pseudo_labels.run: '{name}' has task: {info.task}, '{student.name}' task: {student.task}.")
    if info.fingerprint.folds != folds.hash():
        raise ConfigError(
            f"pseudo_labels.run: the teacher '{name}' was trained with other folds ({info.fingerprint.folds}) than "
            f"folds.csv ({folds.hash()}), so that its networks have seen rows that '{student.name}' validates, and "
            "their labels would leak into its score. Retrain the teacher with --restart."
        )
    if info.config.get("pseudo_labels"):
        raise ConfigError(
            f"pseudo_labels.run: the teacher '{name}' has learned from a teacher itself. Name that one, "
            f"'{info.config['pseudo_labels']['run']}'."
        )
    config = RunConfig.model_validate(info.config)
    if config.images.size != student.images.size:
        raise ConfigError(
            f"pseudo_labels.run: the teacher '{name}' sees images of {config.images.size}, '{student.name}' of "
            f"{student.images.size} pixels. They must be of one size."
        )
    if config.classes != student.classes:
        learned = [", ".join(run.classes) or "all classes" for run in (config, student)]
        raise ConfigError(
            f"pseudo_labels.run: the teacher '{name}' learned {learned[0]}, '{student.name}' learns {learned[1]}. "
            "Both must list the same classes in the same order."
        )
    if images is None:
        raise ConfigError(f"pseudo_labels: the data have no test images that '{name}' could label. Remove it.")
    fits = {fold: _finished(runs / name, config, info.fingerprint, fold) for fold in range(folds.k)}
    assert isinstance(images, TrainingArrays)
    return Teacher(runs / name, config, info.fingerprint, images, fits)


def _finished(folder: Path, config: RunConfig, fingerprint: Fingerprint, fold: int) -> list[FitResult]:
    seeds = config.training.seeds
    models = folder / "models"
    found = [FitFiles(models, fold, seed).result(fingerprint.of("folds")) for seed in seeds]
    finished = [fit for fit in found if fit is not None]
    if len(finished) < len(seeds):
        raise ConfigError(
            f"pseudo_labels.run: the teacher '{config.name}' has not finished fold {fold}. Train it first."
        )
    return finished


class Predict(Protocol):
    """Writes the mean prediction of `fits` for `rows` of `arrays` into `store`."""

    def __call__(
        self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str
    ) -> None: ...


@dataclass(frozen=True)
class Teacher:
    """folder: of the run; config, fingerprint: what it was trained with; images: that it labels; fits: by fold, its
    networks that have not seen what the fold validates."""

    folder: Path
    config: RunConfig
    fingerprint: Fingerprint
    images: TrainingArrays
    fits: Mapping[int, list[FitResult]]

    @property
    def provenance(self) -> str:
        """Changes with anything that changes the labels."""
        return f"{self.config.name} {self.fingerprint.digest()} {self.images.checksum}"

    @property
    def predicting(self) -> RunConfig:
        """The config that it labels by: at the size the network sees, where there are no edges to follow yet."""
        return self.config.model_copy(update={"image": self.config.images.model_copy(update={"guided_filter": None})})

    def labels(self, config: PseudoLabelsConfig, *, classes: int, predict: Predict) -> PseudoLabels:
        """What it says of the images, fold by fold; kept in `pseudo/fold<f>` of its folder, and taken from there."""
        stores = {
            fold: RowStore.open_or_create(
                self.folder / "pseudo_labels" / f"fold{fold}",
                ids=self.images.ids,
                shape=(*self.config.images.size, classes),
                dtype="uint8",
                fingerprint=self.provenance,
            )
            for fold in self.fits
        }
        for fold, store in stores.items():
            rows = np.arange(len(self.images.ids))
            predict(self.images, rows, store, self.fits[fold], label=f"labels of {self.config.name}, fold {fold}")
        return PseudoLabels(config, self.images.inputs, {fold: store.values for fold, store in stores.items()})


@dataclass(frozen=True)
class PseudoLabels:
    """inputs: uint8 (m, h, w, C), the images without labels; probabilities: by fold, uint8 (m, h, w, K), 255 x p."""

    config: PseudoLabelsConfig
    inputs: ArraySequence
    probabilities: Mapping[int, ArraySequence]

    def added_to(self, arrays: FitArrays, split: Split, fold: int) -> tuple[FitArrays, Split]:
        """`arrays` and behind them the labelled images, which `fold` is fitted on too."""
        assert isinstance(arrays, TrainingArrays), "image.crop should have been refused with the config"
        assert arrays.targets is not None
        count = len(arrays.inputs)
        labels = _Labels(self.probabilities[fold], low=self.config.low, high=self.config.high)
        extended = _Extended(_Chained(arrays.inputs, self.inputs), _Chained(arrays.targets, labels))
        return extended, Split(
            train=np.concatenate([split.train, np.arange(count, count + len(self.inputs))]), valid=split.valid
        )


@dataclass(frozen=True)
class _Extended(WholeRows):
    inputs: ArraySequence
    targets: ArraySequence


@dataclass(frozen=True)
class _Chained:
    first: ArraySequence
    second: ArraySequence

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> np.ndarray:
        count = len(self.first)
        return self.first[index] if index < count else self.second[index - count]


@dataclass(frozen=True)
class _Labels:
    """Targets uint8 (h, w, K + 1) of probabilities: a pixel counts where the teacher is sure of every class."""

    probabilities: ArraySequence
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, index: int) -> np.ndarray:
        probability = self.probabilities[index] / np.float32(255)
        shown = probability >= self.high
        sure = (shown | (probability <= self.low)).all(axis=-1, keepdims=True)
        return np.concatenate([shown, sure], axis=-1).astype(np.uint8)
