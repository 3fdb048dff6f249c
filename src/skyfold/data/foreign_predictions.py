"""Read probability maps that another framework wrote: arrays, folders of images, tables of masks.

A value means, by its type: bool a mask; uint8 255 x, uint16 65,535 x the probability; floating point the probability
itself. A map has the axes (H, W, K), or (K, H, W) as PyTorch writes them; (H, W) where there is one class.
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
from skyfold.errors import DataLayoutError, InvalidSubmission, Problems, listing
from skyfold.tables import read_rows
from skyfold.types import ArraySequence, LazyArrays

IMAGES = (".png", *TIFF_SUFFIXES, ARRAY_SUFFIX)
ROUNDING = 1e-6  # by which a probability may leave 0..1
IDS = "ids"  # array of an .npz that holds the ids of the rows of the other


def read_predictions(
    path: Path, ids: np.ndarray, competition: Competition, listed: Sequence[str] | None = None
) -> ArraySequence:
    """Probability maps of `ids` (n,) in their order, (H, W, K) each: uint8, 255 x the probability, or float32, 0 to 1.

    path: `.npy` (n, H, W[, K]); `.npz` with an array of each id, or with `ids` and one array; a folder of `<id>.png`,
    `.tif` or `.npy`, or `<id>_<class>` of each class; a submission table of the competition, whose masks count as 0 and
    1. listed: ids of the rows of a `.npy`, None: those of `ids`. H and W may be any.

    DataLayoutError names the file, and ids without a map; a map that is not as the module says is refused when it is
    read.
    """
    if not path.exists():
        raise DataLayoutError(f"{path}: no such file or folder. Name the predictions.")
    classes = competition.classes
    if path.is_dir():
        find = _of_folder(path, ids, classes)
    elif path.suffix == ".npy":
        find = _of_array(path, read_array(path, mmap_mode="r"), ids, ids.tolist() if listed is None else listed)
    elif path.suffix == ".npz":
        find = _of_archive(path, ids)
    elif path.suffix in (".csv", ".gz"):
        try:
            find = competition.read_pred(path, ids)
        except InvalidSubmission as error:
            raise DataLayoutError(str(error)) from None
    else:
        raise DataLayoutError(f"{path}: expected .npy, .npz, .csv, or a folder of images.")

    def make(index: int) -> np.ndarray:
        return as_probability(find[index], len(classes), f"{path}, '{ids[index]}'")

    return LazyArrays(len(ids), make)


def as_probability(values: np.ndarray, classes: int, what: str) -> np.ndarray:
    """One map, see the module, as (H, W, K), uint8 or float32; DataLayoutError, which begins with `what`, else.

    >>> as_probability(np.array([[True, False]]), 1, "a").ravel().tolist()
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


def _of_array(path: Path, array: np.ndarray, ids: np.ndarray, listed: Sequence[str]) -> ArraySequence:
    if array.ndim not in (3, 4):
        raise DataLayoutError(f"{path}: expected (n, H, W) or (n, H, W, K), got {array.shape}.")
    if len(array) != len(listed):
        raise DataLayoutError(
            f"{path}: {len(array)} maps, expected {len(listed)}. Name their ids in a CSV file, column id: --ids FILE."
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
    missing = [f"no map of '{name}'" for name in ids if str(name) not in there]  # type: ignore[operator]
    if missing:
        raise DataLayoutError(f"{path}: {len(missing)} of {len(ids)} maps are missing\n{listing(missing)}")
