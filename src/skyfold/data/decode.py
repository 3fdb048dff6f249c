"""Decoding of JPEG, PNG, WebP and BMP files: colours, bands as stored, transparency."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from skyfold.data.whole_files import PNG_SIGNATURE, is_bmp, is_webp
from skyfold.errors import DataLayoutError
from skyfold.memory import too_large

PNG_DEPTH, PNG_COLOUR_TYPE = 24, 25  # places of bytes
PNG_GREY, PNG_COLOURS, PNG_PALETTE, PNG_WITH_ALPHA = 0, 2, 3, (4, 6)
# What Pillow raises for a file that is cut off, damaged, of another kind, or claims to be larger than memory.
PILLOW_ERRORS = (UnidentifiedImageError, OSError, OverflowError, MemoryError, SyntaxError, ValueError)
MOST_PIXELS = 1 << 30  # that OpenCV decodes
SMALL = 1 << 26  # pixels of an image that fits into any memory
BYTES_A_PIXEL = 8  # while an image is decoded: four bands, twice

Image.MAX_IMAGE_PIXELS = None  # only headers are read with it, and scenes are larger than its bound
# OpenCV would name no file; the errors below do. Version 4 sets the level in cv2 itself; 0 is silent.
(cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2).setLogLevel(0)


def decode_colours(path: Path, data: bytes, *, turn: bool = True, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """uint8 RGB (H, W, 3) of the bytes of a file: grey is repeated, palettes are looked up, alpha is left out.

    turn: as an EXIF tag says; flag: of OpenCV, for an image reduced in size. DataLayoutError where `data` cannot be
    decoded, or the image would not fit into memory.
    """
    if is_bmp(data):
        with opened(path, io.BytesIO(data)) as file:
            return np.array(file.convert("RGB"))
    return np.ascontiguousarray(_decode(path, data, flag if turn else flag | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1])


def decode_stored(path: Path, data: bytes) -> np.ndarray:
    """Bands as stored, never turned: (H, W), or (H, W, bands) with red first; uint8, or uint16 of a deep PNG.

    Palettes are looked up; grey with alpha has two bands. DataLayoutError as `decode_colours`.
    """
    if is_bmp(data):
        with opened(path, io.BytesIO(data)) as file:
            return np.array(
                file if file.mode in ("L", "RGB", "RGBA") else file.convert("L" if file.mode == "1" else "RGB")
            )
    image = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image
    if data.startswith(PNG_SIGNATURE) and data[PNG_COLOUR_TYPE] in (PNG_GREY, PNG_WITH_ALPHA[0]):
        return np.ascontiguousarray(image[..., [0, -1]])  # OpenCV repeats the grey band
    return np.ascontiguousarray(image[..., [2, 1, 0, 3][: image.shape[2]]])


def decode_alpha(path: Path, data: bytes) -> np.ndarray | None:
    """The alpha band of a PNG, WebP or BMP, never turned: (H, W), its greatest value where a pixel is opaque.

    None where the file has none.
    """
    if is_bmp(data) or is_webp(data):
        stored = decode_stored(path, data)
        return stored[..., 3] if stored.ndim == 3 and stored.shape[2] == 4 else None
    if not data.startswith(PNG_SIGNATURE) or (data[PNG_COLOUR_TYPE] not in PNG_WITH_ALPHA and b"tRNS" not in data):
        return None
    stored, depth = decode_stored(path, data), data[PNG_DEPTH]
    if stored.ndim == 3 and stored.shape[2] in (2, 4):
        return stored[..., -1]
    if data[PNG_COLOUR_TYPE] not in (PNG_GREY, PNG_COLOURS):
        return None
    # OpenCV leaves out the one transparent grey value or colour.
    place, bands = data.index(b"tRNS") + len(b"tRNS"), 1 if stored.ndim == 2 else 3
    clear = np.frombuffer(data[place : place + 2 * bands].ljust(2 * bands, b"\0"), ">u2").astype(np.int64)
    clear = clear * 255 // ((1 << depth) - 1) if depth < 8 else clear
    opaque = (stored.reshape(*stored.shape[:2], bands) != clear).any(axis=-1)
    return np.where(opaque, np.iinfo(stored.dtype).max, 0).astype(stored.dtype)


@contextmanager
def opened(path: Path, source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """The image as Pillow opens it; DataLayoutError for what Pillow raises, here and in the `with` block."""
    try:
        with Image.open(source) as file:
            yield file
    except PILLOW_ERRORS as error:
        raise DataLayoutError(f"{path}: not an image that can be read ({error}). Download it again.") from None


def _decode(path: Path, data: bytes, flag: int) -> np.ndarray:
    """The image in OpenCV's order of bands, BGR."""
    with opened(path, io.BytesIO(data)) as file:
        width, height = file.size
    if height * width > SMALL and (shortage := too_large(height * width * BYTES_A_PIXEL)):
        raise DataLayoutError(
            f"{path}: {height}x{width} pixels; {shortage}. Free memory, or cut it into smaller images."
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        if height * width > MOST_PIXELS:
            raise DataLayoutError(
                f"{path}: {height}x{width} pixels, more than {MOST_PIXELS:,} in all. Cut it into smaller images."
            ) from None
        raise DataLayoutError(f"{path}: cannot be decoded ({error.err}). Download it again.") from None
    if image is None:
        raise DataLayoutError(f"{path}: cannot be decoded. Download it again.")
    return np.asarray(image)
