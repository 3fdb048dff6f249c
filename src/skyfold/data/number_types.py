"""Number types that images are kept in, and lossless conversion of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.errors import DataLayoutError

KEPT = ("uint8", "uint16", "int16", "float32")
WIDER = {"bool": "uint8", "int8": "int16", "float16": "float32"}  # hold every value
IF_EXACT = ("uint32", "int32", "uint64", "int64", "float64")  # to float32, where it holds each value of the file
LARGEST_WHOLE = 1 << 24  # up to which float32 holds every whole number
MOST_BANDS = 16


def kept_type(path: Path, stored: np.dtype) -> np.dtype:
    """Number type that a file of type `stored` is read as; DataLayoutError where there is none: complex, text.

    >>> kept_type(Path("a.npy"), np.dtype(">i2"))
    dtype('int16')
    """
    name = stored.name
    if name in KEPT:
        return np.dtype(name)
    if name in WIDER or name in IF_EXACT:
        return np.dtype(WIDER.get(name, "float32"))
    raise DataLayoutError(f"{path}: values of type {name}. Write {', '.join(KEPT[:-1])} or {KEPT[-1]}.")


def as_kept(path: Path, stored: np.ndarray) -> np.ndarray:
    """`stored`, of any number type, as `kept_type`; DataLayoutError where that would change a value."""
    kept = kept_type(path, stored.dtype)
    if stored.dtype.name in IF_EXACT:
        with np.errstate(over="ignore"):
            image = stored.astype(kept)
        if stored.dtype.kind == "f":
            same = np.array_equal(image, stored, equal_nan=True)
        else:
            same = not stored.size or (stored.min() >= -LARGEST_WHOLE and stored.max() <= LARGEST_WHOLE)
        if not same:
            raise DataLayoutError(
                f"{path}: {stored.dtype.name} values from {np.nanmin(stored):g} to {np.nanmax(stored):g} that float32 "
                "does not hold exactly. Write the file as float32 if rounding does no harm, or with fewer digits."
            )
        return image
    return stored.astype(kept, copy=False)
