"""How a window of a scene is read while the rest of the scene stays on disk.

A TIFF is read by the strips or tiles it is made of, an `.npy` file is mapped. PNG and JPEG cannot be entered in the
middle: they are decoded once, into an `.npy` file in a cache. So are TIFFs that cannot be read by segments.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import tifffile

from skyfold.data.array_files import read_array
from skyfold.data.definedness import filled
from skyfold.data.images import SUFFIXES, TIFF_SUFFIXES, files_stamp, read_image
from skyfold.data.masks import ClassTable
from skyfold.data.number_types import KEPT
from skyfold.data.tiff import (
    COMPRESSIONS,
    GREY,
    PREDICTORS,
    RGB,
    damage_named,
    first_page,
    read_tiff,
    refuse_other_kinds,
    refuse_pages,
)
from skyfold.errors import DataLayoutError
from skyfold.files import digest, write_atomic
from skyfold.store.rows import release_pages
from skyfold.types import IntPair

LARGEST_SEGMENT = 32 << 20  # bytes of a decoded strip or tile; beyond it a window would cost as much as the scene


class Windows(Protocol):
    """A scene that is read by windows; may be read from several threads at once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels, one of `data.number_types.KEPT`."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, C), an array of its own; ValueError where the window leaves the scene."""
        ...


def open_windows(path: Path, *, cache: Path, bands: int = 3) -> Windows:
    """The scene at `path`, of any height and width, in the type of its file.

    bands 3: RGB; grey is repeated and a fourth band left out. Any other number must be that of the file. cache:
    folder for what must be decoded as a whole, one file a scene; it may be deleted at any time. DataLayoutError
    names a file that is missing, broken or of another kind.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataLayoutError(f"{path}: no such file.")
    if suffix == ".npy":
        return ArrayWindows(read_array(path, mmap_mode="r"), bands, path)
    if suffix in TIFF_SUFFIXES:
        own = _open_tiff(path, bands)
        return own or _decoded(path, cache, f"scene {bands}", lambda: _decode_tiff(path, bands))
    if suffix in SUFFIXES:
        return _decoded(path, cache, f"scene {bands}", lambda: read_image(path, bands=bands))
    raise DataLayoutError(f"{path}: expected {', '.join(SUFFIXES)}. Convert it.")


def open_labels(path: Path, table: ClassTable, *, cache: Path) -> Windows:
    """A label image as the places of its pixels' classes, C = 1: as `ClassTable.read`, decoded once into `cache`."""
    return _decoded(path, cache, f"labels {table!r}", lambda: table.read(path)[..., np.newaxis])


@dataclass(frozen=True)
class ArrayWindows:
    """An array (H, W) or (H, W, C), in memory or mapped, as a scene of `bands` bands; `path` for messages."""

    array: np.ndarray
    bands: int
    path: Path | None = None

    def __post_init__(self) -> None:
        name = self.path or "scene"
        if self.array.dtype.name not in KEPT or self.array.ndim not in (2, 3):
            raise DataLayoutError(
                f"{name}: expected (H, W, C) of {', '.join(KEPT)}, got {self.array.dtype} {self.array.shape}. "
                "Convert it."
            )
        _refuse_other_bands(name, 1 if self.array.ndim == 2 else self.array.shape[2], self.bands)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape[0], self.array.shape[1], self.bands

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype.newbyteorder("=")

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        _refuse_outside(self.shape, top, left, height, width)
        part = self.array[top : top + height, left : left + width]
        part = part if part.ndim == 3 else part[..., np.newaxis]
        window = _with_bands(np.array(part, dtype=self.dtype), self.bands)
        release_pages(self.array)
        return window


