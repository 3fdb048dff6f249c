"""The codes of mask files: grey values or colours of each pixel, never rotated."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from skyfold.data.decode import (
    PNG_COLOUR_TYPE,
    PNG_DEPTH,
    PNG_PALETTE,
    PNG_WITH_ALPHA,
    decode_alpha,
    decode_colours,
    decode_stored,
)
from skyfold.data.decode import opened as opened_by_pillow
from skyfold.data.images import NUMBER_SUFFIXES, TIFF_SUFFIXES, read_numbers, require_opaque
from skyfold.data.whole_files import PNG_SIGNATURE, read_whole
from skyfold.errors import DataLayoutError

LARGEST = 65_535


def read_plane(path: Path, *, colours: bool) -> np.ndarray:
    """The codes of a mask file, never rotated: uint8 RGB (H, W, 3) with `colours`, else uint8 or uint16 (H, W).

    Without `colours` a code is a grey value, 0 to 65535, or, in a PNG or BMP with a palette, the place in it;
    DataLayoutError where the bands of a file differ from each other, or pixels are transparent. TIFF and `.npy` may
    hold their codes in any type of number.
    """
    if path.suffix.lower() in NUMBER_SUFFIXES:
        return _of_numbers(path, colours=colours)
    data = read_whole(path)
    alpha = decode_alpha(path, data)
    if alpha is not None and not (data.startswith(PNG_SIGNATURE) and data[PNG_COLOUR_TYPE] not in PNG_WITH_ALPHA):
        require_opaque(path, alpha)  # the one transparent colour of other PNG files is a code like the others
    if colours and data.startswith(PNG_SIGNATURE) and data[PNG_DEPTH] > 8:
        raise DataLayoutError(f"{path}: colours of {data[PNG_DEPTH]} bits, expected '#rrggbb', 8 each. Write them so.")
    if colours:
        return decode_colours(path, data, turn=False)
    with opened_by_pillow(path, io.BytesIO(data)) as file:
        if file.mode == "P" and (not data.startswith(PNG_SIGNATURE) or data[PNG_COLOUR_TYPE] == PNG_PALETTE):
            return np.array(file)
    return _single_plane(path, decode_stored(path, data))


def _of_numbers(path: Path, *, colours: bool) -> np.ndarray:
    """Codes of a TIFF or `.npy` file, of whole numbers in any type."""
    stored, tiff = read_numbers(path), path.suffix.lower() in TIFF_SUFFIXES
    bands = stored.shape[2] if stored.ndim == 3 else 1
    if stored.dtype.kind not in "buif" or stored.ndim not in (2, 3) or not stored.size or not (tiff or bands in (1, 3)):
        raise DataLayoutError(f"{path}: {stored.dtype} {stored.shape}, expected whole numbers (H, W).")
    most = 255 if colours else LARGEST
    with np.errstate(invalid="ignore"):
        codes = stored.astype(np.uint8 if stored.min() >= 0 and stored.max() <= 255 else np.uint16)
    if not np.array_equal(codes, stored) or codes.max() > most:
        raise DataLayoutError(
            f"{path}: {stored.dtype} values from {stored.min():g} to {stored.max():g}, expected 0 to {most}. Write the "
            f"mask with bytes{'' if colours else ', or 16 bits without sign'}."
        )
    if tiff and bands in (2, 4):
        require_opaque(path, codes[..., -1])
    if not colours:
        return _single_plane(path, codes)
    return np.ascontiguousarray(np.dstack([codes] * 3) if bands == 1 else codes[..., :3])


def _single_plane(path: Path, image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    if image.shape[2] >= 3 and (image[..., :1] != image[..., 1:3]).any():
        raise DataLayoutError(f"{path}: the mask is in colour. Give its values as '#rrggbb'.")
    return np.ascontiguousarray(image[..., 0])
