"""Pseudo-labels (self-training): test images labelled by another run, the teacher, as further training samples.

Fold f learns from labels of the teacher's networks of fold f only: these have not seen the rows that fold f validates,
so that no mask of those rows leaks into the score. A blend or a run with other folds cannot guarantee that and is
refused, as is a teacher that was trained on pseudo-labels itself. The maps of an imported run are its labels, where
they were imported fold by fold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.config.training import PseudoLabelsConfig
from skyfold.data.batches import WholeRows
from skyfold.data.cache import TrainingArrays, filled_store
from skyfold.data.images import resize
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.store.fits import FULL, FitResult, Fold
from skyfold.store.folds import Folds, id_difference
from skyfold.store.locks import waited_for
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_test_folds
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.training.objective import FitArrays, Objective, RunArrays
from skyfold.training.source_run import SourceRun
from skyfold.types import ArraySequence, LazyArrays, Split


def find_teacher(objective: Objective, runs: Path, folds: Folds, images: RunArrays | None) -> Teacher:
    """The run in the folder `runs` that `pseudo_labels` of the student's config names, to label `images`.

    objective: of the student. OofMismatch where there is no such run, ConfigError where it cannot be used.
    """
    student = objective.config
    assert student.pseudo_labels is not None
    folder = runs / student.pseudo_labels.run
    teacher = SourceRun.open(folder, key="pseudo_labels.run", user=student, weights=False)
    what, config, fingerprint = teacher.what, teacher.config, teacher.info.fingerprint
    if fingerprint.folds != folds.hash():
        raise ConfigError(
            f"{what} was trained with other folds ({fingerprint.folds}) than folds.csv ({folds.hash()}), so that its "
            f"networks have seen rows that '{student.name}' validates, and their labels would leak into its score. "
            f"{'Import it again' if config.imported else 'Retrain it with --restart'}."
        )
    if teacher.info.classes != objective.classes:
        theirs, own = (", ".join(one.classes) for one in (teacher.info, objective))
        raise ConfigError(
            f"{what} learned {theirs}, '{student.name}' learns {own}. Both must list the same classes in the "
            "same order."
        )
    if images is None:
        raise ConfigError(f"{what} has no test images to label. Remove pseudo_labels.")
    assert isinstance(images, TrainingArrays)
    if config.imported:
        maps = read_test_folds(folder, folds)
        if not maps:
            raise ConfigError(
                f"{what} was imported without its folds, or with one file for the test part, to which networks "
                f"contributed that have seen rows that '{student.name}' validates. Import it again with --folds FILE "
                "and --test FILE FILE ..., one file of each fold."
            )
        if difference := id_difference(maps[0].ids, images.ids, (f"run '{config.name}'", "the test part")):
            raise OofMismatch(f"{difference}. Import the run again.")
        return ImportedTeacher(teacher, images, maps)
    if config.pseudo_labels is not None:
        raise ConfigError(
            f"{what} was trained on pseudo-labels itself. Name the run that made them, '{config.pseudo_labels.run}'."
        )
    if config.images.size != student.images.size:
        raise ConfigError(
            f"{what} has image.size {config.images.size}, '{student.name}' {student.images.size}. Set both alike."
        )
    if config.images.neighbours != student.images.neighbours:
        raise ConfigError(
            f"{what} has image.neighbours {config.images.neighbours}, '{student.name}' {student.images.neighbours}. "
            "Set both alike."
        )
    fits = {fold: [teacher.fit(fold, seed) for seed in config.training.seeds] for fold in range(folds.k)}
    return TrainedTeacher(teacher, images, fits)


@dataclass(frozen=True)
class Teacher(ABC):
    """run: that labels images; images: that it labels."""

    run: SourceRun
    images: TrainingArrays

    @property
    @abstractmethod
    def provenance(self) -> str:
        """Changes with anything that changes the labels."""

    @abstractmethod
    def labels(self, student: Objective) -> PseudoLabels:
        """Labels of the images fold by fold, of the size that the student reads; kept in `pseudo_labels` of the run's
        folder and read from there."""


@dataclass(frozen=True)
class TrainedTeacher(Teacher):
    """fits: by fold, its networks, which have not seen what the fold validates."""

    fits: Mapping[int, list[FitResult]]

    @property
    def provenance(self) -> str:
        return f"{self.run.config.name} {self.run.info.fingerprint.digest()} {self.images.checksum}"

    def labels(self, student: Objective) -> PseudoLabels:
        """As `Teacher.labels`: the images are predicted, at the size that the network reads, to which the guided filter
        does not apply."""
        assert student.config.pseudo_labels is not None
        config = self.run.config
        plain = config.model_copy(update={"image": config.images.model_copy(update={"guided_filter": None})})
        task = type(student)(plain, replace(student.competition, grid=config.images.size))
        trainer = FoldTrainer(task, self.images, self.run.folder / "models", self.run.info.fingerprint)
        rows = np.arange(len(self.images.ids))
        probabilities = {}
        with waited_for(self.run.folder / "pseudo_labels.lock"):  # another student may have them predicted now
            for fold, fits in self.fits.items():
                store = RowStore.open_or_create(
                    self.run.folder / "pseudo_labels" / f"fold{fold}",
                    ids=self.images.ids,
                    shape=task.row_shape(self.images),
                    dtype=task.dtype,
                    fingerprint=self.provenance,
                )
                trainer.predict(self.images, rows, store, fits, label=f"labels of {config.name}, fold {fold}")
                probabilities[fold] = store.values
        return PseudoLabels(student.config.pseudo_labels, self.images, probabilities)


@dataclass(frozen=True)
class ImportedTeacher(Teacher):
    """maps: of the images by fold, of the grid or of each image's own size."""

    maps: Sequence[RowStore]

    @property
    def provenance(self) -> str:
        return f"{self.run.config.name} {digest(*(rows.checksum() for rows in self.maps))} {self.images.checksum}"

    def labels(self, student: Objective) -> PseudoLabels:
        """As `Teacher.labels`: maps are reduced as images are, by area averaging."""
        assert student.config.pseudo_labels is not None
        height, width = student.config.images.size

        def resized(maps: RowStore, row: int) -> np.ndarray:
            return resize(maps[row], (height, width))

        probabilities = {
            fold: filled_store(
                self.run.folder / "pseudo_labels" / f"{height}x{width}" / f"fold{fold}",
                self.images.ids,
                partial(resized, maps),
                fingerprint=self.provenance,
                label=f"labels of {self.run.config.name}, fold {fold}",
            ).values
            for fold, maps in enumerate(self.maps)
        }
        return PseudoLabels(student.config.pseudo_labels, self.images, probabilities)


