"""Samples, folds, predictions, metrics and submission formats, with the axes and shapes of their arrays.

Axes are named alike everywhere: N samples, T past frames, L lead times, H rows, W columns, C bands, K classes. Of one
sample, by task:

                  inputs[i]          targets[i]    valid[i]                stored row
  segmentation    (H, W, C)          (H, W, K)     bool (H, W)             uint8 (H, W, K), 255 x probability
  classification  (H, W, C)          (H, W, K)     bool (H, W)             float32 (K,), probability
  forecasting     (T, H, W)          (H, W, L)     bool (H, W, L)          float32 (H, W, L), in the unit

Images (H, W, C) are uint8, uint16, int16 or float32, all of a data set of one type; C may be any number. Targets and
rows lie on the competition's grid, whatever size a network reads; where it has none, each is of the size of its own
image. Metrics read N of one size, stacked in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class ArraySequence(Protocol):
    """Arrays read one at a time: a list, a memory map, or files decoded on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class LazyArrays:
    """A sequence of `count` arrays, each made by `make(index)` when it is read."""

    count: int
    make: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.make(index)


@runtime_checkable
class PartlyDefined(Protocol):
    """Inputs some of whose pixels may have no measurement (nodata)."""

    def defined(self, index: int) -> np.ndarray | None:
        """bool (H, W), False where any band of sample `index` has no measurement; None: all are defined.

        It is asked of every sample whenever a data set is opened, up to the first answer that is not None: None has to
        be cheap. Where only decoding could tell, an array that is True throughout is the better answer.
        """
        ...


@dataclass(frozen=True)
class Samples:
    """Samples to train on or to predict; nothing is read from disk before it is indexed.

    ids      (n,) str, unique
    inputs   inputs[i] as in the table of this module
    targets  targets[i] on the competition's grid; None where unknown
    valid    valid[i]; False counts in no loss and no score; None: all pixels count
    groups   (n,) str or int; samples of one group never fall into different folds; None: every sample its own
    times    (n,) datetime64, for splits forward in time; None where time plays no part
    sizes    (n, 2) int, H and W of each target and stored row, where the competition has no grid; else None
    """

    ids: np.ndarray
    inputs: ArraySequence
    targets: ArraySequence | None = None
    valid: ArraySequence | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


@runtime_checkable
class SoftTargets(Protocol):
    """Targets that are decided from fractions, of several annotators for instance, which may be trained on."""

    def fractions(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Fraction of each class, float32 (H, W, K), 0 to 1, and where they are defined, bool (H, W)."""
        ...


@dataclass(frozen=True)
class Split:
    """One fold: rows to fit on and rows to validate on, int64, disjoint."""

    train: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True, repr=False)
class Predictions:
    """Predictions of one run or blend, one row a sample.

    ids (n,) str; values (n, ...), stored ones read by row, slice or list of rows; has_prediction (n,) bool: False where
    no fold validated the row; unit: "probability" (uint8 values are 255 times it), "mm/h", "concentration x 250".
    """

    ids: np.ndarray
    values: np.ndarray
    has_prediction: np.ndarray
    unit: str

    def __repr__(self) -> str:
        return f"{len(self.ids)} x {self.values.dtype} {tuple(self.values.shape[1:])}"


class Metric(Protocol):
    """A contest's metric, computed from per-sample sufficient statistics.

    Scores of chunks, folds, groups and bootstrap draws all come from `score` of a selection of rows. K may be any
    number of classes: thresholds are chosen for one class at a time.
    """

    @property
    def name(self) -> str: ...

    @property
    def greater_is_better(self) -> bool: ...

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """target, pred (n, H, W, K), forecasts (n, H, W, L); valid the same without the last axis: pixels that count.

        Returns float64 (n, S).
        """
        ...

    def score(self, stats: np.ndarray) -> float:
        """stats (n, S), the rows of any selection of samples. Returns the contest's score."""
        ...


@runtime_checkable
class RowMetric(Metric, Protocol):
    """A metric whose score follows from one number per row, so that searches and bootstrap draws only add numbers up.

    pooled: "each", the score is the mean of `per_row`; "samples", it is `per_row` of the sum of the rows.
    """

    @property
    def pooled(self) -> Literal["each", "samples"]: ...

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """Score of each row by itself, float64 (n,)."""
        ...


@runtime_checkable
class CountMetric(RowMetric, Protocol):
    """A function of the pixel counts of each map, averaged over classes: searched exactly, by counts only.

    Its `stats` are the counts, (n, 3K): K columns each of pixels in both masks, in the predicted and in the true mask.
    """

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Score of single maps, float64, elementwise; counts of any one shape (or broadcast to one)."""
        ...


@runtime_checkable
class VolumeMetric(Metric, Protocol):
    """A metric of volumes: `stats` is called with all samples of one, sorted by id, which are its slices (n, H, W, K).

    What cannot be told of one slice may stand in any of its rows: folds and bootstrap draws keep volumes whole.
    """

    def volume_of(self, name: str) -> str:
        """The volume that the sample with this id is a slice of."""
        ...


class SubmissionFormat(Protocol):
    """A competition's submission table. Values are masks, bool (H, W, K) a sample, or forecasts, float (H, W, L).

    exact: whether `decode` gives back the values that were encoded.
    """

    exact: ClassVar[bool]

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame: ...

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> ArraySequence: ...

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]:
        """What would make the contest refuse the table or score it zero; each names its row and remedy."""
        ...

    def check_sample(self, path: Path, ids: np.ndarray) -> None:
        """InvalidSubmission where the sample submission at `path` is not one for `ids`, before anything is
        predicted."""
        return

    def with_header_of(self, table: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        """`table` with the column names of the sample submission, where they are free."""
        return table

    def read(self, path: Path) -> pd.DataFrame: ...

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write a CSV completely, or leave what is there."""
        ...


JsonDict = dict[str, Any]
IntPair = tuple[int, int]
Grid = IntPair | None  # (H, W) of all masks of a data set; None: each is of the size of its image
Names = Sequence[str]
