"""Read NumPy files of numbers, and refuse those that are damaged or would need pickle."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.files import require_file
from skyfold.memory import too_large

# What numpy.load raises for a file that is cut off, damaged, of another kind, or pickled.
LOAD_ERRORS = (
    *(ValueError, TypeError, EOFError, OSError, OverflowError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
KINDS = "biufUSmM"  # of numbers, text and times
LARGEST_CHARACTER, LARGEST_BYTE = 0x10FFFF, 0x7F  # of text, and of text in bytes


def read_array(path: Path, *, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Load the array of a `.npy` file, or map it into memory with mmap_mode="r".

    DataLayoutError names a file that is missing, cut off, an archive, or holds Python objects: those are stored as
    pickle, which could run any code when it is loaded.
    """
    require_file(path, "a .npy file")
    try:
        # Mapped even where it is read as a whole: a header that claims more than the file holds is refused unread.
        array = np.load(path, allow_pickle=False, mmap_mode="r")
        if isinstance(array, np.ndarray) and array.dtype.kind not in KINDS:
            raise ValueError(f"of type {array.dtype}")
        if isinstance(array, np.ndarray) and mmap_mode is None:
            _refuse_too_large(str(path), array.nbytes)
            array = np.array(array)
    except LOAD_ERRORS as error:
        raise DataLayoutError(
            f"{path}: not a complete .npy file of numbers ({error}). Download it again; Python objects are not loaded."
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataLayoutError(f"{path}: an archive of arrays, expected a single array. Download it again.")
    return array


def read_arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Load the arrays `names` of an `.npz` file. DataLayoutError as `read_array`, or where an array is missing."""
    require_file(path, "an .npz file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [_member(path, arrays, name) for name in names]
    except (KeyError, *LOAD_ERRORS) as error:
        raise DataLayoutError(
            f"{path}: expected an .npz file with the arrays {' and '.join(names)}, of numbers ({error}). Download it "
            "again; Python objects are not loaded."
        ) from None


def _member(path: Path, arrays: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """One array of an archive; ValueError where its header claims more than the archive holds, before it is read."""
    file = f"{name}.npy"
    assert arrays.zip is not None
    with arrays.zip.open(file) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} is of version {version} of the .npy format")
        of_version = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = of_version(member)
        there = arrays.zip.getinfo(file).file_size - member.tell()
    if dtype.kind not in KINDS:
        raise ValueError(f"{name} is of type {dtype}, neither numbers nor text")
    if (claimed := math.prod(shape) * dtype.itemsize) != there:
        raise ValueError(f"{name} should have {claimed} bytes, the archive holds {there}")
    _refuse_too_large(f"{path}, {file}", claimed)
    array: np.ndarray = arrays[name]
    largest = {"U": LARGEST_CHARACTER, "S": LARGEST_BYTE}.get(dtype.kind)
    if largest is not None and array.size:
        characters = array.view(f"{dtype.byteorder}u4" if dtype.kind == "U" else np.uint8)
        if characters.max() > largest:
            raise ValueError(f"{name} holds what is no text")
    return array


def _refuse_too_large(place: str, size: int) -> None:
    if shortage := too_large(size):
        raise DataLayoutError(f"{place}: {shortage}. Free memory, or cut the array into several files.")
