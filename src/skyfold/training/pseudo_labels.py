"""Pseudo-labels (self-training): test images labelled by a trained run, the teacher, as further training samples.

Fold f learns from labels of the teacher's networks of fold f only: these have not seen the rows that fold f validates,
so that no mask of those rows leaks into the score. A blend or a run with other folds cannot guarantee that and is
refused, as is a teacher that was trained on pseudo-labels itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.config.training import PseudoLabelsConfig
from skyfold.data.batches import WholeRows
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError
from skyfold.store.fits import FULL, FitResult, Fold
from skyfold.store.folds import Folds
from skyfold.store.locks import waited_for
from skyfold.store.rows import RowStore
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.training.objective import FitArrays, Objective, RunArrays
from skyfold.training.source_run import SourceRun
from skyfold.types import ArraySequence, LazyArrays, Split


def find_teacher(student: RunConfig, runs: Path, folds: Folds, images: RunArrays | None) -> Teacher:
    """The run in the folder `runs` that `student.pseudo_labels` names, to label `images`.

    OofMismatch where there is none, ConfigError where it cannot be used.
    """
    assert student.pseudo_labels is not None
    teacher = SourceRun.open(runs / student.pseudo_labels.run, key="pseudo_labels.run", user=student)
    what, config, fingerprint = teacher.what, teacher.config, teacher.info.fingerprint
    if fingerprint.folds != folds.hash():
        raise ConfigError(
            f"{what} was trained with other folds ({fingerprint.folds}) than folds.csv ({folds.hash()}), so that its "
            f"networks have seen rows that '{student.name}' validates, and their labels would leak into its score. "
            "Retrain it with --restart."
        )
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
    if config.classes != student.classes:
        learned = [", ".join(run.classes) or "all classes" for run in (config, student)]
        raise ConfigError(
            f"{what} learned {learned[0]}, '{student.name}' learns {learned[1]}. Both must list the same classes in "
            "the same order."
        )
    if images is None:
        raise ConfigError(f"{what} has no test images to label. Remove pseudo_labels.")
    fits = {fold: [teacher.fit(fold, seed) for seed in config.training.seeds] for fold in range(folds.k)}
    assert isinstance(images, TrainingArrays)
    return Teacher(teacher, images, fits)


@dataclass(frozen=True)
class Teacher:
    """run: the trained run; images: that it labels; fits: by fold, its networks, which have not seen what the fold
    validates."""

    run: SourceRun
    images: TrainingArrays
    fits: Mapping[int, list[FitResult]]

    @property
    def provenance(self) -> str:
        """Changes with anything that changes the labels."""
        return f"{self.run.config.name} {self.run.info.fingerprint.digest()} {self.images.checksum}"

    def labels(self, student: Objective) -> PseudoLabels:
        """Predict the images fold by fold; kept in `pseudo_labels/fold<f>` of the teacher's folder and read from there.

        The maps have the size that the network reads, to which the guided filter does not apply.
        """
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
