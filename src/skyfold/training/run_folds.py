"""Trains all folds and seeds of a run and writes its out-of-fold and test predictions; goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold import competition as competitions
from skyfold import oof_store, plugins
from skyfold.competition import Competition
from skyfold.config import PREDICTION_KEYS, RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import Rows
from skyfold.data.cache import TrainingArrays, images_of_size, training_arrays
from skyfold.data.crops import CropPlan
from skyfold.data.scaling import SCALINGS
from skyfold.data.scene_arrays import SceneArrays, scene_arrays
from skyfold.data.some_classes import require_one_class, with_classes
from skyfold.errors import ConfigError
from skyfold.fold_files import folds_of
from skyfold.folds import Folds
from skyfold.inference.predict import chunks, mean_probabilities, on_grid
from skyfold.inference.predict_scenes import tiling_of, write_scenes
from skyfold.models._weights import weights_digest
from skyfold.progress import Progress
from skyfold.row_store import RowStore
from skyfold.training.bootstrap import bootstrapped
from skyfold.training.fit_files import FitResult, finished_fit
from skyfold.training.fit_fold import CHECKPOINT_SECONDS, fit_fold
from skyfold.training.losses import make_loss
from skyfold.training.pseudo_labels import PseudoLabels, find_teacher
from skyfold.training.starting_weights import Start, find_start
from skyfold.training.validation import MaskScore, PresenceScore, ValidationScore
from skyfold.types import Split
from skyfold.workspace import Workspace

if TYPE_CHECKING:
    from skyfold.training.network import Network


@dataclass(frozen=True)
class RunResult:
    """folder: of the run; scores: validation score at the training size by fold, mean over seeds; complete: whether
    all folds have been trained and predicted."""

    folder: Path
    scores: dict[int, float]
    complete: bool


@dataclass(frozen=True)
class RunData:
    """What a run is trained on; arrays by part."""

    competition: Competition
    arrays: Mapping[str, TrainingArrays | SceneArrays]
    folds: Folds


# Called with fold, seed, epoch (from 1) and validation score after each epoch that is validated.
OnEpoch = Callable[[int, int, int, float], None]


def train(
    config: RunConfig,
    workspace: Workspace,
    *,
    only_folds: Sequence[int] | None = None,
    restart: bool = False,
) -> RunResult:
    """Train the run of `config`: read its data, decode it into the cache, and do what `run_folds` does.

    SkyfoldError where the config asks for what is not there, or the data or folds are missing.
    """
    check(config)
    data = open_data(config, workspace)
    return run_folds(
        config,
        data.competition,
        data.arrays["train"],
        data.arrays.get("test"),
        data.folds,
        workspace.run(config.data.folder, config.name),
        only_folds=only_folds,
        restart=restart,
    )


def open_data(config: RunConfig, workspace: Workspace, *, parts: Sequence[str] | None = None) -> RunData:
    """Read the samples of `parts` (None: all there are) and the folds, and decode images into the cache.

    With `image.crop` the images stay scenes of their own size.
    """
    name = config.data.folder
    folder = workspace.data(name)
    competition = with_classes(competitions.build(config.data.competition, config.data.options, folder), config.classes)
    samples = {part: competition.load(folder, part) for part in parts or competition.parts}
    if config.activation == "softmax":
        require_one_class(samples["train"], competition.classes, why="activation: softmax")
    folds = folds_of(config.data, samples["train"].ids, workspace)
    if config.image.crop is not None:
        crop = config.image.crop
        plan = CropPlan(config.image.size, crop.per_scene, crop.scales, crop.balanced)
        scenes = workspace.cache(name) / "scenes"
        return RunData(
            competition, {part: scene_arrays(loaded, plan, cache=scenes) for part, loaded in samples.items()}, folds
        )
    height, width = config.image.size
    cache = workspace.cache(name) / f"{height}x{width}"
    arrays = {
        part: training_arrays(loaded, size=config.image.size, folder=cache / part, stamp=part, classes=config.classes)
        for part, loaded in samples.items()
    }
    if config.image.edges:
        grid = workspace.cache(name) / f"{competition.grid[0]}x{competition.grid[1]}"
        arrays = {
            part: replace(
                arrays[part],
                on_grid=images_of_size(loaded, size=competition.grid, folder=grid / part, stamp=part),
            )
            for part, loaded in samples.items()
        }
    return RunData(competition, arrays, folds)


def fit_scores(
    config: RunConfig,
    data: RunData,
    folder: Path,
    *,
    only_folds: Sequence[int],
    on_epoch: OnEpoch,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[int, float]:
    """Fit these folds with every seed, their files in `folder`, and predict no row: what a trial of a search needs.

    Returns validation scores by fold, means over seeds. Fits that are finished are not done again, nor is `on_epoch`
    called for them; an exception of its own ends the fit, and the same call goes on with it.
    """
    if config.pseudo is not None:
        raise ConfigError("pseudo: a search fits without a teacher. Leave pseudo off, and set it for the best trial.")
    if config.model.init_from is not None:
        raise ConfigError("model.init_from: a search begins afresh. Leave it off, and set it for the best trial.")
    stamp = f"{config.fit_hash()} {data.folds.hash()}"
    job = _Job(config, data.competition, data.arrays["train"], folder, stamp, checkpoint_seconds, on_epoch)
    return {
        fold: float(np.mean([fit.score for fit in job.fits(data.folds, fold)]))
        for fold in _chosen_folds(data.folds, only_folds)
    }


def validation_score(config: RunConfig, competition: Competition) -> ValidationScore:
    """The score that epochs of a run are compared by."""
    if config.target == "presence":
        return PresenceScore()
    return MaskScore(competition.metric, one_class=config.activation == "softmax")


def check(config: RunConfig) -> None:
    """Refuse, before any data are read, a family, option, loss or scaling that training would stumble over."""
    family = plugins.load("models", config.model.family)
    family.check(config.model.options)
    make_loss(config.loss.name, config.loss.options, target=config.target)
    resolved_scaling(config)
    if config.image.crop is not None and hasattr(family, "predict"):
        raise ConfigError(
            f"image.crop: the family {config.model.family} learns nothing, from no crops. Leave image.crop off."
        )


def resolved_scaling(config: RunConfig) -> str:
    """The scaling in `data.scaling.SCALINGS` that the config asks for.

    ConfigError where pretrained weights would see other numbers than they were made for.
    """
    family = plugins.load("models", config.model.family)
    if not hasattr(family, "input_scaling"):
        if config.image.scaling == "encoder":
            raise ConfigError(
                f"image.scaling: family '{config.model.family}' has no pretrained weights. Set it to one of "
                f"{', '.join(SCALINGS)}."
            )
        return config.image.scaling
    own: str = family.input_scaling(config.model.options)
    chosen = own if config.image.scaling == "encoder" else config.image.scaling
    weights = config.model.options.get("encoder_weights", "imagenet")
    if weights in ("imagenet", "ukis_csmask") and chosen != own:
        raise ConfigError(
            f"image.scaling: {chosen} does not suit the {weights} weights of this encoder, which were made with "
            f"{own}. Set image.scaling: encoder."
        )
    return chosen


def run_folds(
    config: RunConfig,
    competition: Competition,
    arrays_train: TrainingArrays | SceneArrays,
    arrays_test: TrainingArrays | SceneArrays | None,
    folds: Folds,
    run_folder: Path,
    *,
    only_folds: Sequence[int] | None = None,
    restart: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Fit every fold with every seed, write the fold's rows into `run_folder/oof`, and, once all folds are there, the
    test rows into `run_folder/test`: the mean over seeds (and folds), rounded once.

    What is finished is not done again. only_folds: fit these alone. restart: begin afresh. ConfigError or OofMismatch
    where the folder holds a run of another config, or the arrays are not those of the folds.
    """
    wanted = _chosen_folds(folds, only_folds)
    if not np.array_equal(arrays_train.ids, folds.ids):
        raise ConfigError("folds.csv lists other samples than the training data hold. Run scripts/prepare.py again.")
    classes = len(competition.classes)
    family = plugins.load("models", config.model.family)
    # Before anything is written: what the config asks for may not fit these images.
    unlabelled = _reduced(arrays_test) if config.pseudo and arrays_test is not None else None
    teacher = find_teacher(config, run_folder.parent, folds, unlabelled) if config.pseudo else None
    data_folders = run_folder.parent.parent
    start = find_start(config, data_folders, folds, arrays_train.content) if config.model.init_from else None
    if start is not None and resolved_scaling(start.config) != resolved_scaling(config):
        raise ConfigError(
            f"{start.what} has learned from images scaled as {resolved_scaling(start.config)}, not "
            f"{resolved_scaling(config)}. Set image.scaling: {resolved_scaling(start.config)}."
        )
    job: _Job | _Untrained = (
        _Untrained(config, partial(family.predict, classes=classes, **config.model.options))
        if hasattr(family, "predict")
        else _Job(
            config,
            competition,
            arrays_train,
            run_folder / "models",
            " ".join([config.fit_hash(), folds.hash(), *(known.provenance for known in (teacher, start) if known)]),
            checkpoint_seconds,
            start=start,
        )
    )
    stored = teacher.recorded(config.stored()) if teacher else config.stored()
    if restart:
        for part in ("models", "oof", "test", "pseudo"):
            shutil.rmtree(run_folder / part, ignore_errors=True)
    info = oof_store.begin_run(
        run_folder,
        name=config.name,
        kind=config.target,
        classes=competition.classes,
        unit=competition.unit,
        config=stored,
        config_hash=config.hash(),
        folds=folds,
        data_hash=arrays_train.content,
        weights_sha256=start.provenance if start else weights_digest(family, config.model.options),
        may_change=PREDICTION_KEYS,
        restart=restart,
    )
    if teacher is not None:
        assert isinstance(job, _Job)
        assert config.pseudo is not None
        teacher.check_recorded(info)
        asked = _Job(
            teacher.predicting, competition, arrays_train, teacher.folder / "models", teacher.stamp, checkpoint_seconds
        )
        job.pseudo = teacher.labels(config.pseudo, classes=classes, predict=asked.predict)
    masks = config.target == "masks"
    shape = (*competition.grid, classes) if masks else (classes,)
    dtype = "uint8" if masks else "float32"
    oof = oof_store.open_rows(run_folder, "oof", info, ids=arrays_train.ids, shape=shape, dtype=dtype)
    for fold in wanted:
        fits = job.fits(folds, fold)
        job.predict(arrays_train, np.flatnonzero(folds.fold == fold), oof, fits, label=f"{config.name} fold {fold}")
        if fits:
            oof_store.record_scores(run_folder, {f"fold{fold}": float(np.mean([fit.score for fit in fits]))})
    everywhere = bool(oof.done[folds.fold >= 0].all())
    if everywhere and arrays_test is not None:
        test = oof_store.open_rows(
            run_folder, "test", info, ids=arrays_test.ids, shape=shape, dtype=dtype, content=arrays_test.content
        )
        fits = [fit for fold in range(folds.k) for fit in job.fits(folds, fold)]
        job.predict(arrays_test, np.arange(len(arrays_test.ids)), test, fits, label=f"{config.name} test")
    recorded = oof_store.read_info(run_folder).scores
    scores = {fold: recorded[f"fold{fold}"] for fold in range(folds.k) if f"fold{fold}" in recorded}
    return RunResult(folder=run_folder, scores=scores, complete=everywhere)


