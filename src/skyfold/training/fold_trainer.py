"""What a run does to each of its folds: fits its networks, or, where nothing is trained, only predicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from skyfold import plugins
from skyfold.competition import Competition
from skyfold.config.run import RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import Rows
from skyfold.data.cache import TrainingArrays
from skyfold.data.normalization import NORMALIZATIONS
from skyfold.data.scene_arrays import SceneArrays
from skyfold.errors import ConfigError
from skyfold.forecasting.arrays import ForecastArrays
from skyfold.progress import Progress
from skyfold.store.fits import FitResult, finished_fit
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.training.bagging import bootstrapped
from skyfold.training.fit_fold import fit_fold
from skyfold.training.init_weights import Start
from skyfold.training.predict import chunks, mean_predictions, on_grid, sigmoid
from skyfold.training.predict_forecasts import write_forecasts
from skyfold.training.predict_scenes import tiling_of, write_scenes
from skyfold.training.pseudo_labels import PseudoLabels
from skyfold.training.validation import ErrorScore, MaskScore, PresenceScore, ValidationScore
from skyfold.types import Split

if TYPE_CHECKING:
    from skyfold.training.network import Network

Arrays = TrainingArrays | SceneArrays | ForecastArrays
# Called with fold, seed, epoch (from 1) and validation score after each epoch that is validated.
OnEpoch = Callable[[int, int, int, float], None]


class Job(Protocol):
    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        """The fits of a fold, one a seed; those that are not finished are done now."""
        ...

    def predict(self, arrays: Arrays, rows: np.ndarray, store: RowStore, fits: list[FitResult], *, label: str) -> None:
        """Write the mean prediction of `fits` for `rows` into `store`; what was done before is left as it is."""
        ...


class FoldTrainer:
    """What all folds of a run share. The network is made when the first fit or prediction needs it.

    pseudo: images with a teacher's labels, which fits learn from too; set before the first fit.
    """

    pseudo_labels: PseudoLabels | None = None

    def __init__(
        self,
        config: RunConfig,
        competition: Competition,
        arrays: Arrays,
        folder: Path,
        fingerprint: str,
        checkpoint_seconds: float,
        on_epoch: OnEpoch | None = None,
        start: Start | None = None,
    ) -> None:
        self.config, self.arrays, self.folder, self.fingerprint = config, arrays, folder, fingerprint
        self.classes, self.start = len(competition.classes), start
        self.class_names = competition.classes
        self.normalization = resolved_normalization(config)
        self.checkpoint_seconds, self.on_epoch = checkpoint_seconds, on_epoch
        self.score = validation_score(config, competition)
        height, width, bands = arrays.input_shape
        planes = 2 * self.classes if config.task == "forecasting" else self.classes + 1
        self.augmenter = Augmenter(config.augment, size=(height, width), bands=bands, planes=planes)
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        if self._network is None:
            from skyfold.training.network import Network

            self._network = Network(self.config, input_shape=self.arrays.input_shape, classes=self.classes)
        return self._network

    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        """The fits of a fold, one a seed; those that are not finished are done now."""
        return [
            finished_fit(self.folder, fold=fold, seed=seed, fingerprint=self.fingerprint)
            or self._fit(folds, fold, seed)
            for seed in self.config.training.seeds
        ]

    def _fit(self, folds: Folds, fold: int, seed: int) -> FitResult:
        rows: Rows | SceneArrays = self.arrays
        split = self.split(folds, fold, seed)
        if self.pseudo_labels is not None:
            rows, split = self.pseudo_labels.added_to(resized(self.arrays), split, fold)
        start = None
        if self.start is not None:
            start = partial(self.start.weights, self.network, self.class_names, fold=fold, seed=seed)
        return fit_fold(
            self.network,
            arrays=rows,
            split=split,
            score=self.score,
            normalization=self.normalization,
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
        """The rows of one fit; ConfigError where nothing was over when the fold began."""
        split = folds.split(fold)
        if isinstance(self.arrays, ForecastArrays):
            assert self.config.frame_adapter is not None
            split = Split(
                self._trainable_rows(self.arrays, split.train, folds, self.config.frame_adapter.max_train_size),
                split.valid,
            )
        if not len(split.train):
            raise ConfigError(f"fold {fold}: no sample to fit it on. Begin the validated years (data.folds) later.")
        return bootstrapped(split, seed=seed, fold=fold) if self.config.training.bagging else split

    @staticmethod
    def _trainable_rows(arrays: ForecastArrays, rows: np.ndarray, folds: Folds, newest: int | None) -> np.ndarray:
        if folds.times is not None:
            rows = rows[np.argsort(folds.times[rows], kind="stable")]
        elif newest is not None:
            raise ConfigError("frame_adapter.max_train_size: these data have no order in time. Leave it off.")
        return arrays.trainable_rows(rows, newest)

    def predict(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        store: RowStore,
        fits: list[FitResult],
        *,
        label: str,
    ) -> None:
        """Write the mean prediction of `fits` for `rows` into `store`; what was done before is left as it is."""
        if store.complete[rows].all():
            return
        members = [partial(self.network.model.load_weights, fit.weights) for fit in fits]
        if isinstance(arrays, SceneArrays):
            assert self.normalization is not None
            assert self.config.images.crop is not None
            write_scenes(
                self.network,
                arrays,
                rows,
                store,
                members=members,
                normalization=self.normalization,
                flips=self.config.tta,
                tiling=tiling_of(self.config.images.size, self.config.images.crop),
                label=label,
            )
            return
        if isinstance(arrays, ForecastArrays):
            write_forecasts(self.network, arrays, rows, store, members=members, flips=self.config.tta, label=label)
            return
        height, width, _ = arrays.input_shape
        row_bytes = 4 * self.classes * (height * width if self.config.task == "segmentation" else 1)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in chunks(rows, batch_size=self.network.batch_size, row_bytes=row_bytes):
                if not store.complete[chunk].all():
                    values = mean_predictions(
                        self.network,
                        arrays,
                        chunk,
                        members=members,
                        normalization=self.normalization,
                        flips=self.config.tta,
                        meaning=sigmoid,
                    )
                    if self.config.task == "segmentation":
                        values = _on_grid_of(store, values, self.config, arrays, chunk)
                    store.write(chunk, values)
                progress.advance(len(chunk))
        store.flush()


class RuleBasedPredictor:
    """A family that predicts from the image alone, a classical baseline: nothing is fitted before the threshold."""

    def __init__(self, config: RunConfig, predict: Callable[[np.ndarray], np.ndarray]) -> None:
        if config.task != "segmentation":
            raise ConfigError(f"target: the family {config.model.family} predicts masks, not {config.task}.")
        if config.pseudo_labels is not None:
            raise ConfigError(f"pseudo: the family {config.model.family} learns nothing, from no labels. Leave it off.")
        if config.model.init_from is not None:
            raise ConfigError(f"model.init_from: the family {config.model.family} has no weights. Leave it off.")
        self.config, self.predict_images = config, predict

    def fits(self, folds: Folds, fold: int) -> list[FitResult]:
        return []

    def predict(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        store: RowStore,
        fits: list[FitResult],
        *,
        label: str,
    ) -> None:
        if store.complete[rows].all():
            return
        images = resized(arrays)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in store.chunks(rows):
                values = self.predict_images(np.stack([images.inputs[i] for i in chunk]))
                store.write(chunk, _on_grid_of(store, values, self.config, images, chunk))
                progress.advance(len(chunk))
        store.flush()


def validation_score(config: RunConfig, competition: Competition) -> ValidationScore:
    """The score that epochs of a run are compared by."""
    if config.task == "classification":
        return PresenceScore()
    if config.task == "forecasting":
        return ErrorScore()
    return MaskScore(competition.metric, one_class=config.activation == "softmax")


def resolved_normalization(config: RunConfig) -> str | None:
    """The scaling in `data.scaling.SCALINGS` that the config asks for; None for forecasts, whose view has scaled them.

    ConfigError where pretrained weights would see other numbers than they were made for.
    """
    if config.task == "forecasting":
        return None
    family = plugins.load("models", config.model.family)
    if not hasattr(family, "input_normalization"):
        if config.images.normalization == "encoder":
            raise ConfigError(
                f"image.normalization: family '{config.model.family}' has no pretrained weights. Set it to one of "
                f"{', '.join(NORMALIZATIONS)}."
            )
        return config.images.normalization
    own: str = family.input_normalization(config.model.options)
    chosen = own if config.images.normalization == "encoder" else config.images.normalization
    weights = config.model.options.get("encoder_weights", "imagenet")
    if weights in ("imagenet", "ukis_csmask") and chosen != own:
        raise ConfigError(
            f"image.normalization: {chosen} does not suit the {weights} weights of this encoder, which were made with "
            f"{own}. Set image.normalization: encoder."
        )
    return chosen


def resized(arrays: Arrays) -> TrainingArrays:
    """The arrays of a run without `image.crop`."""
    assert isinstance(arrays, TrainingArrays), "image.crop should have been refused with the config"
    return arrays


def _on_grid_of(
    store: RowStore, values: np.ndarray, config: RunConfig, arrays: TrainingArrays, rows: np.ndarray
) -> np.ndarray:
    images = None if arrays.on_grid is None else arrays.on_grid[rows]
    return on_grid(values, (store.values.shape[1], store.values.shape[2]), config.images.guided_filter, images)
