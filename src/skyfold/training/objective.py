"""Protocols of what training asks of a task and of the arrays it trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.batches import Rows
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.training.losses.named import Loss
from skyfold.training.predict import Forward, LoadWeights
from skyfold.types import IntPair


class FitArrays(Protocol):
    """What epochs are made from."""

    def epoch_rows(self, rows: np.ndarray, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        """Arrays and row numbers of one training epoch over the samples `rows`."""
        ...

    def validation_rows(self, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Arrays and row numbers of every validation pass over the samples `rows`."""
        ...


class RunArrays(FitArrays, Protocol):
    """The samples of one part of a data set as a network reads them.

    ids (n,) str; input_shape (H, W, C); checksum: digest of the arrays' values, independent of where files lie.
    """

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def checksum(self) -> str: ...

    @property
    def input_shape(self) -> tuple[int, int, int]: ...


class CollectedScore(Protocol):
    def add(self, targets: np.ndarray, logits: np.ndarray) -> None: ...

    def score(self) -> float: ...


class ValidationScore(Protocol):
    """Score of logits against targets; `begin` starts a pass over the validation rows, batch by batch."""

    @property
    def name(self) -> str: ...

    @property
    def greater_is_better(self) -> bool: ...

    def begin(self) -> CollectedScore: ...


class Objective(Protocol):
    """What a network is trained for.

    classes        names of the K outputs: classes, or lead times
    normalization  mode of `data.normalization`; None where the arrays are normalized already
    target_planes  planes of a training target, which augmentation moves with the image
    validation     score that epochs are compared by
    """

    @property
    def config(self) -> RunConfig: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def normalization(self) -> str | None: ...

    @property
    def target_planes(self) -> int: ...

    @property
    def validation(self) -> ValidationScore: ...

    @property
    def unit(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    def with_config(self, config: RunConfig, *, grid: IntPair) -> Objective:
        """The same for another config, rows stored on `grid` (H, W)."""
        ...

    def loss(self) -> Loss:
        """loss(target, output) of a batch, in `keras.ops`."""
        ...

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of the network's output for one input (H, W, C)."""
        ...

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Augmented targets (B, H, W, planes) as the loss reads them."""
        ...

    def row_shape(self) -> tuple[int, ...]:
        """Shape of one stored prediction."""
        ...

    def trainable_rows(self, arrays: RunArrays, rows: np.ndarray, folds: Folds) -> np.ndarray:
        """Those of `rows` that a fit may learn from."""
        ...

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
        ...

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
        ...