class _Job:
    """What all folds of a run share. The network is made when the first fit or prediction needs it.

    pseudo: images with a teacher's labels, which fits learn from too; set before the first fit.
    """

    pseudo: PseudoLabels | None = None

    def __init__(
        self,
        config: RunConfig,
        competition: Competition,
        arrays: TrainingArrays | SceneArrays,
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
        self.augmenter = Augmenter(config.augment, size=(height, width), bands=bands, planes=self.classes + 1)
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
            rows, split = self.pseudo.added_to(_reduced(self.arrays), split, fold)
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
        """The rows of one fit."""
        split = folds.split(fold)
        return bootstrapped(split, seed=seed, fold=fold) if self.config.training.bootstrap else split

    def predict(
        self,
        arrays: TrainingArrays | SceneArrays,
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
            assert self.config.image.crop is not None
            write_scenes(
                self.network,
                arrays,
                rows,
                store,
                members=members,
                scaling=self.scaling,
                flips=self.config.tta,
                tiling=tiling_of(self.config.image.size, self.config.image.crop),
                label=label,
            )
            return
        height, width, _ = arrays.input_shape
        row_bytes = 4 * self.classes * (height * width if self.config.target == "masks" else 1)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in chunks(rows, batch_size=self.network.batch_size, row_bytes=row_bytes):
                if not store.done[chunk].all():
                    values = mean_probabilities(
                        self.network, arrays, chunk, members=members, scaling=self.scaling, flips=self.config.tta
                    )
                    if self.config.target == "masks":
                        values = _on_grid_of(store, values, self.config, arrays, chunk)
                    store.write(chunk, values)
                progress.advance(len(chunk))
        store.flush()


class _Untrained:
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
        arrays: TrainingArrays | SceneArrays,
        rows: np.ndarray,
        store: RowStore,
        fits: list[FitResult],
        *,
        label: str,
    ) -> None:
        if store.done[rows].all():
            return
        images = _reduced(arrays)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in store.chunks(rows):
                values = self.predict_images(np.stack([images.inputs[i] for i in chunk]))
                store.write(chunk, _on_grid_of(store, values, self.config, images, chunk))
                progress.advance(len(chunk))
        store.flush()


def _reduced(arrays: TrainingArrays | SceneArrays) -> TrainingArrays:
    """The arrays of a run without `image.crop`."""
    assert isinstance(arrays, TrainingArrays), "image.crop should have been refused with the config"
    return arrays


def _on_grid_of(
    store: RowStore, values: np.ndarray, config: RunConfig, arrays: TrainingArrays, rows: np.ndarray
) -> np.ndarray:
    images = None if arrays.on_grid is None else arrays.on_grid[rows]
    return on_grid(values, (store.values.shape[1], store.values.shape[2]), config.image.edges, images)


def _chosen_folds(folds: Folds, only_folds: Sequence[int] | None) -> list[int]:
    every = list(range(folds.k))
    for fold in only_folds or []:
        if fold not in every:
            raise ConfigError(f"--fold {fold}: folds.csv has folds 0 to {folds.k - 1}.")
    return sorted(set(only_folds)) if only_folds else every
