"""Read NumPy files of numbers, and refuse those that are damaged or would need pickle."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.files import require_file

# What numpy.load raises for a file that is cut off, damaged, of another kind, or pickled.
LOAD_ERRORS = (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)


def read_array(path: Path, *, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Load the array of a `.npy` file, or map it into memory with mmap_mode="r".

    DataLayoutError names a file that is missing, cut off, an archive, or holds Python objects: those are stored as
    pickle, which could run any code when it is loaded.
    """
    require_file(path, "a .npy file")
    try:
        array = np.load(path, allow_pickle=False, mmap_mode=mmap_mode)
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
            return [arrays[name] for name in names]
    except (KeyError, *LOAD_ERRORS) as error:
        raise DataLayoutError(
            f"{path}: expected an .npz file with the arrays {' and '.join(names)}, of numbers ({error}). Download it "
            "again; Python objects are not loaded."
        ) from None