@dataclass(frozen=True)
class PseudoLabels:
    """images: m of them, without labels; probabilities: by fold, uint8 (m, h, w, K), 255 x p."""

    config: PseudoLabelsConfig
    images: TrainingArrays
    probabilities: Mapping[int, ArraySequence]

    def added_to(self, arrays: FitArrays, split: Split, fold: Fold) -> tuple[FitArrays, Split]:
        """`arrays` followed by the labelled images, and `split` with these among the training rows.

        A fit on all samples, which no row validates, learns from the mean of the folds' maps.
        """
        assert isinstance(arrays, TrainingArrays), "image.crop should have been refused with the config"
        assert arrays.targets is not None
        count = len(arrays.inputs)
        maps = self._mean() if fold == FULL else self.probabilities[int(fold)]
        labels = _labels(maps, self.images.defined, self.config)
        extended = _Extended(_chained(arrays.inputs, self.images.inputs), _chained(arrays.targets, labels))
        return extended, Split(
            train=np.concatenate([split.train, np.arange(count, count + len(labels))]), valid=split.valid
        )

    def _mean(self) -> LazyArrays:
        of_folds = list(self.probabilities.values())

        def mean(row: int) -> np.ndarray:
            return np.stack([maps[row] for maps in of_folds]).mean(axis=0, dtype=np.float32)

        return LazyArrays(len(of_folds[0]), mean)


@dataclass(frozen=True)
class _Extended(WholeRows):
    inputs: ArraySequence
    targets: ArraySequence


def _chained(first: ArraySequence, second: ArraySequence) -> LazyArrays:
    count = len(first)
    return LazyArrays(count + len(second), lambda i: first[i] if i < count else second[i - count])


def _labels(probabilities: ArraySequence, defined: ArraySequence | None, config: PseudoLabelsConfig) -> LazyArrays:
    """Targets uint8 (h, w, K + 1) of probabilities: a pixel counts where the image is defined and the teacher is sure
    of every class."""

    def targets(index: int) -> np.ndarray:
        probability = probabilities[index] / np.float32(255)
        shown = probability >= config.high
        sure = (shown | (probability <= config.low)).all(axis=-1, keepdims=True)
        if defined is not None:
            sure &= defined[index][..., np.newaxis]
        return np.concatenate([shown, sure], axis=-1).astype(np.uint8)

    return LazyArrays(len(probabilities), targets)
