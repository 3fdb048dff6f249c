"""Base of what a network is trained for, and protocols of the arrays that it is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from skyfold.competition import Competition
from skyfold.config.run import RunConfig
from skyfold.data.batches import Rows
from skyfold.data.class_subset import with_classes
from skyfold.store.folds import Folds
from skyfold.store.rows import Shape
from skyfold.training.input_normalization import normalization_of
from skyfold.training.losses.named import Loss, make_loss


class FitArrays(Protocol):
    """What epochs are made from."""

    def epoch_rows(self, rows: np.ndarray, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        """Arrays and row numbers of one training epoch over the samples `rows`."""
        ...

    def validation_rows(self, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Arrays and row numbers of every validation pass over the samples `rows`."""
        ...


class PredictedSamples(Protocol):
    """Samples whose predictions are stored. sizes: as `Samples.sizes`."""

    @property
    def sizes(self) -> np.ndarray | None: ...


class RunArrays(FitArrays, PredictedSamples, Protocol):
    """The samples of one part of a data set as a network reads them.

    ids (n,) str; input_shape (H, W, C); checksum: digest of the arrays' values, independent of where files lie.
    """

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def checksum(self) -> str: ...

    @property
    def input_shape(self) -> tuple[int, int, int]: ...


class ValidationScore(Protocol):
    """Score of validation outputs, from statistics that are collected batch by batch like those of a `types.Metric`."""

    @property
    def name(self) -> str: ...

    @property
    def greater_is_better(self) -> bool: ...

    def stats(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Statistics (n, ...) of one batch: targets as the loss reads them, outputs (B, ...) of the network."""
        ...

    def score(self, stats: np.ndarray) -> float:
        """Score of the statistics of all batches, concatenated."""
        ...


class Objective(ABC):
    """What a network is trained for: targets, loss, validation score, and how its outputs become stored rows.

    config         of the run
    competition    with the classes (or lead times) that the run learns
    normalization  mode of `data.normalization`; None where the arrays are normalized already
    dtype          of a stored prediction
    LOSSES         losses by name, whose arguments after the second are their options
    """

    LOSSES: ClassVar[Mapping[str, Callable[..., Any]]]
    dtype: ClassVar[str] = "float32"

    def __init__(self, config: RunConfig, competition: Competition) -> None:
        self.config, self.competition = config, with_classes(competition, config.classes)
        self.normalization = normalization_of(config)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K outputs: classes, or lead times."""
        return self.competition.classes

    @property
    @abstractmethod
    def target_planes(self) -> int:
        """Planes of a training target (H, W, planes), which augmentation moves with the image."""

    @property
    @abstractmethod
    def validation(self) -> ValidationScore:
        """Score that epochs are compared by."""

    @property
    def validation_source(self) -> str:
        """Digest of the code of that score, where it lies outside skyfold; else ''."""
        return ""

    @classmethod
    def make_loss(cls, config: RunConfig, classes: int | None = None) -> Loss:
        """loss(target, output) of a batch, in `keras.ops`. classes: number of outputs, where it is known.

        ConfigError on a loss, or an option of it, that the task does not have.
        """
        return make_loss(cls.LOSSES, config.loss.name, config.loss.options, task=config.task, classes=classes)

    @abstractmethod
    def row_shape(self, samples: PredictedSamples) -> Shape | list[Shape]:
        """Shape of a stored prediction of `samples`; a list, one a sample, where they differ."""

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

    def picture(self, image: np.ndarray, target: np.ndarray, output: np.ndarray, title: str) -> bytes | None:
        """A PNG of one validation sample with truth and prediction; None where the task draws none.

        image (H, W, C) as it is stored, target as the loss reads it, output of the network.
        """
        return None

    def to_rows(self, values: np.ndarray, samples: PredictedSamples, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Averaged outputs (n, ...) of the rows `rows` of `samples` as they are stored, each in its `row_shape`."""
        return values
