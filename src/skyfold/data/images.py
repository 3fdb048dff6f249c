"""Reading of JPEG and PNG files, and detection of damaged ones.

OpenCV decodes; it may fill the missing part of a truncated file with grey, silently. So the bytes of every file are
checked first: a JPEG must reach its end marker, each chunk of a PNG must match its checksum.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from skyfold.data.folder import file_id, files_in
from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError, Problems
from skyfold.files import digest, read_bytes, require_file
from skyfold.memory import too_large
from skyfold.types import IntPair

SUFFIXES = (".jpg", ".jpeg", ".png")
TIFF_SUFFIXES = (".tif", ".tiff")
REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
SPARE = 2  # averaging twice blurs visibly unless the second step reduces at least this much

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPE, PNG_GREY, PNG_PALETTE, PNG_WITH_ALPHA = 25, 0, 3, (4, 6)
PNG_HEADER_CHUNK = 25  # bytes, with length, name and checksum
# What Pillow raises for a file that is cut off, damaged, of another kind, or claims to be larger than memory.
PILLOW_ERRORS = (UnidentifiedImageError, OSError, OverflowError, MemoryError, SyntaxError, ValueError)
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
JPEG_SCAN = 0xDA
EXIF_ORIENTATION = 0x0112
UPRIGHT, TURNED_BY_A_QUARTER = 1, (5, 6, 7, 8)
MOST_PIXELS = 1 << 30  # that OpenCV decodes
SMALL = 1 << 26  # pixels of an image that fits into any memory
BYTES_A_PIXEL = 8  # while an image is decoded: four bands, twice

Image.MAX_IMAGE_PIXELS = None  # only headers are read with it, and scenes are larger than its bound


@dataclass(frozen=True)
class Header:
    """Header of an image file. size: (H, W) as decoded; orientation: of its EXIF tag, 1 where it is not turned."""

    size: IntPair
    orientation: int

    @property
    def turned(self) -> bool:
        """Whether the EXIF tag turns or mirrors the image when it is read."""
        return self.orientation != UPRIGHT


@runtime_checkable
class Resizable(Protocol):
    """Images in files that can be decoded at a reduced size."""

    @property
    def paths(self) -> Sequence[Path]:
        """One file a sample, whose bytes are equal where the samples are."""
        ...

    def __len__(self) -> int: ...

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """uint8 (H, W, bands) of `size` (H, W)."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Image files as an ArraySequence: `files[i]` decodes one to uint8 (H, W, bands).

    bands 3: RGB; grey is repeated, palettes are looked up, an alpha band is dropped where it is opaque throughout, and
    refused elsewhere: what lies beneath a transparent pixel is no measurement. bands 1: grey, colours are refused.
    bands 4: RGBA, any other number of bands is refused. EXIF rotation is applied. JPEG and 8-bit PNG only.
    DataLayoutError names a file that is damaged or of another kind.
    """

    paths: Sequence[Path]
    bands: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self.paths[index], bands=self.bands)

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """The image reduced to `size` (H, W) by area averaging, or enlarged bilinearly; uint8 (H, W, bands).

        Where the size allows, the JPEG decoder itself averages blocks of 2, 4 or 8 pixels first, several times faster
        than decoding all of them; values differ from plain area averaging by rounding.
        """
        path = self.paths[index]
        if self.bands == 3 and path.suffix.lower() != ".png":
            wanted = read_header(path).size
            for step, flag in REDUCED.items():
                if all(h % step == 0 and h // step >= SPARE * s for h, s in zip(wanted, size, strict=True)):
                    return resize(_decode(path, read_whole(path), flag)[..., ::-1], size)
        return resize(self[index], size)

    def sources(self, index: int) -> tuple[Path, str]:
        """The file, and how many bands are read of it."""
        return self.paths[index], f"{self.bands} bands"

    def fingerprint(self) -> str:
        """Changes when a file is replaced, added or renamed; see `files_stamp`."""
        return files_stamp(self.paths)


def read_image(path: Path, bands: int = 3) -> np.ndarray:
    """Read one file as uint8 (H, W, bands); `ImageFiles` documents the bands and the errors."""
    data = read_whole(path)
    if bands == 3:
        _refuse_transparent(path, data)
        return np.ascontiguousarray(_decode(path, data, cv2.IMREAD_COLOR)[..., ::-1])
    image = _decode(path, data, cv2.IMREAD_UNCHANGED)
    found = 1 if image.ndim == 2 else image.shape[2]
    if found != bands:
        raise DataLayoutError(f"{path}: expected {bands} bands, the file has {found}.")
    if read_header(path).turned:
        raise DataLayoutError(f"{path}: EXIF rotation is applied to images of three bands only. Write it unrotated.")
    return image[..., np.newaxis] if bands == 1 else np.ascontiguousarray(image[..., [2, 1, 0, 3]])


def read_plane(path: Path, *, colours: bool) -> np.ndarray:
    """The codes of a mask file, never rotated: uint8 RGB (H, W, 3) with `colours`, else (H, W).

    Without `colours` a code is a grey value or, in a PNG with a palette, the place in it; DataLayoutError where the
    bands of a file differ from each other. A TIFF may hold its codes in any type of number.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _tiff_plane(path, colours=colours)
    data = read_whole(path)
    if data.startswith(PNG_SIGNATURE) and data[PNG_COLOUR_TYPE] in PNG_WITH_ALPHA:
        _refuse_transparent(path, data)
    if colours:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return np.ascontiguousarray(_decode(path, data, flags)[..., ::-1])
    if data.startswith(PNG_SIGNATURE) and data[PNG_COLOUR_TYPE] == PNG_PALETTE:
        with _opened(path, io.BytesIO(data)) as file:
            return np.array(file)
    return _single_plane(path, _decode(path, data, cv2.IMREAD_UNCHANGED))


