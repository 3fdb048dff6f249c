"""Trains all folds and seeds of a run and writes its out-of-fold and test predictions; goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from skyfold import competition as competitions
from skyfold import plugins
from skyfold.competition import Competition
from skyfold.config.run import PREDICTION_KEYS, RunConfig
from skyfold.data.cache import images_of_size, training_arrays
from skyfold.data.class_subset import require_one_class, with_classes
from skyfold.data.crops import CropPlan
from skyfold.data.scene_arrays import scene_arrays
from skyfold.errors import ConfigError
from skyfold.forecasting.arrays import forecast_arrays
from skyfold.models._weights import weights_digest
from skyfold.store import runs
from skyfold.store.fold_files import load_folds
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.training.fit_fold import CHECKPOINT_SECONDS
from skyfold.training.fold_trainer import (
    Arrays,
    FoldTrainer,
    Job,
    OnEpoch,
    RuleBasedPredictor,
    resized,
    resolved_normalization,
)
from skyfold.training.init_weights import find_start
from skyfold.training.losses import make_loss
from skyfold.training.pseudo_labels import find_teacher
from skyfold.workspace import Workspace


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
    arrays: Mapping[str, Arrays]
    folds: Folds


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
    folds = load_folds(config.data, samples["train"].ids, workspace)
    if config.task == "forecasting":
        assert config.frame_adapter is not None
        view = plugins.load("forecasting.frame_adapters", config.frame_adapter.name).build(
            **config.frame_adapter.options
        )
        return RunData(competition, {part: forecast_arrays(loaded, view) for part, loaded in samples.items()}, folds)
    if config.images.crop is not None:
        crop = config.images.crop
        plan = CropPlan(config.images.size, crop.crops_per_image, crop.scales, crop.class_balanced_fraction)
        scenes = workspace.cache(name) / "scenes"
        return RunData(
            competition, {part: scene_arrays(loaded, plan, cache=scenes) for part, loaded in samples.items()}, folds
        )
    height, width = config.images.size
    cache = workspace.cache(name) / f"{height}x{width}"
    arrays = {
        part: training_arrays(
            loaded, size=config.images.size, folder=cache / part, fingerprint=part, classes=config.classes
        )
        for part, loaded in samples.items()
    }
    if config.images.guided_filter:
        grid = workspace.cache(name) / f"{competition.grid[0]}x{competition.grid[1]}"
        arrays = {
            part: replace(
                arrays[part],
                on_grid=images_of_size(loaded, size=competition.grid, folder=grid / part, fingerprint=part),
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
    if config.pseudo_labels is not None:
        raise ConfigError("pseudo: a search fits without a teacher. Leave pseudo off, and set it for the best trial.")
    if config.model.init_from is not None:
        raise ConfigError("model.init_from: a search begins afresh. Leave it off, and set it for the best trial.")
    fingerprint = f"{config.fit_hash()} {data.folds.hash()}"
    job = FoldTrainer(config, data.competition, data.arrays["train"], folder, fingerprint, checkpoint_seconds, on_epoch)
    return {
        fold: float(np.mean([fit.score for fit in job.fits(data.folds, fold)]))
        for fold in _chosen_folds(data.folds, only_folds)
    }


def check(config: RunConfig) -> None:
    """Refuse, before any data are read, a family, option, loss or scaling that training would stumble over."""
    family = plugins.load("models", config.model.family)
    family.check(config.model.options)
    make_loss(config.loss.name, config.loss.options, task=config.task)
    resolved_normalization(config)
    if config.frame_adapter is not None:
        plugins.load("forecasting.frame_adapters", config.frame_adapter.name).check(config.frame_adapter.options)
        return
    if config.images.crop is not None and hasattr(family, "predict"):
        raise ConfigError(
            f"image.crop: the family {config.model.family} learns nothing, from no crops. Leave image.crop off."
        )


def run_folds(
    config: RunConfig,
    competition: Competition,
    arrays_train: Arrays,
    arrays_test: Arrays | None,
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
    where the folder holds a run of another config, or finished fits of folds that `restart` would lose, or the arrays
    are not those of the folds.
    """
    wanted = _chosen_folds(folds, only_folds)
    if not np.array_equal(arrays_train.ids, folds.ids):
        raise ConfigError("folds.csv lists other samples than the training data hold. Run scripts/prepare.py again.")
    classes = len(competition.classes)
    family = plugins.load("models", config.model.family)
    # Before anything is written: what the config asks for may not fit these images.
    unlabelled = resized(arrays_test) if config.pseudo_labels and arrays_test is not None else None
    teacher = find_teacher(config, run_folder.parent, folds, unlabelled) if config.pseudo_labels else None
    data_folders = run_folder.parent.parent
    start = find_start(config, data_folders, folds, arrays_train.checksum) if config.model.init_from else None
    if start is not None and resolved_normalization(start.config) != resolved_normalization(config):
        raise ConfigError(
            f"{start.what} has learned from images scaled as {resolved_normalization(start.config)}, not "
            f"{resolved_normalization(config)}. Set image.normalization: {resolved_normalization(start.config)}."
        )
    if start is not None and start.config.frame_adapter != config.frame_adapter:
        raise ConfigError(f"{start.what} has learned from another view, {start.config.frame_adapter}. Set view to it.")
    job: Job = (
        RuleBasedPredictor(config, partial(family.predict, classes=classes, **config.model.options))
        if hasattr(family, "predict")
        else FoldTrainer(
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
    restart = restart or _nothing_done(run_folder, kind=config.task)
    if restart:
        _refuse_loss(run_folder, folds, wanted)
        for part in ("models", "oof", "test", "pseudo_labels"):
            shutil.rmtree(run_folder / part, ignore_errors=True)
    info = runs.begin_run(
        run_folder,
        name=config.name,
        kind=config.task,
        classes=competition.classes,
        unit=competition.unit,
        config=stored,
        config_hash=config.hash(),
        folds=folds,
        data_hash=arrays_train.checksum,
        weights_sha256=start.provenance if start else weights_digest(family, config.model.options),
        may_change=PREDICTION_KEYS,
        restart=restart,
    )
    if teacher is not None:
        assert isinstance(job, FoldTrainer)
        assert config.pseudo_labels is not None
        teacher.check_recorded(info)
        asked = FoldTrainer(
            teacher.predicting,
            competition,
            arrays_train,
            teacher.folder / "models",
            teacher.fingerprint,
            checkpoint_seconds,
        )
        job.pseudo_labels = teacher.labels(config.pseudo_labels, classes=classes, predict=asked.predict)
    shape = (classes,) if config.task == "classification" else (*competition.grid, classes)
    dtype = "uint8" if config.task == "segmentation" else "float32"
    oof = runs.open_rows(run_folder, "oof", info, ids=arrays_train.ids, shape=shape, dtype=dtype)
    for fold in wanted:
        fits = job.fits(folds, fold)
        job.predict(arrays_train, np.flatnonzero(folds.fold == fold), oof, fits, label=f"{config.name} fold {fold}")
        if fits:
            runs.record_scores(run_folder, {f"fold{fold}": float(np.mean([fit.score for fit in fits]))})
    everywhere = bool(oof.complete[folds.fold >= 0].all())
    if everywhere and arrays_test is not None:
        test = runs.open_rows(
            run_folder, "test", info, ids=arrays_test.ids, shape=shape, dtype=dtype, checksum=arrays_test.checksum
        )
        # Where folds follow each other in time the last one has seen all that the others have.
        last = range(folds.k - 1, folds.k) if folds.times is not None else range(folds.k)
        fits = [fit for fold in last for fit in job.fits(folds, fold)]
        job.predict(arrays_test, np.arange(len(arrays_test.ids)), test, fits, label=f"{config.name} test")
    recorded = runs.read_info(run_folder).scores
    scores = {fold: recorded[f"fold{fold}"] for fold in range(folds.k) if f"fold{fold}" in recorded}
    return RunResult(folder=run_folder, scores=scores, complete=everywhere)


def _nothing_done(run_folder: Path, *, kind: str) -> bool:
    """Whether a run of this kind ended before its first epoch, refused by its network, say, and has nothing to keep."""
    if not (run_folder / "run.json").is_file() or runs.read_info(run_folder).kind != kind:
        return False
    if any((run_folder / "models").glob("fold*")):
        return False
    rows = run_folder / "oof"
    return not (rows / "rows.json").is_file() or not RowStore.open(rows).complete.any()


def _refuse_loss(run_folder: Path, folds: Folds, wanted: Sequence[int]) -> None:
    """ConfigError where other folds than those wanted are finished: beginning afresh would take their weights away."""
    others = [
        str(fold)
        for fold in range(folds.k)
        if fold not in wanted and any((run_folder / "models").glob(f"fold{fold}_seed*.weights.h5"))
    ]
    if others:
        raise ConfigError(
            f"--restart begins the whole run afresh, and its fold {', '.join(others)} would be lost, which --fold does "
            f"not train ({run_folder}). Leave --fold off, or give the run another name."
        )


def _chosen_folds(folds: Folds, only_folds: Sequence[int] | None) -> list[int]:
    every = list(range(folds.k))
    for fold in only_folds or []:
        if fold not in every:
            raise ConfigError(f"--fold {fold}: folds.csv has folds 0 to {folds.k - 1}.")
    return sorted(set(only_folds)) if only_folds else every
