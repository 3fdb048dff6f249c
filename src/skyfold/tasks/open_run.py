"""Open what one run is trained on: its task, arrays and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import open_dataset
from skyfold.data.rescale import StoredPixels
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.forecasting.frame_adapters import adapter_of
from skyfold.memory import too_large
from skyfold.models import NetworkFamily, RuleFamily, family_of
from skyfold.store.contents import Contents
from skyfold.store.folds import Folds
from skyfold.tasks import build_task, task_class
from skyfold.tasks.task import Task
from skyfold.training import backend
from skyfold.training.encoder_training import require_encoder
from skyfold.training.input_normalization import normalization_of
from skyfold.training.objective import RunArrays
from skyfold.workspace import Workspace

LEAST_BANDS = 3


@dataclass(frozen=True)
class OpenRun:
    """arrays: by part of the data set, "train" and, where the competition has one, "test"; contents: what its samples
    hold, before anything is decoded."""

    task: Task
    arrays: Mapping[str, RunArrays]
    folds: Folds
    contents: Contents


def not_trained(config: RunConfig) -> ConfigError:
    """Says how the predictions of an imported run come to be there."""
    return ConfigError(
        f"run '{config.name}': its predictions are imported. Import them: skyfold import {config.name} --task "
        f"{config.task} --data CONFIG --oof FILE --test FILE."
    )


def check(config: RunConfig, *, begun: bool = False) -> None:
    """Check what training would fail on, before any data are read.

    begun: whether fits of the run may be finished, which predict without initial weights.
    ConfigError on a family, frame adapter, loss, or an option of these that does not exist or cannot be used on this
    machine, on a normalization that does not fit pretrained weights, and on a model family without training for what
    such a family cannot predict.
    """
    family, task = family_of(config.model), task_class(config.task)
    if config.imported:
        return
    if not begun:
        family.require()
    if isinstance(family, NetworkFamily):
        backend.require()
    task.make_loss(config)
    if config.frame_adapter is not None:
        adapter_of(config.frame_adapter)
    normalization_of(config)
    require_encoder(config)
    if not isinstance(family, RuleFamily):
        return
    if not task.MASKS:
        raise ConfigError(
            f"model.family: {config.model.family} predicts masks, task: {config.task} does not. Use another family, or "
            "task: segmentation."
        )
    if config.images.crop is not None:
        raise ConfigError(
            f"image.crop: not supported by model.family {config.model.family} (nothing is trained). Remove it."
        )


def open_run(config: RunConfig, workspace: Workspace, *, parts: Sequence[str] | None = None) -> OpenRun:
    """Read the samples of `parts` (None: all there are) and the folds, and decode images into the cache.

    ConfigError, before any is decoded, where a batch of images does not fit into memory. DataLayoutError where the
    images of the parts differ in type or number of bands.
    """
    dataset = open_dataset(config.data, workspace, parts=parts)
    known, cache = dataset.competition, workspace.cache(config.data.folder)
    task = build_task(config, known)
    _refuse_batch(task)
    arrays = {
        part: task.arrays(of_classes(samples, known.classes, task.classes), part, cache)
        for part, samples in dataset.samples.items()
    }
    _refuse_unlike(arrays)
    return OpenRun(task, arrays, dataset.folds, dataset.contents)


def _refuse_unlike(arrays: Mapping[str, RunArrays]) -> None:
    """DataLayoutError where a network that is trained on one part could not read another."""
    found = {
        part: f"{some.dtype}, {some.input_shape[-1]} bands"
        for part, some in arrays.items()
        if isinstance(some, StoredPixels)
    }
    if len(set(found.values())) > 1:
        kinds = "; ".join(f"{part}: {kind}" for part, kind in found.items())
        raise DataLayoutError(f"the images of the parts differ ({kinds}). Write all with one type and number of bands.")


def _refuse_batch(task: Task) -> None:
    """ConfigError where the images and masks of one batch, in float32, do not fit into memory."""
    config = task.config
    if config.image is None:
        return
    height, width = config.image.size
    batch = 1 if isinstance(family_of(config.model), RuleFamily) else config.training.batch_size
    bands = LEAST_BANDS * (2 * config.image.neighbours + 1) + len(task.classes)
    if shortage := too_large(batch * height * width * bands * np.float32().itemsize):
        many = f"a batch of {batch} images of" if batch > 1 else "an image of"
        raise ConfigError(
            f"image.size: {many} {height} x {width} pixels: {shortage}. Set image.size or training.batch_size lower."
        )