def _tiff_plane(path: Path, *, colours: bool) -> np.ndarray:
    stored = read_tiff(path)
    with np.errstate(invalid="ignore"):
        codes = stored.astype(np.uint8)
    if not np.array_equal(codes, stored):
        raise DataLayoutError(
            f"{path}: {stored.dtype} values from {stored.min():g} to {stored.max():g}, expected 0 to 255. "
            "Write the mask with bytes."
        )
    if codes.ndim == 3 and codes.shape[2] in (2, 4):
        _require_opaque(path, codes[..., -1])
    if not colours:
        return _single_plane(path, codes)
    return np.ascontiguousarray(np.dstack([codes] * 3) if codes.ndim == 2 else codes[..., :3])


def _refuse_transparent(path: Path, data: bytes) -> None:
    """DataLayoutError where a PNG has transparent pixels."""
    if not data.startswith(PNG_SIGNATURE) or (data[PNG_COLOUR_TYPE] not in PNG_WITH_ALPHA and b"tRNS" not in data):
        return
    image = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3 and image.shape[2] == 4:
        _require_opaque(path, image[..., 3])
    elif data[PNG_COLOUR_TYPE] == PNG_GREY:  # of which OpenCV does not give the transparent value
        place = data.index(b"tRNS") + len(b"tRNS")
        _require_opaque(path, np.where(image == int.from_bytes(data[place : place + 2], "big"), 0, 255))


def _require_opaque(path: Path, alpha: np.ndarray) -> None:
    transparent = np.count_nonzero(alpha != 255)
    if transparent:
        raise DataLayoutError(
            f"{path}: {transparent / alpha.size:.1%} of the pixels are transparent; what is stored beneath was never "
            "seen. Write the file without transparency, all that counts in its grey values or colours.",
            kind="files with transparent pixels",
        )


