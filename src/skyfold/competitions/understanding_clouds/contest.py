"""Kaggle "Understanding Clouds from Satellite Images" (2019): where Fish, Flower, Gravel and Sugar stand in a scene.

The folder holds `train_images/*.jpg`, `test_images/*.jpg`, `train.csv` and `sample_submission.csv`. Both tables have
the columns Image_Label (`0011165.jpg_Fish`) and EncodedPixels, one row for each image and class, an empty field for an
empty mask. Runs are counted in the image in train.csv, and on a grid of a quarter of its sides in a submission. A
truth file to score against is a table on that grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.understanding_clouds import sample as cloud_sample
from skyfold.config.fields import Size
from skyfold.data.images import ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import RleMasks
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import MeanDice
from skyfold.rle.codec import parse
from skyfold.submission.formats import RleTable, read_table
from skyfold.types import ArraySequence, IntPair, Samples

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
GRID = (350, 525)  # of the contest itself, whose images are 1400 x 2100
GRID_STEP = 4  # sides of an image over those of the grid
KEY, RLE = "Image_Label", "EncodedPixels"
IMAGES = {"train": "train_images", "test": "test_images"}


class UnderstandingClouds(Contest):
    """grid: (H, W) of predictions; without it a quarter of the first training image, or the contest's own 350 x 525."""

    grid: Size | None = None

    def build(self, folder: Path | None) -> Competition:
        size = self.grid or _grid_of(folder)
        submission = RleTable(CLASSES, size, key_column=KEY, rle_column=RLE)
        return Competition(
            name="understanding_clouds",
            task="segmentation",
            classes=CLASSES,
            grid=size,
            unit="probability",
            metric=MeanDice(),
            submission=submission,
            load=partial(_load, size),
            check=partial(_check, size),
            read_truth=partial(_read_truth, submission),
            read_pred=partial(_read_pred, submission),
            sample_table=_sample_table,
            write_sample=cloud_sample.write_sample,
        )


PLUGIN = UnderstandingClouds


def _grid_of(folder: Path | None) -> IntPair:
    if folder is None or not (folder / IMAGES["train"]).is_dir():
        return GRID
    first = image_paths(folder / IMAGES["train"])[0]
    header = read_header(first)
    height, width = header.size
    if header.turned:  # its size would be asked of all the others
        raise DataLayoutError(f"{first}: an EXIF tag turns this image to {height}x{width} pixels; write it unturned.")
    if height % GRID_STEP or width % GRID_STEP:
        raise DataLayoutError(f"{first}: {height} x {width} pixels cannot be divided by {GRID_STEP}.")
    return height // GRID_STEP, width // GRID_STEP


def _load(grid: IntPair, folder: Path, part: str) -> Samples:
    """Cheap checks alone: files against rows, and the size of the first image.

    Test images come in the order of the sample submission, which is the order of rows that the contest wants.
    """
    if part not in IMAGES:
        raise ConfigError(f"part '{part}': there are train and test.")
    paths = image_paths(folder / IMAGES[part])
    sample = _sample_table(folder) if part == "test" else None
    if sample is not None:
        paths = _in_order_of(sample, paths)
    problems = _wrong_sizes(paths[:1], grid)
    ids = np.array([path.name for path in paths])
    targets = None
    if part == "train":
        texts, found = _texts(folder / "train.csv", ids)
        problems += found
        rows = np.char.add(np.char.add(ids[:, np.newaxis], "_"), np.array(CLASSES))
        targets = RleMasks(texts, rows=rows, drawn_at=_image_size(grid), grid=grid)
    elif sample is not None:
        _, found = _texts(sample, ids)
        problems += found
    if problems:
        raise DataLayoutError(f"{folder}: the {part} files do not fit together\n{listing(problems)}")
    return Samples(ids=ids, inputs=ImageFiles(paths), targets=targets)


def _check(grid: IntPair, folder: Path) -> str:
    problems: list[str] = []
    paths: dict[str, list[Path]] = {}
    for part, name in IMAGES.items():
        try:
            paths[part] = image_paths(folder / name)
        except DataLayoutError as error:
            problems.append(str(error))
    texts: dict[str, np.ndarray] = {}
    for part, table in (("train", folder / "train.csv"), ("test", folder / "sample_submission.csv")):
        ids = np.array([path.name for path in paths.get(part, [])], dtype=str)
        texts[part], found = _texts(table, ids, drawn_at=_image_size(grid) if part == "train" else None)
        problems += found if part in paths or not table.is_file() else []
    for part, files in paths.items():
        broken = check_images(files, label=f"checking {IMAGES[part]}")
        problems += broken.values()
        problems += _wrong_sizes([path for path in files if path not in broken], grid)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise DataLayoutError(
            f"{folder}: {count} with the files of understanding_clouds\n{listing(problems, limit=20)}"
        )
    empty = (texts["train"] == "").mean(axis=0)
    rates = ", ".join(f"{name} {rate:.0%}" for name, rate in zip(CLASSES, empty, strict=True))
    height, width = _image_size(grid)
    return (
        f"{len(paths['train'])} train and {len(paths['test'])} test images of {height}x{width} pixels, "
        f"{texts['train'].size} rows in train.csv, empty: {rates}"
    )


