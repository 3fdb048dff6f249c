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

from skyfold.competition import Competition, Truth
from skyfold.data import cloud_sample
from skyfold.data.images import ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import RleMasks
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import MeanDice
from skyfold.submission import rle
from skyfold.submission.formats import RleTable, read_table
from skyfold.types import ArraySequence, IntPair, Samples

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
GRID = (350, 525)  # of the contest itself, whose images are 1400 x 2100
GRID_STEP = 4  # sides of an image over those of the grid
KEY, RUNS = "Image_Label", "EncodedPixels"
IMAGES = {"train": "train_images", "test": "test_images"}


def build(folder: Path | None = None, *, grid: Sequence[int] | None = None) -> Competition:
    """grid: (H, W) of predictions; without it a quarter of the first training image, or the contest's own 350 x 525."""
    if grid is not None and (len(grid) != 2 or min(grid) < 1):
        raise ConfigError(f"grid: expected two positive numbers, rows and columns, got {list(grid)}.")
    size = (int(grid[0]), int(grid[1])) if grid is not None else _grid_of(folder)
    submission = RleTable(CLASSES, size, key_column=KEY, rle_column=RUNS)
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


def _grid_of(folder: Path | None) -> IntPair:
    if folder is None or not (folder / IMAGES["train"]).is_dir():
        return GRID
    first = image_paths(folder / IMAGES["train"])[0]
    height, width = read_header(first).size
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
        raise DataLayoutError(f"{folder}: {len(problems)} problems with the {part} files\n{listing(problems)}")
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
        texts[part], found = _texts(table, ids)
        problems += found if part in paths or not table.is_file() else []
    if "train" in paths:
        problems += _wrong_runs(folder / "train.csv", texts["train"], paths["train"], _image_size(grid))
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
    table = submission.read(path)
    if problems := submission.problems(table, None):
        raise InvalidSubmission(f"{path}: not a truth table on the submission's grid\n{listing(problems)}")
    ids = submission.ids(table)
    return Truth(ids=ids, targets=submission.decode(table, ids))


def _read_pred(submission: RleTable, path: Path, ids: np.ndarray) -> ArraySequence:
    table = submission.read(path)
    if problems := submission.problems(table, None):
        raise InvalidSubmission(f"{path}: not a submission of this contest\n{listing(problems)}")
    return submission.decode(table, ids)


def _sample_table(folder: Path) -> Path | None:
    path = folder / "sample_submission.csv"
    return path if path.is_file() else None


def _in_order_of(table: Path, paths: list[Path]) -> list[Path]:
    """Images that the table does not name come last."""
    place: dict[str, int] = {}
    for key in read_table(table, (KEY, RUNS))[KEY]:
        place.setdefault(key.rpartition("_")[0], len(place))
    return sorted(paths, key=lambda path: place.get(path.name, len(place)))


def _image_size(grid: IntPair) -> IntPair:
    return grid[0] * GRID_STEP, grid[1] * GRID_STEP


def _texts(path: Path, ids: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Run-length text of each image and class, object (n, 4), '' where empty; and all that is wrong with the rows."""
    texts = np.full((len(ids), len(CLASSES)), "", dtype=object)
    try:
        table = read_table(path, (KEY, RUNS))
    except InvalidSubmission as error:
        return texts, [str(error)]
    problems: list[str] = []
    place = {name: row for row, name in enumerate(ids.tolist())}
    rows_of = Counter(table[KEY])
    seen: set[tuple[str, str]] = set()
    strangers: dict[str, int] = {}
    for line, (key, text) in enumerate(zip(table[KEY], table[RUNS], strict=True), start=2):
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
    problems += [f"{path}, line {line}: no image '{name}' in the folder" for name, line in strangers.items()]
    for name in ids.tolist():
        missing = [kind for kind in CLASSES if (name, kind) not in seen]
        if missing:
            problems.append(
                f"{path}: no row for image '{name}', class {', '.join(missing)}; an empty mask needs one too"
            )
    return texts, problems


def _wrong_runs(table: Path, texts: np.ndarray, paths: list[Path], size: IntPair) -> list[str]:
    problems = []
    for path, row in zip(paths, texts, strict=True):
        for kind, text in zip(CLASSES, row, strict=True):
            try:
                rle.parse(text, size[0] * size[1], row=f"{path.name}_{kind}")
            except InvalidSubmission as error:
                problems.append(f"{table}: {error}")
    return problems


def _wrong_sizes(paths: Sequence[Path], grid: IntPair) -> list[str]:
    height, width = _image_size(grid)
    problems = []
    for path in paths:
        size = read_header(path).size
        if size != (height, width):
            problems.append(f"{path}: {size[0]}x{size[1]} pixels (h x w), expected {height}x{width}")
    return problems
