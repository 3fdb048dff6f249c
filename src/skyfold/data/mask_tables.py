"""Contests whose masks stand in a table, train.csv; of some no images are read, their predictions are imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.competition import Truth
from skyfold.data.folder import file_id
from skyfold.data.images import ImageFiles, image_paths
from skyfold.data.segmentation_files import SegmentationFiles
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, Problems
from skyfold.submission.formats import read_table
from skyfold.types import ArraySequence, IntPair, Samples

TRAIN, TEST = "train.csv", "sample_submission.csv"
MOST_PIXELS = 1 << 31  # of one mask


def read_sizes(path: Path, columns: tuple[str, str, str]) -> dict[str, IntPair]:
    """(H, W) by id from a CSV file; columns: names of those of id, width and height.

    DataLayoutError names the file, and the id whose size is no whole number from 1 on or stands there twice.
    """
    table = read_table(path, columns, refuse=DataLayoutError)
    ids, widths, heights = (table[column].tolist() for column in columns)
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise DataLayoutError(f"{path}: '{twice[0]}' stands in {ids.count(twice[0])} rows. Keep one.")
    sizes = {}
    for name, width, height in zip(ids, widths, heights, strict=True):
        if not all(text.isascii() and text.isdigit() and int(text) > 0 for text in (width, height)):
            raise DataLayoutError(f"{path}: the size of '{name}' is {width} x {height}; expected whole pixels.")
        sizes[name] = int(height), int(width)
        if int(height) * int(width) > MOST_PIXELS:
            raise DataLayoutError(f"{path}: the size of '{name}' is {width} x {height}, more pixels than are read.")
    return sizes


def sizes_file(name: str, folder: Path | None) -> Path:
    """The table of sizes that the option `sizes` names, in `folder` where its path is not absolute.

    ConfigError where it is not there.
    """
    path = Path(name) if folder is None else folder / name
    if not path.is_file():
        raise ConfigError(
            f"data.options.sizes: {path}: no such file. Name the CSV file of the masks' sizes; `skyfold score` takes "
            "--sizes FILE."
        )
    return path


@dataclass(frozen=True)
class MaskTables(SegmentationFiles):
    """Masks of the training part in a table; the sample submission names the samples of the test part.

    truth_column  of run-length text in the table of masks and in truth files
    group_of      id -> group whose samples never fall into different folds, None: each by itself
    joined        ground truth may have several rows of one key, of objects, whose masks are joined; where submissions
                  have, too, give `RleTable(..., objects=True)` instead
    train_table, test_table  names of the two tables

    A subclass reads the images.
    """

    truth_column: str
    group_of: Callable[[str], str] | None = None
    joined: bool = False
    train_table: str = TRAIN
    test_table: str = TEST

    def inputs(self, folder: Path, part: str, ids: np.ndarray, problems: Problems) -> ArraySequence:
        """Images of `ids`; what is wrong with their files is added to `problems`. Here there are none."""
        return NoImages(len(ids))

    def read_images(self, folder: Path) -> Samples:
        problems = Problems()
        files = {file_id(path): path for path in image_paths(folder, problems)}
        problems.refuse(folder)
        return Samples(np.array(list(files), dtype=str), ImageFiles(list(files.values())))

    def check_images(self, folder: Path, problems: Problems) -> None:
        """Read every image once; what is wrong with the files is added to `problems`. Here there are none."""

    def load(self, folder: Path, part: str) -> Samples:
        """DataLayoutError lists the rows of a table that are wrong, and the problems of the images."""
        problems, targets = Problems(), None
        try:
            if part == "test":
                table = self.submission.read(self.sample_table(folder))
                ids = np.array(self.submission.ids_of(table), dtype=str)
            else:
                truth = self.read_truth(_required(folder / self.train_table))
                ids, targets = truth.ids, truth.targets
        except InvalidSubmission as error:
            raise DataLayoutError(str(error)) from None
        inputs = self.inputs(folder, part, ids, problems)
        problems.refuse(folder)
        groups = None if self.group_of is None else np.array([self.group_of(str(name)) for name in ids])
        sizes = None
        if self.submission.sizes is not None:
            sizes = np.array([self.submission.size_of(str(name)) for name in ids]).reshape(-1, 2)
        return Samples(ids, inputs, targets, groups=groups, sizes=sizes)

    def check(self, folder: Path) -> str:
        problems = Problems()
        self.check_images(folder, problems)
        problems.refuse(folder)
        train, test = (self.load(folder, part) for part in ("train", "test"))
        assert train.targets is not None
        covers = np.array([train.targets[i].mean(axis=(0, 1)) for i in range(len(train))])
        classes = zip(self.submission.classes, covers.T, strict=True)
        of_each = [f"{name} {cover.mean():.1%} of an image, empty {(cover == 0).mean():.0%}" for name, cover in classes]
        return "; ".join([f"{len(train)} samples with masks", *of_each, f"{len(test)} to predict"])

    def sample_table(self, folder: Path) -> Path:
        """DataLayoutError where it is missing: it names what is to be predicted."""
        return _required(folder / self.test_table)

    def read_truth(self, path: Path) -> Truth:
        """As `SegmentationFiles.read_truth`, of a table whose run-length text stands in `truth_column`."""
        objects = self.joined or self.submission.objects
        table = replace(self.submission, rle_column=self.truth_column, objects=objects)
        try:
            return Truth(*table.read_masks(path))
        except InvalidSubmission as error:
            hint = " Where each row is an object of an image, give RleTable(..., objects=True)."
            raise InvalidSubmission(f"{error}{hint if 'stands in' in str(error) else ''}") from None


def files_of(ids: Iterable[str], files: Mapping[str, Path], where: Path, problems: Problems) -> list[Path]:
    """The file of each id. Ids without a file in `where` and files that belong to no id are added to `problems`."""
    wanted = list(ids)
    others = sorted(files.keys() - set(wanted))
    if wanted and not files.keys() & set(wanted) and others:
        message = (
            f"{where}: no id is that of a file: ids are like '{wanted[0]}', files like '{others[0]}'. Name both alike"
        )
        problems.add("ids of another form than files", message)
        return []
    problems.add("rows without a file", *(f"{where}: no file for '{name}'" for name in wanted if name not in files))
    problems.add("files without a row", *(f"{files[name]}: no row names it. Remove it" for name in others))
    return [files[name] for name in wanted if name in files]


def _required(path: Path) -> Path:
    if not path.is_file():
        raise DataLayoutError(
            f"{path}: no such file. Download it from the contest's page; where it has another name, give MaskTables "
            "train_table or test_table."
        )
    return path


@dataclass(frozen=True)
class NoImages:
    """Stands for the images of `count` samples that are not read."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        raise DataLayoutError(
            "This competition is known by its tables alone, no images are read. Import predictions: skyfold import."
        )

    def sources(self, index: int) -> tuple[str, ...]:
        """No file and no text."""
        return ()
