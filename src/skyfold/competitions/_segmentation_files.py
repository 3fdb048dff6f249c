"""Base of the segmentation competitions: tables of masks, and every file of a folder read in threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from skyfold.competition import Competition, Truth
from skyfold.data.images import THREADS
from skyfold.errors import DataLayoutError, listing
from skyfold.progress import Progress
from skyfold.submission.formats import RleTable
from skyfold.types import ArraySequence, IntPair, Metric, Samples

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SegmentationFiles(ABC):
    """Files of a segmentation competition, whose truth and submissions are tables of run-length text.

    submission: the table, which also gives classes and grid (H, W) of the predictions. A subclass reads the samples.
    """

    submission: RleTable

    def competition(self, name: str, metric: Metric, **offers: Any) -> Competition:
        """The competition `name`, scored by `metric`; offers: further fields of `Competition`."""
        return Competition(
            name=name,
            task="segmentation",
            classes=self.submission.classes,
            grid=self.submission.shape,
            unit="probability",
            metric=metric,
            submission=self.submission,
            load=self.load,
            check=self.check,
            read_truth=self.read_truth,
            read_pred=self.read_pred,
            sample_table=self.sample_table,
            **offers,
        )

    @abstractmethod
    def load(self, folder: Path, part: str) -> Samples:
        """Samples of `part`, "train" or "test", with masks uint8 0/1 (H, W, K) on the grid for "train".

        Only names and headers are read. DataLayoutError lists all files that are missing or do not fit together.
        """

    @abstractmethod
    def check(self, folder: Path) -> str:
        """Read every file; returns a summary. DataLayoutError lists all problems found."""

    def sample_table(self, folder: Path) -> Path | None:
        """Path of the sample submission in `folder`; None where the competition has none."""
        return None

    def read_truth(self, path: Path) -> Truth:
        """Ids and masks of the table at `path`; InvalidSubmission where it is not one."""
        ids, masks = self.submission.read_masks(path)
        return Truth(ids=ids, targets=masks)

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """Masks of `ids` (n,), bool (H, W, K) each, from the table at `path`; InvalidSubmission where it lacks one."""
        return self.submission.read_masks(path, ids)[1]


def in_threads(label: str, function: Callable[[Item], Result], items: Sequence[Item], unit: str) -> Iterator[Result]:
    """`function` of each item, in order, computed in threads; progress is shown as `label`, counted in `unit`."""
    with Progress(label, len(items), unit) as progress, ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(function, items):
            progress.advance()
            yield result


def read_each(
    label: str, read: Callable[[Path], Result], paths: Sequence[Path]
) -> tuple[dict[Path, Result], list[str]]:
    """`read` of each file, in order; and the message of every DataLayoutError that it raised instead."""

    def attempt(path: Path) -> Result | DataLayoutError:
        try:
            return read(path)
        except DataLayoutError as error:
            return error

    found: dict[Path, Result] = {}
    problems = []
    for path, result in zip(paths, in_threads(label, attempt, paths, "images"), strict=True):
        if isinstance(result, DataLayoutError):
            problems.append(str(result))
        else:
            found[path] = result
    return found, problems


def refuse(folder: Path, problems: list[str]) -> None:
    """DataLayoutError that counts and lists the problems with the files of `folder`, if there are any."""
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise DataLayoutError(f"{folder}: {count} with its files\n{listing(problems, limit=20)}")


def spelled(size: IntPair) -> str:
    """
    >>> spelled((350, 525))
    '350x525'
    """
    return f"{size[0]}x{size[1]}"
