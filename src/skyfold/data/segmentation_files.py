"""Base of the segmentation competitions: tables of masks, and every file of a folder read in threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from skyfold.competition import Competition, Truth
from skyfold.errors import DataLayoutError, Problems
from skyfold.progress import map_in_threads
from skyfold.submission.formats import RleTable
from skyfold.types import ArraySequence, IntPair, Metric, Samples

Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class SegmentationFiles(ABC):
    """Files of a segmentation competition, whose truth and submissions are tables of run-length text.

    submission: the table, which also gives classes and grid (H, W) of the predictions. A subclass reads the samples;
    read_images: as of `Competition`, a method of a subclass where each sample is one image file.
    """

    submission: RleTable
    read_images: ClassVar[Callable[..., Samples] | None] = None

    def competition(self, name: str, metric: Metric, **offers: Any) -> Competition:
        """The competition `name`, scored by `metric`, with the classes and grid of the submission table.

        offers: further fields of `Competition`, such as `write_sample`.
        """
        return Competition(
            name=name,
            task="segmentation",
            classes=self.submission.classes,
            grid=None if self.submission.sizes is not None else self.submission.shape,
            unit="probability",
            metric=metric,
            submission=self.submission,
            load=self.load,
            check=self.check,
            read_images=self.read_images,
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
        """Read every file of `folder`; returns a summary in words.

        DataLayoutError lists the problems of `load`, and files that are broken or of another size.
        """

    def sample_table(self, folder: Path) -> Path | None:
        """Path of the sample submission in `folder`, whose rows and order a submission must have.

        None where the competition has none.
        """
        return None

    def read_truth(self, path: Path) -> Truth:
        """Ids (n,) and masks, bool (H, W, K) each, of the table at `path`.

        InvalidSubmission lists what is wrong with its rows.
        """
        ids, masks = self.submission.read_masks(path)
        return Truth(ids=ids, targets=masks)

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """Masks of `ids` (n,), bool (H, W, K) each, from the table at `path`, in the order of `ids`.

        InvalidSubmission where a row is missing or wrong, OtherRows where one is of another id.
        """
        return self.submission.read_masks(path, ids, others=False)[1]


def read_each(label: str, read: Callable[[Key], Result], paths: Sequence[Key], problems: Problems) -> dict[Key, Result]:
    """Results of `read` by file or name, in order; those for which it raises DataLayoutError are added to `problems`.

    Files are read in threads; progress is shown as `label`. Other exceptions are raised.
    """

    def attempt(path: Key) -> Result | DataLayoutError:
        try:
            return read(path)
        except DataLayoutError as error:
            return error

    found: dict[Key, Result] = {}
    for path, result in zip(paths, map_in_threads(label, attempt, paths, "images"), strict=True):
        if isinstance(result, DataLayoutError):
            problems.add_error(result)
        else:
            found[path] = result
    return found


def spelled(size: IntPair) -> str:
    """Size (H, W) in words.

    >>> spelled((350, 525))
    '350x525'
    """
    return f"{size[0]}x{size[1]}"
