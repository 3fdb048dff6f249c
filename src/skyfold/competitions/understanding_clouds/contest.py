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
from skyfold.competitions._segmentation_files import SegmentationFiles, refuse, spelled
from skyfold.competitions.understanding_clouds.sample import GRID_STEP, write_sample
from skyfold.config.fields import Size
from skyfold.data.images import ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import RleMasks
from skyfold.errors import DataLayoutError
from skyfold.metrics.segmentation import MeanDice
from skyfold.rle.codec import parse_all
from skyfold.submission.formats import RleTable, read_table
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
        return files.competition("understanding_clouds", MeanDice(), write_sample=write_sample)


PLUGIN = UnderstandingClouds


def _grid_of(folder: Path | None) -> IntPair:
    if folder is None or not (folder / IMAGES["train"]).is_dir():
        return GRID
    first = image_paths(folder / IMAGES["train"])[0]
    header = read_header(first)
    height, width = header.size
    if header.turned:  # its size would be required of all the others
        raise DataLayoutError(
            f"{first}: an EXIF tag turns this image to {spelled(header.size)} pixels; write it unturned."
        )
    if height % GRID_STEP or width % GRID_STEP:
        raise DataLayoutError(f"{first}: {height} x {width} pixels cannot be divided by {GRID_STEP}.")
    return height // GRID_STEP, width // GRID_STEP


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
        paths = image_paths(folder / IMAGES[part])
        table = self.sample_table(folder) if part == "test" else folder / TABLES[part]
        texts, problems = self._texts(table, [path.name for path in paths])
        refuse(folder, problems + self._wrong_sizes(paths[:1]))
        if part == "test":
            ids = np.array(texts.index)
            return Samples(ids=ids.astype(str), inputs=ImageFiles([folder / IMAGES[part] / name for name in ids]))
        ids = np.array([path.name for path in paths])
        rows = np.char.add(np.char.add(ids[:, np.newaxis], "_"), np.array(CLASSES))
        targets = RleMasks(texts.loc[ids].to_numpy(), rows, drawn_at=self.image_size, grid=self.submission.shape)
        return Samples(ids=ids, inputs=ImageFiles(paths), targets=targets)

    def check(self, folder: Path) -> str:
        problems: list[str] = []
        images: dict[str, list[Path]] = {"train": [], "test": []}
        for part, name in IMAGES.items():
            try:
                images[part] = image_paths(folder / name)
            except DataLayoutError as error:
                problems.append(str(error))
        texts = {}
        for part, paths in images.items():
            table = folder / TABLES[part]
            texts[part], found = self._texts(table, [path.name for path in paths], decoded=part == "train")
            problems += found if paths or not table.is_file() else []
            broken = check_images(paths, label=f"checking {IMAGES[part]}")
            problems += broken.values()
            problems += self._wrong_sizes([path for path in paths if path not in broken])
        refuse(folder, problems)
        empty = (texts["train"] == "").mean()
        return (
            f"{len(images['train'])} train and {len(images['test'])} test images of {spelled(self.image_size)} pixels, "
            f"{texts['train'].size} rows in train.csv, empty: "
            + ", ".join(f"{label} {rate:.0%}" for label, rate in empty.items())
        )

    def _texts(self, path: Path, ids: list[str], *, decoded: bool = False) -> tuple[pd.DataFrame, list[str]]:
        """Run-length text by image and class, images in the order of the table; and what is wrong with its rows.

        decoded: check the text itself, too, for masks of the size of the images.
        """
        try:
            table = read_table(path, self.submission.columns, refuse=DataLayoutError)[list(self.submission.columns)]
        except DataLayoutError as error:
            return pd.DataFrame(columns=CLASSES), [str(error)]
        if table.empty:
            return pd.DataFrame(columns=CLASSES), [f"{path}: only a header, no rows. Download it again."]
        table.columns = pd.Index(["key", "text"])
        table.index += 2  # line 1 is the header
        table[["id", "label"]] = table["key"].str.rpartition("_")[[0, 2]]
        labelled = table["label"].isin(CLASSES)
        problems = [
            f"{path}, line {line}: '{key}' does not end in one of _{', _'.join(CLASSES)}"
            for line, key in table.loc[~labelled, "key"].items()
        ]
        strangers = table[labelled & ~table["id"].isin(ids)].drop_duplicates("id")
        file_of = {name.casefold(): name for name in ids}
        renamed = {}
        for line, name in strangers["id"].items():
            if name.casefold() in file_of:
                renamed[file_of[name.casefold()]] = f"line {line}: '{name}'"
            else:
                problems.append(f"{path}, line {line}: no image '{name}' in the folder")
        if renamed:
            file, place = next(iter(renamed.items()))
            others = f", and {len(renamed) - 1} more" if len(renamed) > 1 else ""
            problems.append(
                f"{path}, {place}, the file is '{file}'{others}: only capitals differ. Rename the files as the table."
            )
        known = table[labelled & table["id"].isin(ids)]
        doubled, rows_of = known["key"].duplicated(), known["key"].value_counts()
        problems += [
            f"{path}, line {line}: row '{key}' is there {rows_of[key]} times; keep one"
            for line, key in known.loc[doubled, "key"].items()
        ]
        known = known[~doubled]
        texts = known.pivot(index="id", columns="label", values="text")
        texts = texts.reindex(index=[*known["id"].unique(), *sorted(set(ids) - set(known["id"]))], columns=CLASSES)
        absent = texts.isna()
        for name, missing in absent[absent.any(axis=1)].iterrows():
            if name not in renamed:
                labels = ", ".join(texts.columns[missing])
                problems.append(f"{path}: no row for image '{name}', class {labels}; an empty mask needs one too")
        if decoded:
            _, refused = parse_all(known["text"].tolist(), self.image_size, rows=known["key"].tolist())
            problems += [f"{path}, line {known.index[place]}: {message}" for place, message in refused.items()]
        return texts, problems

    def _wrong_sizes(self, paths: Sequence[Path]) -> list[str]:
        problems = []
        for path in paths:
            header = read_header(path)
            if header.size != self.image_size:
                turned = " (an EXIF tag turns it; write it unturned)" if header.turned else ""
                expected = spelled(self.image_size)
                problems.append(f"{path}: {spelled(header.size)} pixels (h x w), expected {expected}{turned}")
        return problems
