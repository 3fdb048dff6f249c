"""Kaggle "Understanding Clouds from Satellite Images" (2019): segment Fish, Flower, Gravel and Sugar in a scene.

The folder holds `train_images/*.jpg`, `test_images/*.jpg`, `train.csv` and `sample_submission.csv`. Both tables have
the columns Image_Label (`0011165.jpg_Fish`) and EncodedPixels, one row for each image and class, an empty field for an
empty mask. Masks are encoded at the size of the image in train.csv, and on a grid of a quarter of its sides in a
submission. A truth file to score against is a table on that grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.competition import Competition, Contest
from skyfold.competitions.understanding_clouds.sample import GRID_STEP, write_sample
from skyfold.config.fields import Size
from skyfold.data.check_images import check_images
from skyfold.data.folder import note_others
from skyfold.data.images import (
    SUFFIXES,
    TURNED_BY_A_QUARTER,
    ImageFiles,
    image_paths,
    read_header,
)
from skyfold.data.masks import RleMasks
from skyfold.data.segmentation_files import SegmentationFiles, spelled
from skyfold.errors import DataLayoutError, Problems
from skyfold.metrics.segmentation import MeanDice
from skyfold.progress import note
from skyfold.rle.codec import counts_from_zero, parse_all
from skyfold.submission.formats import RleTable, read_table
from skyfold.tables import plain
from skyfold.types import IntPair, Samples

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
GRID = (350, 525)  # of the contest itself, whose images are 1400 x 2100
IMAGES = {"train": "train_images", "test": "test_images"}
TABLES = {"train": "train.csv", "test": "sample_submission.csv"}


class UnderstandingClouds(Contest):
    """grid: (H, W) of predictions; by default a quarter of the first training image, or the contest's 350 x 525."""

    grid: Size | None = None

    def build(self, folder: Path | None) -> Competition:
        """The competition on `grid`. DataLayoutError where the size of the first image gives none.

        Masks are resampled from the images' size to the grid by nearest neighbour.
        """
        files = _CloudFiles(RleTable(CLASSES, self.grid or _grid_of(folder)))
        kaggle = "understanding_cloud_organization"
        return files.competition(
            "understanding_clouds", MeanDice(), write_sample=write_sample, kaggle=kaggle, resized=True
        )


PLUGIN = UnderstandingClouds


def _grid_of(folder: Path | None) -> IntPair:
    if folder is None or not (folder / IMAGES["train"]).is_dir():
        return GRID
    for path in image_paths(folder / IMAGES["train"], Problems()):
        try:
            header = read_header(path)
        except DataLayoutError:  # `check` names the file
            continue
        height, width = header.size
        if header.orientation in TURNED_BY_A_QUARTER:  # its size would be required of all the others
            continue
        if height % GRID_STEP or width % GRID_STEP:
            raise DataLayoutError(
                f"{path}: {height} x {width} pixels cannot be divided by {GRID_STEP}. Set data.options.grid."
            )
        return height // GRID_STEP, width // GRID_STEP
    return GRID


