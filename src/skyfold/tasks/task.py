"""Base of all tasks: everything that differs between segmentation, classification and forecasting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from skyfold.competition import Competition
from skyfold.config.run import RunConfig
from skyfold.data.batches import Rows
from skyfold.data.class_subset import with_classes, with_planes
from skyfold.errors import ConfigError
from skyfold.reports.leaderboard import Row, blend_entries, run_entry
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo
from skyfold.training.input_normalization import normalization_of
from skyfold.training.losses.named import Loss
from skyfold.training.objective import RunArrays, ValidationScore
from skyfold.training.predict import Forward, LoadWeights, write_predictions
from skyfold.types import IntPair, Samples


class Task(ABC):
    """What one run reads, learns and stores; built once from its config, and asked by everything else.

    config       of the run
    competition  with the classes that the run learns
    LOSSES       losses by name, whose arguments after the second are their options
    dtype        of a stored prediction
    """

    LOSSES: ClassVar[Mapping[str, Callable[..., Any]]]
    dtype: ClassVar[str] = "float32"

    def __init__(self, config: RunConfig, competition: Competition) -> None:
        self.config = config
        self.competition = with_classes(competition, config.classes)
        self.normalization = normalization_of(config)

    def with_config(self, config: RunConfig, *, grid: IntPair) -> Self:
        """The same task for another config, rows stored on `grid` (H, W)."""
        return type(self)(config, replace(self.competition, grid=grid))

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig) -> None:
        """ValueError on keys of a run's config that the task does not support, or that it lacks."""

    @classmethod
    @abstractmethod
    def check_loss(cls, config: RunConfig) -> None:
        """ConfigError on a loss, or an option of it, that the task does not have."""

    def of_classes(self, samples: Samples, competition: Competition) -> Samples:
        """`samples` of `competition` with the targets of this task's classes only."""
        if self.classes == competition.classes:
            return samples
        return with_planes(samples, tuple(competition.classes.index(name) for name in self.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.competition.classes

    @property
    def unit(self) -> str:
        return self.competition.unit

    @property
    @abstractmethod
    def target_planes(self) -> int:
        """Planes of a training target (H, W, planes), which augmentation moves with the image."""

    @property
    @abstractmethod
    def validation(self) -> ValidationScore:
        """Score that epochs are compared by."""

    @abstractmethod
    def loss(self) -> Loss:
        """loss(target, output) of a batch, in `keras.ops`."""

    @abstractmethod
    def arrays(self, samples: Mapping[str, Samples], cache: Path) -> dict[str, RunArrays]:
        """Arrays of each part of `samples`; what is decoded is stored below `cache`."""

    @abstractmethod
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one stored prediction."""

    @abstractmethod
    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of the network's output for one input (H, W, C)."""

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Augmented targets (B, H, W, planes) as the loss reads them."""
        return targets

    def trainable_rows(self, arrays: RunArrays, rows: np.ndarray, folds: Folds) -> np.ndarray:
        """Those of `rows` that a fit may learn from."""
        return rows

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Network outputs as what is averaged over members and test-time augmentations."""
        return outputs

    def to_rows(self, values: np.ndarray, arrays: RunArrays, rows: np.ndarray) -> np.ndarray:
        """Averaged outputs (n, ...) of the samples `rows` as they are stored, (n, *row_shape)."""
        return values

    def output_bytes(self, input_shape: tuple[int, int, int]) -> int:
        """Bytes of one float32 output."""
        return 4 * int(np.prod(self.output_shape(input_shape)))

    def predict(
        self,
        network: Forward,
        arrays: RunArrays,
        rows: np.ndarray,
        store: RowStore,
        members: Sequence[LoadWeights],
        *,
        label: str,
    ) -> None:
        """Write the mean prediction of `members` for `rows` into `store`; rows that are complete stay as they are."""
        write_predictions(
            network,
            cast(Rows, arrays),
            rows,
            store,
            members=members,
            normalization=self.normalization,
            transforms=self.config.tta,
            activation=self.activate,
            convert=lambda values, chunk: self.to_rows(values, arrays, chunk),
            row_bytes=self.output_bytes(arrays.input_shape),
            label=label,
        )

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Row]:
        """Leaderboard entries of what is stored in `folder`. submissions: folder of the data set's submissions."""
        return blend_entries(folder, submissions) if (folder / "blend.json").is_file() else [run_entry(info)]

    def predict_rule_based(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        arrays: RunArrays,
        rows: np.ndarray,
        store: RowStore,
        *,
        label: str,
    ) -> None:
        """Write what a model family without training predicts; ConfigError where the task has no such family."""
        raise ConfigError(
            f"model.family: {self.config.model.family} predicts masks, task: {self.config.task} does not. Use another "
            "family, or task: segmentation."
        )


def refuse_keys(config: RunConfig, *keys: str) -> None:
    """ValueError where one of the dotted `keys` is set, which the config's task does not support."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value:
            raise ValueError(f"{key}: not supported by task: {config.task}; remove it")
