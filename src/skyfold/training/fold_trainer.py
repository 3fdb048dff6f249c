"""The folds of one run: fit their networks and predict with them; a model family without training only predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import cast

import numpy as np

from skyfold.data.batches import Rows
from skyfold.data.rescale import Rescale, StoredPixels, fit_rescale
from skyfold.data.scene_arrays import SceneArrays
from skyfold.errors import ConfigError, OofMismatch, SkyfoldError
from skyfold.loggers import Loggers
from skyfold.models import RuleFamily, family_of
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FULL, FitFiles, FitResult, Fold
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.training.bagging import bootstrapped
from skyfold.training.fit_fold import Unvalidated, fit_fold
from skyfold.training.init_weights import InitWeights
from skyfold.training.network import Network
from skyfold.training.objective import FitArrays, Objective, RunArrays
from skyfold.training.predict import LoadWeights, NotFinite, mean_predictions, require_finite, write_predictions
from skyfold.training.predict_scenes import write_scenes
from skyfold.types import Split

# Called with fold, seed, epoch (from 1) and validation score after each epoch that is validated.
OnEpoch = Callable[[int, int, int, float], None]
# Called with arrays, their split and the fold; returns both with further training rows.
AddRows = Callable[[FitArrays, Split, Fold], tuple[FitArrays, Split]]


class FoldTrainer:
    """Fits and predicts the folds of a run; the network is built when the first fit or prediction needs it.

    A model family without training (`RuleFamily`) has no fits, and predicts from the images only.

    folder             of the fits' files
    fingerprint        of the parts that decide what the weights are, recorded with each fit; where one of them differs,
                       a fit is trained again, except for `source`: finished fits of other code stay, see `refusal`
    init_weights       weights that fits start from; None: initialised by their seeds
    add_pseudo_labels  adds images labelled by a teacher to the rows of every fit; set before the first fit
    refusal            why nothing may be added to what is finished; set before the first fit
    missing_weights    why no fit can be started, where initial weights are missing; finished fits predict without them
    loggers            that follow the fits; set before the first fit
    threads            that the network computes in, set before the first fit; None: as many as there are cores
    """

    add_pseudo_labels: AddRows | None = None
    refusal: OofMismatch | None = None
    missing_weights: SkyfoldError | None = None
    threads: int | None = None

    def __init__(
        self,
        objective: Objective,
        arrays: RunArrays,
        folder: Path,
        fingerprint: Fingerprint,
        *,
        on_epoch: OnEpoch | None = None,
        init_weights: InitWeights | None = None,
    ) -> None:
        self.objective, self.config, self.arrays = objective, objective.config, arrays
        self.folder, self.fingerprint = folder, fingerprint
        self.on_epoch, self.init_weights = on_epoch, init_weights
        self.family = family_of(objective.config.model)
        self.loggers = Loggers()

    @cached_property
    def network(self) -> Network:
        """The network of all fits, traced once."""
        return Network(self.objective, input_shape=self.arrays.input_shape, threads=self.threads)

    def fits(self, folds: Folds, fold: Fold) -> list[FitResult]:
        """The fits of a fold, one per seed; those that are not finished are trained now.

        With FULL those on all samples, which need the fits of the folds first: they train for as many epochs as these
        kept in the mean, rounded.

        DamagedFile where the weights of one are not those that were written.
        """
        if isinstance(self.family, RuleFamily):
            return []
        found = []
        for seed in self.config.training.seeds:
            files = FitFiles(self.folder, fold, seed)
            fit = files.result(replace(self.fingerprint, source=None))
            found.append(self._fit(folds, fold, seed) if fit is None else files.with_checksum(fit))
            found[-1].verify()
        return found

    def _fit(self, folds: Folds, fold: Fold, seed: int) -> FitResult:
        self._refuse()
        if self.missing_weights is not None:
            raise self.missing_weights
        arrays: FitArrays = self.arrays
        split = self.split(folds, fold, seed)
        image, rescale = self.config.image, None
        if image is not None and image.rescale is not None:
            assert isinstance(self.arrays, StoredPixels)
            rescale = fit_rescale(image.rescale, self.arrays, split.train)
        if self.add_pseudo_labels is not None:
            arrays, split = self.add_pseudo_labels(arrays, split, fold)
        start = None
        if self.init_weights is not None:
            start = partial(self.init_weights.load, self.network, fold=fold, seed=seed)
        try:
            return fit_fold(
                self.network,
                arrays=arrays,
                split=split,
                folder=self.folder,
                fold=fold,
                seed=seed,
                fingerprint=self.fingerprint,
                rescale=rescale,
                start=start,
                on_epoch=None if self.on_epoch is None else partial(self.on_epoch, int(fold), seed),
                unvalidated=self._as_the_folds(folds) if fold == FULL else None,
                loggers=self.loggers,
            )
        except BaseException:
            self.loggers.interrupt_fit()
            raise

    def _as_the_folds(self, folds: Folds) -> Unvalidated:
        """Epochs and score of a fit on all samples, the means of the folds'."""
        of_folds = [fit for fold in range(folds.k) for fit in self.fits(folds, fold)]
        epochs, scores = [fit.best_epoch for fit in of_folds], [fit.score for fit in of_folds]
        return Unvalidated(round(float(np.mean(epochs))), float(np.mean(scores)))

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def split(self, folds: Folds, fold: Fold, seed: int) -> Split:
        """The rows of one fit; ConfigError where there is none to learn from."""
        every = Split(train=np.flatnonzero(folds.used), valid=np.arange(0))
        split = every if fold == FULL else folds.split(int(fold))
        split = Split(self.objective.trainable_rows(self.arrays, split.train, folds), split.valid)
        if not len(split.train):
            remedy = "Begin the validated years (data.folds) later."
            if folds.times is None:
                remedy = (
                    "None of the samples of the other folds can be learned from: add samples, rain with rain in it."
                )
            raise ConfigError(f"fold {fold}: no sample to fit it on. {remedy}")
        return bootstrapped(split, seed=seed, fold=fold) if self.config.training.bagging else split

    def predict(
        self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str
    ) -> None:
        """Write the mean prediction of `fits` for `rows` into `store`; rows that are complete stay as they are.

        OofMismatch, with the sample and the fit, where a prediction is NaN or infinite; nothing of it is written.
        """
        if store.complete[rows].all():
            return
        self._refuse()
        try:
            self._predict(arrays, rows, store, fits, label)
        except NotFinite as found:
            of = f" of {fits[found.member].name}" if fits else ""
            raise OofMismatch(
                f"run '{self.config.name}', {label.removeprefix(self.config.name).strip()}: the prediction{of} for "
                f"'{arrays.ids[found.row]}' is NaN or infinite, and nothing of it was stored. {self._mend()}"
            ) from None

    def predicted(self, arrays: RunArrays, rows: np.ndarray, fits: list[FitResult]) -> np.ndarray | list[np.ndarray]:
        """The mean prediction of `fits`, of a network, for a few `rows`, as it is stored."""
        values = mean_predictions(self.network, self._members(fits), self.objective, cast(Rows, arrays), rows)
        return self.objective.to_rows(values, arrays, rows)

    def _members(self, fits: list[FitResult]) -> list[LoadWeights]:
        @lru_cache(maxsize=1)  # one by itself stays loaded
        def load(place: int) -> Rescale | None:
            return _load(self.network, fits[place])

        return [partial(load, place) for place in range(len(fits))]

    def _mend(self) -> str:
        if isinstance(self.family, RuleFamily):
            return "Look at this image, or choose other model.options."
        return "Lower optimizer.learning_rate or set optimizer.clip_norm, and train again with --restart."

    def _predict(self, arrays: RunArrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], label: str) -> None:
        if isinstance(self.family, RuleFamily):
            predict = partial(_rule_predictions, self.family, len(self.objective.classes))
            write_predictions(predict, self.objective, arrays, rows, store, batch_size=1, label=label)
            return
        members = self._members(fits)
        if isinstance(arrays, SceneArrays):
            write_scenes(self.network, members, arrays, rows, store, label=label)
            return
        predict = partial(mean_predictions, self.network, members, self.objective)
        size = self.network.predicted_batch_size
        write_predictions(predict, self.objective, arrays, rows, store, batch_size=size, label=label)


def _load(network: Network, fit: FitResult) -> Rescale | None:
    fit.load_into(network.model)
    if fit.rescale is None:
        return None
    return Rescale(tuple(fit.rescale["low"]), tuple(fit.rescale["high"]), fit.rescale["dtype"])


def _rule_predictions(family: RuleFamily, classes: int, arrays: Rows, rows: np.ndarray) -> np.ndarray:
    values = family.predict(np.stack([arrays.inputs[row] for row in rows]), classes=classes)
    require_finite(values, rows)
    return values