@dataclass(frozen=True)
class TiffWindows:
    """A TIFF whose strips or tiles are decoded one by one.

    segment: (rows, columns) of a strip or tile; planar: each band has segments of its own; extents (n, 2): where the
    bytes of each segment lie and how many there are, none for a segment that was left out (all 0).
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    found_bands: int
    segment: IntPair
    planar: bool
    extents: np.ndarray
    decode: Callable[..., Any]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        _refuse_outside(self.shape, top, left, height, width)
        window = np.zeros((height, width, self.found_bands), dtype=self.dtype)
        down, across = (-(-side // step) for side, step in zip(self.shape[:2], self.segment, strict=True))
        planes: list[Any] = [*range(self.found_bands)] if self.planar else [slice(None)]
        with open(self.path, "rb") as file:
            for row in range(top // self.segment[0], (top + height - 1) // self.segment[0] + 1):
                for column in range(left // self.segment[1], (left + width - 1) // self.segment[1] + 1):
                    for number, plane in enumerate(planes):
                        index = (number * down + row) * across + column
                        segment = self._decoded(file, index)
                        if segment is not None:
                            self._paste(window[..., plane], segment, row, column, top, left)
        return _with_bands(window, self.shape[2])

    def _decoded(self, file: BinaryIO, index: int) -> np.ndarray | None:
        """Strip or tile `index`, (rows, columns, bands); None where the file leaves it out, which means zeros."""
        offset, count = self.extents[index]
        if not count:
            return None
        file.seek(offset)
        with damage_named(self.path, f"segment {index}"):
            return np.asarray(self.decode(file.read(count), index)[0])[0]

    def _paste(self, window: np.ndarray, segment: np.ndarray, row: int, column: int, top: int, left: int) -> None:
        """Copy what `segment` (rows, columns, bands) and `window` have in common."""
        y, x = row * self.segment[0] - top, column * self.segment[1] - left
        bottom, right = min(y + segment.shape[0], window.shape[0]), min(x + segment.shape[1], window.shape[1])
        part = segment[max(0, -y) : bottom - y, max(0, -x) : right - x]
        window[max(0, y) : bottom, max(0, x) : right] = part if window.ndim == 3 else part[..., 0]


def _open_tiff(path: Path, bands: int) -> Windows | None:
    """None where the file must be decoded as a whole: other compressions or colours, or segments that are too large."""
    with open(path, "rb") as start:
        refuse_other_kinds(path, start.read(4))
    with damage_named(path), tifffile.TiffFile(path) as file:
        page = first_page(path, file)
        refuse_pages(path, file)
        by_segments = page.compression in COMPRESSIONS and page.predictor in PREDICTORS
        if page.photometric not in (GREY, RGB) or not by_segments:
            return None
        planes, depth, height, width, samples = page.shaped
        dtype = np.dtype(page.dtype)
        if dtype.name not in KEPT or depth != 1 or page.bitspersample != 8 * dtype.itemsize:
            raise DataLayoutError(f"{path}: {page.dtype} of {page.bitspersample} bits. Write it as {', '.join(KEPT)}.")
        _refuse_other_bands(path, planes * samples, bands)
        strip = (min(page.rowsperstrip, height), width)
        segment = (page.tilelength, page.tilewidth) if page.is_tiled else strip
        extents = np.array([page.dataoffsets, page.databytecounts], dtype=np.int64).T
        needed = planes * -(-height // segment[0]) * -(-width // segment[1])
        if len(extents) < needed or (extents.sum(axis=1) > path.stat().st_size).any():
            raise DataLayoutError(f"{path}: the TIFF is cut short. Get the file again.")
        if page.is_memmappable and planes == 1:
            stored, offset = dtype.newbyteorder(file.byteorder), int(extents[0, 0])
            array = np.memmap(path, stored, mode="r", offset=offset, shape=(height, width, samples))
            return ArrayWindows(array, bands, path)
        if segment[0] * segment[1] * samples * dtype.itemsize > LARGEST_SEGMENT:
            return None
        shape, found = (height, width, bands), planes * samples
        return TiffWindows(path, shape, dtype, found, segment, planes > 1, extents, page.decode)


def _decode_tiff(path: Path, bands: int) -> np.ndarray:
    image = read_tiff(path)
    if image.dtype.name not in KEPT:
        raise DataLayoutError(f"{path}: {image.dtype}. Write it as {', '.join(KEPT)}.")
    image = image.reshape(*image.shape[:2], -1)
    _refuse_other_bands(path, image.shape[2], bands)
    return image


def kept_array(path: Path, cache: Path, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` gives of the file at `path`, mapped; kept in a folder of its own in `cache` till the file changes."""
    folder = cache / f"{path.stem}-{digest(str(path.resolve()), what)}"
    kept = folder / f"{files_stamp([path])}.npy"
    if kept.is_file():
        with suppress(DataLayoutError):  # damaged: made again
            return read_array(kept, mmap_mode="r")
    array = make()
    for outdated in folder.glob("[!.]*.npy"):  # a name with a dot in front is being written elsewhere
        outdated.unlink()
    write_atomic(kept, lambda beside: np.save(beside, array, allow_pickle=False))
    return read_array(kept, mmap_mode="r")


def _decoded(path: Path, cache: Path, what: str, decode: Callable[[], np.ndarray]) -> ArrayWindows:
    array = kept_array(path, cache, what, decode)
    return ArrayWindows(array, array.shape[2], path)


@dataclass(frozen=True)
class FilledWindows:
    """`scene`, filled (see `data.definedness.filled`) with `value` where `defined` (C = 1) is 0."""

    scene: Windows
    defined: Windows
    value: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.scene.shape

    @property
    def dtype(self) -> np.dtype:
        return self.scene.dtype

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = top, left, height, width
        return filled(self.scene.read(*window), self.defined.read(*window)[..., 0] > 0, self.value)


def _with_bands(window: np.ndarray, bands: int) -> np.ndarray:
    if bands == 3 and window.shape[2] == 1:
        return np.repeat(window, 3, axis=2)
    return np.ascontiguousarray(window[..., :bands])


def _refuse_other_bands(path: Path | str, found: int, bands: int) -> None:
    if found != bands and not (bands == 3 and found in (1, 4)):
        raise DataLayoutError(f"{path}: expected {bands} bands, the file has {found}.")


def _refuse_outside(shape: tuple[int, int, int], top: int, left: int, height: int, width: int) -> None:
    if min(top, left) < 0 or min(height, width) < 1 or top + height > shape[0] or left + width > shape[1]:
        raise ValueError(f"window ({top}, {left}) + ({height}, {width}) leaves the scene {shape[:2]}")