def _single_plane(path: Path, image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    if (image[..., :1] != image[..., 1:3]).any():
        raise DataLayoutError(f"{path}: the mask is in colour. Give its values as '#rrggbb'.")
    return np.ascontiguousarray(image[..., 0])


def read_header(path: Path) -> Header:
    """Size and rotation, without decoding; DataLayoutError where the file is no image."""
    require_file(path, "an image")
    with _opened(path, path) as file:
        width, height = file.size
        exif = Image.Image.getexif(file)  # not file.getexif: that of a PNG decodes the whole file
        orientation = exif.get(EXIF_ORIENTATION, UPRIGHT)
    if orientation not in range(UPRIGHT, 9):  # one that decoders leave alone
        orientation = UPRIGHT
    size = (width, height) if orientation in TURNED_BY_A_QUARTER else (height, width)
    return Header(size=size, orientation=orientation)


@contextmanager
def _opened(path: Path, source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """The image as Pillow opens it; DataLayoutError for what Pillow raises, here and in the `with` block."""
    try:
        with Image.open(source) as file:
            yield file
    except PILLOW_ERRORS as error:
        raise DataLayoutError(f"{path}: not an image that can be read ({error}). Download it again.") from None


def resize(image: np.ndarray, size: IntPair) -> np.ndarray:
    """(H, W, C) to `size`: area averages where both sides shrink or stay, else bilinear."""
    height, width = size
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    return np.asarray(resized).reshape(height, width, *image.shape[2:])


def image_paths(folder: Path, problems: Problems | None = None) -> list[Path]:
    """The JPEG and PNG files of `folder` by name, which no two share but for the suffix: an id is a name without it.

    DataLayoutError where there is no folder, no image, one id twice, or a name that cannot be used; with `problems`
    these are added there instead.
    """
    found = Problems() if problems is None else problems
    paths = files_in(folder, SUFFIXES, found)
    first_of: dict[str, Path] = {}
    for path in paths:
        if (first := first_of.setdefault(file_id(path), path)) != path:
            found.add("files of one id", f"{path}: {path.name} beside {first.name}, two files of one id. Keep one.")
    if problems is None:
        found.refuse(folder)
    return list(first_of.values())


def files_stamp(paths: Sequence[Path]) -> str:
    """A digest of names, sizes in bytes, inodes and times of change, of which a program can set only the first."""
    stats = [(path, path.stat()) for path in paths]
    lines = [f"{path.name}\t{s.st_size}\t{s.st_mtime_ns}\t{s.st_ctime_ns}\t{s.st_ino}" for path, s in stats]
    return digest("\n".join(lines))


def read_whole(path: Path) -> bytes:
    """The bytes of a JPEG or PNG file; DataLayoutError where it is neither, cut short, or a PNG that is damaged."""
    data = read_bytes(path, "an image")
    if data.startswith(JPEG_SIGNATURE):
        _refuse_cut_jpeg(path, data)
    elif data.startswith(PNG_SIGNATURE):
        _refuse_damaged_png(path, data)
    else:
        raise DataLayoutError(f"{path}: neither JPEG nor PNG. Convert it, or download it again.")
    return data


def _refuse_cut_jpeg(path: Path, data: bytes) -> None:
    """The end marker must follow the first scan: one before it belongs to a thumbnail; within a scan none can occur."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != JPEG_SCAN:
        if data[position + 1] == 0xFF:  # a marker may have any number of these before it
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data.find(JPEG_END, position) < 0:
        raise DataLayoutError(f"{path}: the JPEG is cut short ({len(data)} bytes, no end marker). Download it again.")


def _refuse_damaged_png(path: Path, data: bytes) -> None:
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            name = kind.decode("latin-1")
            raise DataLayoutError(f"{path}: the PNG is damaged (checksum of chunk {name}). Download it again.")
        if kind == b"IHDR" and end - position != PNG_HEADER_CHUNK:
            raise DataLayoutError(f"{path}: the PNG is damaged (a header of another length). Download it again.")
        if kind == b"IHDR" and data[position + 16] > 8:
            raise DataLayoutError(f"{path}: a PNG of {data[position + 16]} bits a band. Write it with 8 bits.")
        if kind == b"IEND":
            return
        position = end
    raise DataLayoutError(f"{path}: the PNG is cut short ({len(data)} bytes, no end chunk). Download it again.")


def _decode(path: Path, data: bytes, flag: int) -> np.ndarray:
    """The image in OpenCV's order of bands, BGR; DataLayoutError where `data`, its bytes, cannot be decoded, or where
    the image would not fit into memory."""
    height, width = read_header(path).size
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
