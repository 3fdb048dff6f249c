"""Reading of JPEG and PNG files, and detection of damaged ones.

OpenCV decodes; it may fill the missing part of a truncated file with grey, silently. So the bytes of every file are
checked first: a JPEG must reach its end marker, each chunk of a PNG must match its checksum.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from skyfold.data.tiff import read_bytes, read_tiff
from skyfold.errors import DataLayoutError, listing
from skyfold.files import digest
from skyfold.progress import map_in_threads
from skyfold.types import IntPair

SUFFIXES = (".jpg", ".jpeg", ".png")
TIFF_SUFFIXES = (".tif", ".tiff")
REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
SPARE = 2  # averaging twice blurs visibly unless the second step reduces at least this much

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPE, PNG_PALETTE = 25, 3
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
JPEG_SCAN = 0xDA
GREY_FILL = 128  # what the JPEG decoder puts where data is damaged
EXIF_ORIENTATION = 0x0112
TURNED_BY_A_QUARTER = (5, 6, 7, 8)


@dataclass(frozen=True)
class Header:
    """Header of an image file. size: (H, W) as decoded; turned: its EXIF tag swaps height and width."""

    size: IntPair
    turned: bool


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

    bands 3: RGB; grey is repeated, palettes are looked up, an alpha band is dropped. bands 1: grey, colours are
    refused. bands 4: RGBA, any other number of bands is refused. EXIF rotation is applied. JPEG and 8-bit PNG only.
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
                    return resize(_decode(path, flag)[..., ::-1], size)
        return resize(self[index], size)

    def sources(self, index: int) -> tuple[Path, str]:
        """The file, and how many bands are read of it."""
        return self.paths[index], f"{self.bands} bands"

    def fingerprint(self) -> str:
        """Changes when a file is replaced, added or renamed; see `files_stamp`."""
        return files_stamp(self.paths)


def read_image(path: Path, bands: int = 3) -> np.ndarray:
    """Read one file as uint8 (H, W, bands); `ImageFiles` documents the bands and the errors."""
    if bands == 3:
        return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1])
    image = _decode(path, cv2.IMREAD_UNCHANGED)
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
    if colours:
        return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1])
    data = _read_bytes(path)
    if data.startswith(PNG_SIGNATURE) and data[PNG_COLOUR_TYPE] == PNG_PALETTE:
        return np.array(Image.open(io.BytesIO(data)))
    return _single_plane(path, _decode(path, cv2.IMREAD_UNCHANGED))


def _tiff_plane(path: Path, *, colours: bool) -> np.ndarray:
    stored = read_tiff(path)
    with np.errstate(invalid="ignore"):
        codes = stored.astype(np.uint8)
    if not np.array_equal(codes, stored):
        raise DataLayoutError(
            f"{path}: {stored.dtype} values from {stored.min():g} to {stored.max():g}, expected 0 to 255. "
            "Write the mask with bytes."
        )
    if not colours:
        return _single_plane(path, codes)
    return np.ascontiguousarray(np.dstack([codes] * 3) if codes.ndim == 2 else codes[..., :3])


def _single_plane(path: Path, image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    if (image[..., :1] != image[..., 1:3]).any():
        raise DataLayoutError(f"{path}: the mask is in colour. Give its values as '#rrggbb'.")
    return np.ascontiguousarray(image[..., 0])


def read_header(path: Path) -> Header:
    """Size and rotation, without decoding; DataLayoutError where the file is no image."""
    try:
        with Image.open(path) as file:
            width, height = file.size
            exif = Image.Image.getexif(file)  # not file.getexif: that of a PNG decodes the whole file
            turned = exif.get(EXIF_ORIENTATION) in TURNED_BY_A_QUARTER
    except FileNotFoundError:
        raise DataLayoutError(f"{path}: no such file.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataLayoutError(f"{path}: not an image that can be read ({error}). Download it again.") from None
    return Header(size=(width, height) if turned else (height, width), turned=turned)


def resize(image: np.ndarray, size: IntPair) -> np.ndarray:
    """(H, W, C) to `size`: area averages where both sides shrink or stay, else bilinear."""
    height, width = size
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    return np.asarray(resized).reshape(height, width, *image.shape[2:])


def check_images(paths: Sequence[Path], label: str = "checking images") -> dict[Path, str]:
    """Read every file; a message for each that is broken or of a kind that is not read, in the order of `paths`.

    Finds more than reading does: a JPEG that is damaged inside, so that the decoder fills the rest with grey.
    """

    def problem(path: Path) -> str:
        try:
            image = read_image(path)
        except DataLayoutError as error:
            return str(error)
        if (image[-1] == GREY_FILL).all() and "Corrupt JPEG" in _decoder_warnings(path):
            return f"{path}: the JPEG is damaged; its end is grey. Download it again."
        return ""

    messages = zip(paths, map_in_threads(label, problem, paths, "images"), strict=True)
    return {path: message for path, message in messages if message}


def _decoder_warnings(path: Path) -> str:
    """Warnings of the decoder for a file; it prints them on the standard error stream only, hence the subprocess."""
    command = [sys.executable, "-c", "import cv2, sys; cv2.imread(sys.argv[1])", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def image_paths(folder: Path) -> list[Path]:
    """The JPEG and PNG files of `folder` by name; DataLayoutError where there is no folder, no image, or one id twice.

    The id of a file is its stem, so that `a.jpg` beside `a.png` is one id twice.
    """
    if not folder.is_dir():
        raise DataLayoutError(f"{folder}: no such folder. Images are expected in it.")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise DataLayoutError(f"{folder}: no image in this folder ({', '.join(SUFFIXES)}).")
    first_of: dict[str, Path] = {}
    doubled = [f"{p.name} beside {first_of[p.stem].name}" for p in paths if first_of.setdefault(p.stem, p) != p]
    if doubled:
        raise DataLayoutError(f"{folder}: two files of one id; keep one of each pair.\n{listing(doubled)}")
    return paths


def files_stamp(paths: Sequence[Path]) -> str:
    """A digest of names, sizes in bytes, inodes and times of change, of which a program can set only the first."""
    stats = [(path, path.stat()) for path in paths]
    lines = [f"{path.name}\t{s.st_size}\t{s.st_mtime_ns}\t{s.st_ctime_ns}\t{s.st_ino}" for path, s in stats]
    return digest("\n".join(lines))


def _read_bytes(path: Path) -> bytes:
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
        if kind == b"IHDR" and data[position + 16] > 8:
            raise DataLayoutError(f"{path}: a PNG of {data[position + 16]} bits a band. Write it with 8 bits.")
        if kind == b"IEND":
            return
        position = end
    raise DataLayoutError(f"{path}: the PNG is cut short ({len(data)} bytes, no end chunk). Download it again.")


def _decode(path: Path, flag: int) -> np.ndarray:
    """The image in OpenCV's order of bands, BGR; DataLayoutError as `_read_bytes`, or where it cannot be decoded."""
    data = _read_bytes(path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise DataLayoutError(f"{path}: cannot be decoded ({error.err}). Download it again.") from None
    if image is None:
        raise DataLayoutError(f"{path}: cannot be decoded. Download it again.")
    return np.asarray(image)
