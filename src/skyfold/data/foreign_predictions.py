"""Read predictions that another framework wrote: arrays, folders of images, tables of masks or of probabilities.

Forecasts are numbers of any type, in the competition's unit. A probability is, by its type: bool a mask; uint8 255 x,
uint16 65,535 x the probability; floating point the probability itself. A map has the axes (H, W, K), or (K, H, W) as
PyTorch writes them; (H, W) where there is one class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from skyfold.competition import Competition
from skyfold.data.array_files import read_array, read_arrays
from skyfold.data.folder import file_id, files_in
from skyfold.data.images import ARRAY_SUFFIX, NUMBER_SUFFIXES, TIFF_SUFFIXES, read_numbers
from skyfold.data.mask_planes import read_plane
from skyfold.errors import DataLayoutError, InvalidSubmission, Problems, listing, shortened
from skyfold.metrics.forecast import ForecastUnit
from skyfold.progress import note
from skyfold.store.rows import Shape
from skyfold.tables import read_rows
from skyfold.types import ArraySequence, LazyArrays

IMAGES = (".png", *TIFF_SUFFIXES, ARRAY_SUFFIX)
ROUNDING = 1e-6  # by which a probability may leave 0..1
TABLES = (".csv", ".gz")
IDS = "ids"  # array of an .npz that holds the ids of the rows of the other


def read_maps(
    path: Path, ids: np.ndarray, competition: Competition, listed: Sequence[str] | None = None
) -> ArraySequence:
    """Probability maps of `ids` (n,) in their order, (H, W, K) each: uint8, 255 x the probability, or float32, 0 to 1.

    path: `.npy` (n, H, W[, K]); `.npz` with an array of each id, or with `ids` and one array; a folder of `<id>.png`,
    `.tif` or `.npy`, or `<id>_<class>` of each class; a submission table of the competition, whose masks count as 0 and
    1. listed: ids of the rows of a `.npy`, None: those of `ids`. H and W may be any.

    DataLayoutError names the file, and ids without a map; a map that is not as the module says is refused when it is
    read.
    """
    classes = competition.classes
    if path.is_dir():
        find = _of_folder(path, ids, classes)
    elif path.suffix in TABLES:
        try:
            find = competition.read_pred(path, ids)
        except InvalidSubmission as error:
            raise DataLayoutError(str(error)) from None
    else:
        find = _of_arrays(path, ids, listed, ".npy, .npz, .csv, or a folder of images")

    def make(index: int) -> np.ndarray:
        return as_probability_map(find[index], len(classes), f"{path}, '{ids[index]}'")

    return LazyArrays(len(ids), make)


def read_labels(
    path: Path, ids: np.ndarray, classes: Sequence[str], listed: Sequence[str] | None = None
) -> ArraySequence:
    """Probabilities of the classes of `ids` (n,) in their order, (K,) each: uint8 or float32, as `read_maps`.

    path: a table with the columns id and the names of the classes, 0 to 1; arrays as `read_maps`, `.npy` (n, K).
    DataLayoutError names the file and its line, and ids without a row; what is no probability is refused when it is
    read.
    """
    if path.suffix in TABLES:
        return _of_table(path, ids, classes)
    find = _of_arrays(path, ids, listed, ".npy, .npz or .csv")

    def make(index: int) -> np.ndarray:
        values, what = np.atleast_1d(find[index]), f"{path}, '{ids[index]}'"
        if values.shape != (len(classes),):
            raise DataLayoutError(
                f"{what}: expected ({len(classes)},), got {values.shape}. Write a probability of each of the "
                f"{len(classes)} classes."
            )
        return as_probability(values, what)

    return LazyArrays(len(ids), make)


def read_forecasts(
    path: Path, ids: np.ndarray, shape: Shape, unit: ForecastUnit, listed: Sequence[str] | None = None
) -> ArraySequence:
    """Forecasts of `ids` (n,) in their order, float32 (H, W, L) each, which is `shape`, in the `unit`.

    path: arrays as `read_maps`, `.npy` (n, H, W, L) or (n, L, H, W). DataLayoutError names the file, and ids without a
    forecast; one of another shape, or that is not in the unit, is refused when it is read.
    """
    find = _of_arrays(path, ids, listed, ".npy or .npz")

    def make(index: int) -> np.ndarray:
        values, what = find[index], f"{path}, '{ids[index]}'"
        if values.shape != shape and values.shape == (shape[-1], *shape[:-1]):
            values = np.moveaxis(values, 0, -1)
        if values.shape != shape or values.dtype.kind not in "uif":
            raise DataLayoutError(
                f"{what}: {values.dtype} {values.shape}, expected numbers {shape}. Write every lead time on the grid."
            )
        if problem := unit.problem(values, np.ones(shape, dtype=bool)):
            raise DataLayoutError(f"{what}, in {unit.name}: {problem}.")
        if unit.is_fraction(values):
            raise DataLayoutError(f"{what}: nowhere above 1, expected {unit.name}. Multiply by {unit.greatest:g}.")
        return values.astype(np.float32)

    return LazyArrays(len(ids), make)


def as_probability_map(values: np.ndarray, classes: int, what: str) -> np.ndarray:
    """One map, see the module, as (H, W, K), uint8 or float32; DataLayoutError, which begins with `what`, else.

    >>> as_probability_map(np.array([[True, False]]), 1, "a").ravel().tolist()
    [255, 0]
    """
    shape = values.shape
    if values.ndim == 2 and classes == 1:
        values = values[..., np.newaxis]
    elif values.ndim == 3 and shape[0] == classes != shape[2]:
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or values.shape[2] != classes or not values.size:
        axes = "(H, W)" if classes == 1 else f"(H, W, {classes})"
        raise DataLayoutError(f"{what}: expected {axes}, got {shape}. Write a map of each of the {classes} classes.")
    return as_probability(values, what)


def as_probability(values: np.ndarray, what: str) -> np.ndarray:
    """`values` of any shape, see the module, as uint8 or float32; DataLayoutError, which begins with `what`, else."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return values / np.float32(65535)
    if values.dtype.kind != "f":
        raise DataLayoutError(f"{what}: {values.dtype} values. Write probabilities as float32, uint8 or uint16.")
    low, high = float(values.min()), float(values.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also where one of them is NaN
        raise DataLayoutError(
            f"{what}: values from {low:g} to {high:g}, expected probabilities from 0 to 1. Apply the sigmoid (or "
            "softmax) to logits, divide percentages by 100, and predict anew what is NaN."
        )
    return np.clip(values, 0, 1).astype(np.float32)


def read_ids(path: Path) -> list[str]:
    """The column `id` of a CSV file; DataLayoutError where it has none, or an id stands there twice."""
    header, rows = read_rows(path, ("id",), refuse=DataLayoutError)
    ids = [fields[header.index("id")] for _, fields in rows]
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise DataLayoutError(f"{path}: '{twice[0]}' stands in {ids.count(twice[0])} rows. Keep one.")
    return ids


def _of_table(path: Path, ids: np.ndarray, classes: Sequence[str]) -> ArraySequence:
    header, lines = read_rows(path, ("id", *classes), refuse=DataLayoutError)
    if unread := [name for name in header if name not in ("id", *classes)]:
        note(f"{path}: not read: column {shortened(unread)}.")
    place, line_of, known = header.index("id"), dict[str, int](), set(ids.tolist())
    unknown = [f"line {line}: '{fields[place]}'" for line, fields in lines if fields[place] not in known]
    if unknown:
        raise DataLayoutError(f"{path}: ids that the data do not have\n{listing(unknown)}")
    values = {}
    for line, fields in lines:
        what = f"{path}, line {line} ('{fields[place]}')"
        if (first := line_of.setdefault(fields[place], line)) != line:
            raise DataLayoutError(f"{what}: the id stands in line {first}, too. Keep one.")
        texts = [fields[header.index(name)] for name in classes]
        try:
            values[fields[place]] = as_probability(np.array(texts).astype(np.float64), what)
        except ValueError:
            raise DataLayoutError(f"{what}: {', '.join(texts)}: expected numbers from 0 to 1.") from None
    _require(path, ids, values)
    return LazyArrays(len(ids), lambda i: values[str(ids[i])])


def _of_arrays(path: Path, ids: np.ndarray, listed: Sequence[str] | None, expected: str) -> ArraySequence:
    """Arrays of `ids` in an `.npy` or `.npz` file. expected: what else `path` might have been."""
    if not path.exists():
        raise DataLayoutError(f"{path}: no such file or folder. Name the predictions.")
    if path.suffix == ".npz":
        return _of_archive(path, ids)
    if path.suffix != ARRAY_SUFFIX:
        raise DataLayoutError(f"{path}: expected {expected}.")
    return _of_array(path, read_array(path, mmap_mode="r"), ids, ids.tolist() if listed is None else listed)


def _of_array(path: Path, array: np.ndarray, ids: np.ndarray, listed: Sequence[str]) -> ArraySequence:
    if array.shape[:1] != (len(listed),):
        raise DataLayoutError(
            f"{path}: {array.shape}, expected {len(listed)} rows. Name their ids in a CSV file, column id: --ids FILE."
        )
    place = {name: row for row, name in enumerate(listed)}
    _require(path, ids, place)
    return LazyArrays(len(ids), lambda i: np.asarray(array[place[str(ids[i])]]))


def _of_archive(path: Path, ids: np.ndarray) -> ArraySequence:
    try:
        with ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (BadZipFile, OSError) as error:
        raise DataLayoutError(f"{path}: not an .npz file ({error}). Write it again.") from None
    if len(names) == 2 and IDS in names:
        [values] = {*names} - {IDS}
        listed, array = read_arrays(path, [IDS, values])
        return _of_array(path, array, ids, [str(name) for name in listed.tolist()])
    _require(path, ids, set(names))
    return LazyArrays(len(ids), lambda i: read_arrays(path, [str(ids[i])])[0])


def _of_folder(path: Path, ids: np.ndarray, classes: Sequence[str]) -> ArraySequence:
    problems = Problems()
    files = {file_id(file): file for file in files_in(path, IMAGES, problems, expected="predictions")}
    problems.refuse(path)
    if len(classes) > 1 and f"{ids[0]}_{classes[0]}" in files:
        _require(path, [f"{name}_{label}" for name in ids for label in classes], files)
        return LazyArrays(
            len(ids), lambda i: np.stack([_plane(files[f"{ids[i]}_{label}"]) for label in classes], axis=-1)
        )
    _require(path, ids, files)
    return LazyArrays(len(ids), lambda i: _plane(files[str(ids[i])]))


def _plane(path: Path) -> np.ndarray:
    return read_numbers(path) if path.suffix.lower() in NUMBER_SUFFIXES else read_plane(path, colours=False)


def _require(path: Path, ids: Sequence[str] | np.ndarray, there: object) -> None:
    """DataLayoutError with the ids that are not in `there`."""
    missing = [f"nothing of '{name}'" for name in ids if str(name) not in there]  # type: ignore[operator]
    if missing:
        raise DataLayoutError(f"{path}: {len(missing)} of {len(ids)} predictions are missing\n{listing(missing)}")
