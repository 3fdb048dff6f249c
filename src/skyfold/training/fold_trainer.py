"""What a run does in each of its folds: fit its networks, or, for a model family without training, only predict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from skyfold.data.augment import Augmenter
from skyfold.data.cache import TrainingArrays
from skyfold.data.scene_arrays import SceneArrays
from skyfold.errors import ConfigError
from skyfold.progress import Progress
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles, FitResult
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.training.bagging import bootstrapped
from skyfold.training.fit_fold import fit_fold
from skyfold.training.init_weights import InitWeights
from skyfold.training.objective import FitArrays, Objective, RunArrays
from skyfold.training.predict import write_predictions
from skyfold.training.predict_scenes import write_scenes
from skyfold.training.pseudo_labels import PseudoLabels
from skyfold.types import Split

if TYPE_CHECKING:
    from skyfold.training.network import Network

# Called with fold, seed, epoch (from 1) and validation score after each epoch that is validated.
OnEpoch = Callable[[int, int, int, float], None]


class Predictor(Protocol):
    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        """The fits of a fold, one per seed; those that are not finished are trained now."""
        ...

    def predict(
        self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str
    ) -> None:
        """Write the mean prediction of `fits` for `rows` into `store`; rows that are complete stay as they are."""
        ...


class FoldTrainer:
    """What all folds of a run share. The network is built when the first fit or prediction needs it.

    pseudo_labels: images labelled by a teacher, which every fit learns from too; set before the first fit.
    """

    pseudo_labels: PseudoLabels | None = None

    def __init__(
        self,
        objective: Objective,
        arrays: RunArrays,
        folder: Path,
        fingerprint: Fingerprint,
        checkpoint_seconds: float,
        on_epoch: OnEpoch | None = None,
        init_weights: InitWeights | None = None,
    ) -> None:
        self.objective, self.config, self.arrays = objective, objective.config, arrays
        self.folder, self.fingerprint, self.init_weights = folder, fingerprint, init_weights
        self.checkpoint_seconds, self.on_epoch = checkpoint_seconds, on_epoch
        height, width, bands = arrays.input_shape
        self.augmenter = Augmenter(
            self.config.augment, size=(height, width), bands=bands, planes=objective.target_planes
        )
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        if self._network is None:
            from skyfold.training.network import Network

            self._network = Network(self.objective, input_shape=self.arrays.input_shape)
        return self._network

    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        """The fits of a fold, one per seed; those that are not finished are trained now."""
        return [
            FitFiles(self.folder, fold, seed).result(self.fingerprint) or self._fit(folds, fold, seed)
            for seed in self.config.training.seeds
        ]

    def _fit(self, folds: Folds, fold: int, seed: int) -> FitResult:
        arrays: FitArrays = self.arrays
        split = self.split(folds, fold, seed)
        if self.pseudo_labels is not None:
            arrays, split = self.pseudo_labels.added_to(arrays, split, fold)
        start = None
        if self.init_weights is not None:
            start = partial(self.init_weights.load, self.network, self.objective.classes, fold=fold, seed=seed)
        return fit_fold(
            self.network,
            arrays=arrays,
            split=split,
            augmenter=self.augmenter,
            folder=self.folder,
            fold=fold,
            seed=seed,
            fingerprint=self.fingerprint,
            start=start,
            checkpoint_seconds=self.checkpoint_seconds,
            on_epoch=None if self.on_epoch is None else partial(self.on_epoch, fold, seed),
        )

    def split(self, folds: Folds, fold: int, seed: int) -> Split:
        """The rows of one fit; ConfigError where there is none to learn from."""
        split = folds.split(fold)
        split = Split(self.objective.trainable_rows(self.arrays, split.train, folds), split.valid)
        if not len(split.train):
            raise ConfigError(f"fold {fold}: no sample to fit it on. Begin the validated years (data.folds) later.")
        return bootstrapped(split, seed=seed, fold=fold) if self.config.training.bagging else split

    def predict(
        self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str
    ) -> None:
        """Write the mean prediction of `fits` for `rows` into `store`; rows that are complete stay as they are."""
        if store.complete[rows].all():
            return
        members = [partial(self.network.model.load_weights, fit.weights) for fit in fits]
        if isinstance(arrays, SceneArrays):
            write_scenes(self.network, arrays, rows, store, members=members, label=label)
        else:
            write_predictions(self.network, arrays, rows, store, members=members, label=label)


class RuleBasedPredictor:
    """A model family that predicts from the image only, a classical baseline: nothing is fitted before the threshold.

    predict_images: uint8 (n, H, W, C) -> float32 (n, H, W, K).
    """

    def __init__(self, objective: Objective, predict_images: Callable[[np.ndarray], np.ndarray]) -> None:
        self.objective, self.predict_images = objective, predict_images
        config = objective.config
        for key, given in (("pseudo_labels", config.pseudo_labels), ("model.init_from", config.model.init_from)):
            if given is not None:
                raise ConfigError(
                    f"{key}: not supported by model.family {config.model.family} (nothing is trained). Remove it."
                )

    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        return []

    def predict(
        self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str
    ) -> None:
        if store.complete[rows].all():
            return
        assert isinstance(arrays, TrainingArrays)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in store.chunks(rows):
                values = self.predict_images(np.stack([arrays.inputs[i] for i in chunk]))
                store.write(chunk, self.objective.to_rows(values, arrays, chunk))
                progress.advance(len(chunk))
        store.flush()
