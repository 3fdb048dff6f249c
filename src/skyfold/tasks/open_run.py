"""Open what one run is trained on: its task, arrays and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError
from skyfold.models import RuleFamily, family_of
from skyfold.store.folds import Folds
from skyfold.tasks import build_task, task_class
from skyfold.tasks.task import Task
from skyfold.training.input_normalization import normalization_of
from skyfold.training.objective import RunArrays
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class OpenRun:
    """arrays: by part of the data set, "train" and, where the competition has one, "test"."""

    task: Task
    arrays: Mapping[str, RunArrays]
    folds: Folds


def check(config: RunConfig) -> None:
    """Refuse, before any data are read, a family, option, loss or normalization that training would fail on."""
    family = family_of(config.model)
    family.require()
    task_class(config.task).check_loss(config)
    normalization_of(config)
    if config.image is not None and config.image.crop is not None and isinstance(family, RuleFamily):
        raise ConfigError(
            f"image.crop: not supported by model.family {config.model.family} (nothing is trained). Remove it."
        )


def open_run(
    config: RunConfig, workspace: Workspace, *, parts: Sequence[str] | None = None, dataset: Dataset | None = None
) -> OpenRun:
    """Read the samples of `parts` (None: all there are) and the folds, and decode images into the cache.

    dataset: the data set of `config`, where it is open already.
    """
    opened = dataset or open_dataset(config.data, workspace, parts=parts)
    task = build_task(config, opened.competition)
    samples = {part: task.of_classes(loaded, opened.competition) for part, loaded in opened.samples.items()}
    return OpenRun(task, task.arrays(samples, workspace.cache(config.data.folder)), opened.folds)
