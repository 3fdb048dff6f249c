"""Reading of JPEG 2000 files, and of what a codestream tells of itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.files import read_bytes
from skyfold.memory import too_large
from skyfold.types import IntPair

START = b"\xff\x4f\xff\x51"  # markers: start of a codestream, size
END = b"\xff\xd9"
PALETTE = b"pclr"
SIGNED = 0x80
SHORTEST_TILE = 14  # bytes: markers of its start and of its data
LARGEST_RATIO = 50_000  # bytes that one byte of a file can stand for at most
SMALL = 1 << 28  # bytes of an image that fits into any memory


@dataclass(frozen=True)
class Codestream:
    """size: (H, W); bands; dtype: uint8, uint16 or int16; alike: whether all bands are of one kind and size; tiles:
    number of them."""

    size: IntPair
    bands: int
    dtype: np.dtype
    alike: bool
    tiles: int

    def fits_into(self, length: int) -> bool:
        """Whether so many tiles can stand in so many bytes, and so many pixels be told by them."""
        pixels = self.size[0] * self.size[1] * self.bands * self.dtype.itemsize
        return self.tiles * SHORTEST_TILE <= length and pixels <= length * LARGEST_RATIO


def read_jpeg_2000(path: Path) -> tuple[np.ndarray, Codestream]:
    """The image as stored, (H, W, bands), and its header.

    DataLayoutError names a file that is missing, no JPEG 2000, cut short, too large for the memory there is, or whose
    bands differ in size or depth.
    """
    data = read_bytes(path, "a JPEG 2000 file")
    header = _header(path, data)
    if not data.rstrip(b"\0").endswith(END):
        raise DataLayoutError(f"{path}: the JPEG 2000 file is cut short ({len(data)} bytes). Download it again.")
    claimed = header.size[0] * header.size[1] * header.bands * header.dtype.itemsize
    if claimed > SMALL and (shortage := too_large(4 * claimed)):  # the decoder holds 32 bits a value, and a copy
        raise DataLayoutError(f"{path}: {shortage}. Free memory, or cut it into smaller images.")
    try:
        image = np.asarray(imagecodecs.jpeg2k_decode(data))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise DataLayoutError(f"{path}: cannot be decoded ({error}). Download it again.") from None
    image = image.reshape(*image.shape[:2], -1)
    if (image.shape, image.dtype) != ((*header.size, header.bands), header.dtype):
        raise DataLayoutError(f"{path}: decoded as {image.dtype} {image.shape}, not as its header says. Convert it.")
    return image, header


def read_jpeg_2000_header(path: Path) -> Codestream:
    """The header of a JPEG 2000 file; DataLayoutError where it is none, or one that is not read."""
    return _header(path, read_bytes(path, "a JPEG 2000 file"))


def codestream(data: bytes) -> Codestream | None:
    """Header of the first codestream in `data`; None where there is none, struct.error where it is cut short."""
    start = data.find(START)
    if start < 0:
        return None
    right, bottom, left, top, wide, high, first, upper, bands = struct.unpack_from(">IIIIIIIIH", data, start + 8)
    kinds = {struct.unpack_from(">BBB", data, start + 42 + 3 * band) for band in range(bands)}
    depth, across, down = min(kinds, default=(0, 0, 0))
    signed, bits = bool(depth & SIGNED), (depth & ~SIGNED) + 1
    dtype = np.dtype(np.int16 if signed else np.uint8 if bits <= 8 else np.uint16)
    alike = len(kinds) == 1 and (across, down) == (1, 1) and bits <= 16
    tiles = -((first - right) // max(wide, 1)) * -((upper - bottom) // max(high, 1))
    return Codestream((bottom - top, right - left), bands, dtype, alike, tiles)


def _header(path: Path, data: bytes) -> Codestream:
    try:
        header = codestream(data)
    except struct.error:
        header = None
    if header is None or min(header.size) < 1 or not header.fits_into(len(data)):
        raise DataLayoutError(f"{path}: not a whole JPEG 2000 file. Download it again.")
    if not header.alike or PALETTE in data[: data.find(START)]:
        raise DataLayoutError(
            f"{path}: JPEG 2000 with a palette, more than 16 bits, or bands that differ in size or depth. Convert it."
        )
    return header