def _read_truth(submission: RleTable, path: Path) -> Truth:
    ids, targets = submission.read_masks(path)
    return Truth(ids=ids, targets=targets)


def _read_pred(submission: RleTable, path: Path, ids: np.ndarray) -> ArraySequence:
    return submission.read_masks(path, ids)[1]


def _sample_table(folder: Path) -> Path:
    """The contest gives one to all: where it is missing a submission would go unchecked, hence DataLayoutError."""
    path = folder / "sample_submission.csv"
    if not path.is_file():
        raise DataLayoutError(f"{path}: no such file. Download it: submissions are held against it.")
    return path


def _in_order_of(table: Path, paths: list[Path]) -> list[Path]:
    """Images that the table does not name come last."""
    place: dict[str, int] = {}
    try:
        keys = read_table(table, (KEY, RLE))[KEY]
    except InvalidSubmission as error:
        raise DataLayoutError(str(error)) from None
    for key in keys:
        place.setdefault(key.rpartition("_")[0], len(place))
    return sorted(paths, key=lambda path: place.get(path.name, len(place)))


def _image_size(grid: IntPair) -> IntPair:
    return grid[0] * GRID_STEP, grid[1] * GRID_STEP


def _texts(path: Path, ids: np.ndarray, drawn_at: IntPair | None = None) -> tuple[np.ndarray, list[str]]:
    """Run-length text of each image and class, object (n, 4), '' where empty; and all that is wrong with the rows.

    The text itself is looked at only where `drawn_at` says the (H, W) of its mask.
    """
    texts = np.full((len(ids), len(CLASSES)), "", dtype=object)
    try:
        table = read_table(path, (KEY, RLE))
    except InvalidSubmission as error:
        return texts, [str(error)]
    if not len(table):
        return texts, [f"{path}: it holds no rows, the header alone. Download it again."]
    problems: list[str] = []
    place = {name: row for row, name in enumerate(ids.tolist())}
    rows_of = Counter(table[KEY])
    seen: set[tuple[str, str]] = set()
    strangers: dict[str, int] = {}
    for line, (key, text) in enumerate(zip(table[KEY], table[RLE], strict=True), start=2):
        name, _, kind = key.rpartition("_")
        if kind not in CLASSES:
            problems.append(f"{path}, line {line}: '{key}' does not end in one of _{', _'.join(CLASSES)}")
        elif name not in place:
            strangers.setdefault(name, line)
        elif (name, kind) in seen:
            problems.append(f"{path}, line {line}: row '{key}' stands there {rows_of[key]} times; keep one")
        else:
            seen.add((name, kind))
            texts[place[name], CLASSES.index(kind)] = text
            problems += [] if drawn_at is None else _wrong_rle(f"{path}, line {line}", key, text, drawn_at)
    file_of = {name.casefold(): name for name in ids.tolist()}
    in_other_case = {name: file_of[name.casefold()] for name in strangers if name.casefold() in file_of}
    if in_other_case:
        name, file = next(iter(in_other_case.items()))
        others = f", and {len(in_other_case) - 1} more" if len(in_other_case) > 1 else ""
        problems.append(
            f"{path}, line {strangers[name]}: '{name}', the file is '{file}'{others}: capitals alone differ. Rename "
            "the files as in the table."
        )
    problems += [
        f"{path}, line {line}: no image '{name}' in the folder"
        for name, line in strangers.items()
        if name not in in_other_case
    ]
    for name in ids.tolist():
        missing = [kind for kind in CLASSES if (name, kind) not in seen]
        if missing and name not in in_other_case.values():
            problems.append(
                f"{path}: no row for image '{name}', class {', '.join(missing)}; an empty mask needs one too"
            )
    return texts, problems


def _wrong_rle(where: str, key: str, text: str, drawn_at: IntPair) -> list[str]:
    try:
        parse([text], drawn_at, rows=[key])
    except InvalidSubmission as error:
        return [f"{where}: {error}"]
    return []


def _wrong_sizes(paths: Sequence[Path], grid: IntPair) -> list[str]:
    height, width = _image_size(grid)
    problems = []
    for path in paths:
        header = read_header(path)
        if header.size != (height, width):
            found = f"{header.size[0]}x{header.size[1]} pixels (h x w)"
            turned = " (an EXIF tag turns it; write it unturned)" if header.turned else ""
            problems.append(f"{path}: {found}, expected {height}x{width}{turned}")
    return problems
