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
from skyfold.data.normalization import SCALINGS
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


class TrainedJob:
    """What all folds of a run share. The network is made when the first fit or prediction needs it.

    pseudo: images with a teacher's labels, which fits learn from too; set before the first fit.
    """

    pseudo: PseudoLabels | None = None

    def __init__(
        self,
        config: RunConfig,
        competition: Competition,
        arrays: Arrays,
        folder: Path,
        stamp: str,
        checkpoint_seconds: float,
        on_epoch: OnEpoch | None = None,
        start: Start | None = None,
    ) -> None:
        self.config, self.arrays, self.folder, self.stamp = config, arrays, folder, stamp
        self.classes, self.start = len(competition.classes), start
        self.class_names = competition.classes
        self.scaling = resolved_scaling(config)
        self.checkpoint_seconds, self.on_epoch = checkpoint_seconds, on_epoch
        self.score = validation_score(config, competition)
        height, width, bands = arrays.input_shape
        planes = 2 * self.classes if config.target == "forecast" else self.classes + 1
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
            finished_fit(self.folder, fold=fold, seed=seed, stamp=self.stamp) or self._fit(folds, fold, seed)
            for seed in self.config.training.seeds
        ]

    def _fit(self, folds: Folds, fold: int, seed: int) -> FitResult:
        rows: Rows | SceneArrays = self.arrays
        split = self.split(folds, fold, seed)
        if self.pseudo is not None:
            rows, split = self.pseudo.added_to(reduced(self.arrays), split, fold)
        start = None
        if self.start is not None:
            start = partial(self.start.weights, self.network, self.class_names, fold=fold, seed=seed)
        return fit_fold(
            self.network,
            arrays=rows,
            split=split,
            score=self.score,
            scaling=self.scaling,
            augmenter=self.augmenter,
            folder=self.folder,
            fold=fold,
            seed=seed,
            stamp=self.stamp,
            start=start,
            checkpoint_seconds=self.checkpoint_seconds,
            on_epoch=None if self.on_epoch is None else partial(self.on_epoch, fold, seed),
        )

    def split(self, folds: Folds, fold: int, seed: int) -> Split:
        """The rows of one fit; ConfigError where nothing was over when the fold began."""
        split = folds.split(fold)
        if isinstance(self.arrays, ForecastArrays):
            assert self.config.view is not None
            split = Split(self._taught(self.arrays, split.train, folds, self.config.view.newest), split.valid)
        if not len(split.train):
            raise ConfigError(f"fold {fold}: no sample to fit it on. Begin the validated years (data.folds) later.")
        return bootstrapped(split, seed=seed, fold=fold) if self.config.training.bootstrap else split

    @staticmethod
    def _taught(arrays: ForecastArrays, rows: np.ndarray, folds: Folds, newest: int | None) -> np.ndarray:
        if folds.times is not None:
            rows = rows[np.argsort(folds.times[rows], kind="stable")]
        elif newest is not None:
            raise ConfigError("view.newest: these data have no order in time. Leave it off.")
        return arrays.taught(rows, newest)

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
        if store.done[rows].all():
            return
        members = [partial(self.network.model.load_weights, fit.weights) for fit in fits]
        if isinstance(arrays, SceneArrays):
            assert self.scaling is not None
            assert self.config.images.crop is not None
            write_scenes(
                self.network,
                arrays,
                rows,
                store,
                members=members,
                scaling=self.scaling,
                flips=self.config.tta,
                tiling=tiling_of(self.config.images.size, self.config.images.crop),
                label=label,
            )
            return
        if isinstance(arrays, ForecastArrays):
            write_forecasts(self.network, arrays, rows, store, members=members, flips=self.config.tta, label=label)
            return
        height, width, _ = arrays.input_shape
        row_bytes = 4 * self.classes * (height * width if self.config.target == "masks" else 1)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in chunks(rows, batch_size=self.network.batch_size, row_bytes=row_bytes):
                if not store.done[chunk].all():
                    values = mean_predictions(
                        self.network,
                        arrays,
                        chunk,
                        members=members,
                        scaling=self.scaling,
                        flips=self.config.tta,
                        meaning=sigmoid,
                    )
                    if self.config.target == "masks":
                        values = _on_grid_of(store, values, self.config, arrays, chunk)
                    store.write(chunk, values)
                progress.advance(len(chunk))
        store.flush()


class UntrainedJob:
    """A family that predicts from the image alone, a classical baseline: nothing is fitted before the threshold."""

    def __init__(self, config: RunConfig, predict: Callable[[np.ndarray], np.ndarray]) -> None:
        if config.target != "masks":
            raise ConfigError(f"target: the family {config.model.family} predicts masks, not {config.target}.")
        if config.pseudo is not None:
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
        if store.done[rows].all():
            return
        images = reduced(arrays)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in store.chunks(rows):
                values = self.predict_images(np.stack([images.inputs[i] for i in chunk]))
                store.write(chunk, _on_grid_of(store, values, self.config, images, chunk))
                progress.advance(len(chunk))
        store.flush()


def validation_score(config: RunConfig, competition: Competition) -> ValidationScore:
    """The score that epochs of a run are compared by."""
    if config.target == "presence":
        return PresenceScore()
    if config.target == "forecast":
        return ErrorScore()
    return MaskScore(competition.metric, one_class=config.activation == "softmax")


def resolved_scaling(config: RunConfig) -> str | None:
    """The scaling in `data.scaling.SCALINGS` that the config asks for; None for forecasts, whose view has scaled them.

    ConfigError where pretrained weights would see other numbers than they were made for.
    """
    if config.target == "forecast":
        return None
    family = plugins.load("models", config.model.family)
    if not hasattr(family, "input_scaling"):
        if config.images.scaling == "encoder":
            raise ConfigError(
                f"image.scaling: family '{config.model.family}' has no pretrained weights. Set it to one of "
                f"{', '.join(SCALINGS)}."
            )
        return config.images.scaling
    own: str = family.input_scaling(config.model.options)
    chosen = own if config.images.scaling == "encoder" else config.images.scaling
    weights = config.model.options.get("encoder_weights", "imagenet")
    if weights in ("imagenet", "ukis_csmask") and chosen != own:
        raise ConfigError(
            f"image.scaling: {chosen} does not suit the {weights} weights of this encoder, which were made with "
            f"{own}. Set image.scaling: encoder."
        )
    return chosen


def reduced(arrays: Arrays) -> TrainingArrays:
    """The arrays of a run without `image.crop`."""
    assert isinstance(arrays, TrainingArrays), "image.crop should have been refused with the config"
    return arrays


def _on_grid_of(
    store: RowStore, values: np.ndarray, config: RunConfig, arrays: TrainingArrays, rows: np.ndarray
) -> np.ndarray:
    images = None if arrays.on_grid is None else arrays.on_grid[rows]
    return on_grid(values, (store.values.shape[1], store.values.shape[2]), config.images.edges, images)