class _CloudFiles(SegmentationFiles):
    """Images, whose ids are their file names, and tables of run-length text."""

    @property
    def image_size(self) -> IntPair:
        """(H, W) of every image."""
        height, width = self.submission.shape
        return height * GRID_STEP, width * GRID_STEP

    def sample_table(self, folder: Path) -> Path:
        """DataLayoutError where it is missing: the contest has one, and submissions are checked against it."""
        path = folder / TABLES["test"]
        if not path.is_file():
            raise DataLayoutError(f"{path}: no such file. Download it: submissions are checked against it.")
        return path

    def load(self, folder: Path, part: str) -> Samples:
        """Test images come in the order of the sample submission. Only the size of the first image is checked."""
        problems = Problems()
        images = _by_name(folder / IMAGES[part], problems)
        table = folder / TABLES[part]
        texts = self._texts(table, list(images), problems)
        self._add_wrong_sizes(list(images.values())[:1], problems)
        problems.refuse(folder)
        if part == "test":
            ids = np.array(texts.index)
            return Samples(ids=ids.astype(str), inputs=ImageFiles([images[name] for name in ids]))
        ids = np.array(list(images))
        rows = np.char.add(np.char.add(ids[:, np.newaxis], "_"), np.array(CLASSES))
        targets = RleMasks(texts.loc[ids].to_numpy(), table, rows, drawn_at=self.image_size, grid=self.submission.shape)
        return Samples(ids=ids, inputs=ImageFiles(list(images.values())), targets=targets)

    def read_images(self, folder: Path) -> Samples:
        """Samples of the images in `folder`, to predict, by file name."""
        problems = Problems()
        images = _by_name(folder, problems)
        problems.refuse(folder)
        return Samples(ids=np.array(list(images)), inputs=ImageFiles(list(images.values())))

    def check(self, folder: Path) -> str:
        problems = Problems()
        images = {part: _by_name(folder / name, problems) for part, name in IMAGES.items()}
        texts = {}
        for part, found in images.items():
            table = folder / TABLES[part]
            listed = problems if found or not table.is_file() else Problems()  # without images each row would be wrong
            texts[part] = self._texts(table, list(found), listed, decoded=part == "train")
            whole = check_images(list(found.values()), problems, label=f"checking {IMAGES[part]}")
            self._add_wrong_sizes(list(whole), problems)
        problems.refuse(folder)
        for name in IMAGES.values():
            note_others(folder / name, SUFFIXES)
        empty = (texts["train"] == "").mean()
        for label in empty.index[empty == 1]:
            note(f"{folder / TABLES['train']}: every mask of class '{label}' is empty. Is the table whole?")
        return (
            f"{len(images['train'])} train and {len(images['test'])} test images of {spelled(self.image_size)} pixels, "
            f"{texts['train'].size} rows in train.csv, empty: "
            + ", ".join(f"{label} {rate:.0%}" for label, rate in empty.items())
        )

    def _texts(self, path: Path, ids: list[str], problems: Problems, *, decoded: bool = False) -> pd.DataFrame:
        """Run-length text by image and class, images in the order of the table; what is wrong with its rows is added
        to `problems`.

        decoded: check the text itself, too, for masks of the size of the images.
        """
        try:
            table = read_table(path, self.submission.columns, refuse=DataLayoutError)[list(self.submission.columns)]
        except DataLayoutError as error:
            problems.add("tables that cannot be read", str(error))
            return pd.DataFrame(columns=CLASSES)
        if table.empty:
            problems.add("tables that cannot be read", f"{path}: only a header, no rows. Download it again.")
            return pd.DataFrame(columns=CLASSES)
        table.columns = pd.Index(["key", "text"])
        table.index += 2  # line 1 is the header
        table[["id", "label"]] = table["key"].str.rpartition("_")[[0, 2]]
        labelled = table["label"].isin(CLASSES)
        endings = [
            f"{path}, line {line}: '{key}' does not end in one of _{', _'.join(CLASSES)}"
            for line, key in table.loc[~labelled, "key"].items()
        ]
        problems.add("rows of no class", *endings)
        strangers = table[labelled & ~table["id"].isin(ids)].drop_duplicates("id")
        file_of = {name.casefold(): name for name in ids}
        renamed, unknown = {}, []
        for line, name in strangers["id"].items():
            if name.casefold() in file_of:
                renamed[file_of[name.casefold()]] = f"line {line}: '{name}'"
            else:
                unknown.append(f"{path}, line {line}: no image '{name}' in the folder")
        problems.add("rows without an image", *unknown)
        if renamed:
            file, place = next(iter(renamed.items()))
            others = f", and {len(renamed) - 1} more" if len(renamed) > 1 else ""
            problems.add(
                "names that differ in capitals",
                f"{path}, {place}, the file is '{file}'{others}: only capitals differ. Rename the files as the table.",
            )
        known = table[labelled & table["id"].isin(ids)]
        doubled, rows_of = known["key"].duplicated(), known["key"].value_counts()
        twice = [
            f"{path}, line {line}: row '{key}' is there {rows_of[key]} times; keep one"
            for line, key in known.loc[doubled, "key"].items()
        ]
        problems.add("rows that are there twice", *twice)
        known = known[~doubled]
        texts = known.pivot(index="id", columns="label", values="text")
        texts = texts.reindex(index=[*known["id"].unique(), *sorted(set(ids) - set(known["id"]))], columns=CLASSES)
        absent, missing_rows = texts.isna(), []
        for name, missing in absent[absent.any(axis=1)].iterrows():
            if name not in renamed:
                labels = ", ".join(texts.columns[missing])
                missing_rows.append(f"{path}: no row for image '{name}', class {labels}; an empty mask needs one too")
        problems.add("images without a row", *missing_rows)
        if decoded:
            written, keys = known["text"].tolist(), known["key"].tolist()
            segments, refused = parse_all(written, self.image_size, rows=keys)
            counted = counts_from_zero(written, segments, refused)
            if counted and refused:
                problems.add("tables that count pixels from 0", f"{path}: {counted}")
            elif counted:
                note(f"{path}: {counted}")
            wrong = [f"{path}, line {known.index[place]}: {message}" for place, message in refused.items()]
            problems.add("run-length text that is no mask", *wrong)
        return texts

    def _add_wrong_sizes(self, paths: Sequence[Path], problems: Problems) -> None:
        """Add images of another size than the contest's to `problems`."""
        for path in paths:
            header = read_header(path)
            if header.size != self.image_size:
                turned = " (an EXIF tag turns it; write it unturned)" if header.turned else ""
                expected = spelled(self.image_size)
                message = f"{path}: {spelled(header.size)} pixels (h x w), expected {expected}{turned}"
                problems.add("images of another size", message)


def _by_name(folder: Path, problems: Problems) -> dict[str, Path]:
    """Image files by name, in the one form that names are compared in."""
    return {plain(path.name): path for path in image_paths(folder, problems)}
