"""Images in files as arrays, in their own number type: JPEG, PNG, WebP, BMP, TIFF, JPEG 2000 and `.npy`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np
from PIL import Image

from skyfold.data.array_files import read_array
from skyfold.data.decode import PNG_COLOUR_TYPE, PNG_DEPTH, PNG_WITH_ALPHA, decode_alpha, decode_colours, decode_stored
from skyfold.data.decode import opened as opened_by_pillow
from skyfold.data.folder import file_id, files_in
from skyfold.data.jpeg_2000 import read_jpeg_2000, read_jpeg_2000_header
from skyfold.data.number_types import MOST_BANDS, as_kept, kept_type
from skyfold.data.tiff import read_tiff, read_tiff_and_header, read_tiff_header
from skyfold.data.whole_files import PNG_SIGNATURE, read_whole
from skyfold.errors import DataLayoutError, Problems
from skyfold.files import digest, require_file
from skyfold.types import ArraySequence, IntPair

JPEG_SUFFIXES = (".jpg", ".jpeg")
TIFF_SUFFIXES = (".tif", ".tiff")
ARRAY_SUFFIX = ".npy"
JPEG_2000_SUFFIXES = (".jp2", ".j2k")
NUMBER_SUFFIXES = (*TIFF_SUFFIXES, *JPEG_2000_SUFFIXES, ARRAY_SUFFIX)  # of files of numbers of any type
SUFFIXES = (*JPEG_SUFFIXES, ".png", ".webp", ".bmp", *NUMBER_SUFFIXES)
REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
SPARE = 2  # averaging twice blurs visibly unless the second step reduces at least this much
EXIF_ORIENTATION = 0x0112
UPRIGHT, TURNED_BY_A_QUARTER = 1, (5, 6, 7, 8)
GREY_MODES = ("1", "L", "LA")  # of Pillow
COLOURS = 3  # bands of red, green and blue

BYTES = np.dtype(np.uint8)
Nodata = float | Literal["alpha"] | None


@dataclass(frozen=True)
class Header:
    """Header of an image file. size: (H, W) as decoded; orientation: of its EXIF tag, 1 where it is not turned.

    dtype, bands: of what is read, an alpha band left out; grey: whether one band can be read instead of three; alpha:
    whether there is such a band; nodata: of the tag of a TIFF.
    """

    size: IntPair
    orientation: int = UPRIGHT
    dtype: np.dtype = BYTES
    bands: int = COLOURS
    alpha: bool = False
    nodata: float | None = None
    grey: bool = False

    @property
    def turned(self) -> bool:
        """Whether the EXIF tag turns or mirrors the image when it is read."""
        return self.orientation != UPRIGHT

    @property
    def stored_size(self) -> IntPair:
        """(H, W) of the pixels as stored, without the turn."""
        return self.size[::-1] if self.orientation in TURNED_BY_A_QUARTER else self.size

    @property
    def kind(self) -> str:
        """Bands and number type, in words."""
        return f"{self.bands} band{'s' * (self.bands > 1)} of {self.dtype}"


@runtime_checkable
class Resizable(Protocol):
    """Images in files that can be decoded at a reduced size."""

    @property
    def paths(self) -> Sequence[Path]:
        """One file a sample, whose bytes are equal where the samples are."""
        ...

    def __len__(self) -> int: ...

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """(H, W, bands) of `size` (H, W), of the number type of the images."""
        ...


@runtime_checkable
class Selectable(Protocol):
    """Images some of which can be left out."""

    def take(self, rows: Sequence[int]) -> ArraySequence:
        """Those of `rows` only, in this order."""
        ...


class MeasuredImages(ABC):
    """Images as an ArraySequence, some of whose pixels may be no measurement: these hold 0 in every band."""

    nodata: Nodata

    @abstractmethod
    def measured(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Image (H, W, bands), and where it is defined, bool (H, W); None: everywhere."""

    @abstractmethod
    def headers(self, index: int) -> Sequence[Header]:
        """Of the files of image `index`."""

    def __getitem__(self, index: int) -> np.ndarray:
        return self.measured(index)[0]

    def defined(self, index: int) -> np.ndarray | None:
        """bool (H, W), False where any band has no measurement; None where the headers tell that all have."""
        if all(self._all_defined(header) for header in self.headers(index)):
            return None
        image, defined = self.measured(index)
        return np.ones(image.shape[:2], bool) if defined is None else defined

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """The image reduced to `size` (H, W) by area averaging, or enlarged bilinearly."""
        return resize(self[index], size)

    def _all_defined(self, header: Header) -> bool:
        return self.nodata is None and header.nodata is None and header.dtype.kind != "f"


@dataclass(frozen=True)
class ImageFiles(MeasuredImages):
    """Image files as an ArraySequence: `files[i]` decodes one to (H, W, bands).

    uint8, uint16, int16 or float32, as the file; other types as `number_types.kept_type` says. Of 8-bit JPEG, PNG, WebP
    and BMP bands 3 is RGB: grey is repeated, palettes are looked up, an alpha band is left out. All else, and any other
    number of bands, must be that of the file.

    A pixel is not defined where a band has the value `nodata`, or that of the tag of a TIFF, or is not finite; and with
    nodata "alpha" where the alpha band is not opaque. Without it a file with transparent pixels is refused: what lies
    beneath them is no measurement. turn: as an EXIF tag says. DataLayoutError names a file that is damaged or of
    another kind.
    """

    paths: Sequence[Path]
    bands: int = COLOURS
    nodata: Nodata = None
    turn: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    def measured(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        return read_measured(self.paths[index], bands=self.bands, nodata=self.nodata, turn=self.turn)

    def headers(self, index: int) -> Sequence[Header]:
        return (read_header(self.paths[index]),)

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """The image reduced to `size` (H, W) by area averaging, or enlarged bilinearly.

        Where the size allows, the JPEG decoder itself averages blocks of 2, 4 or 8 pixels first, several times faster
        than decoding all of them; values differ from plain area averaging by rounding.
        """
        path = self.paths[index]
        if self.bands == COLOURS and path.suffix.lower() in JPEG_SUFFIXES:
            header = read_header(path)
            stored = header.size if self.turn else header.stored_size
            plain = header.dtype == np.uint8 and self._all_defined(header)
            for step, flag in REDUCED.items() if plain else ():
                if all(h % step == 0 and h // step >= SPARE * s for h, s in zip(stored, size, strict=True)):
                    return resize(decode_colours(path, read_whole(path), turn=self.turn, flag=flag), size)
        return super().resized(index, size)

    def take(self, rows: Sequence[int]) -> ImageFiles:
        """Those of `rows` only, in this order."""
        return replace(self, paths=[self.paths[row] for row in rows])

    def sources(self, index: int) -> tuple[Path, str]:
        """The file, and how it is read."""
        return self.paths[index], f"{self.bands} bands{self._reading}"

    def fingerprint(self) -> str:
        """Changes when a file is replaced, added or renamed, see `files_stamp`, or is read in another way."""
        stamp = files_stamp(self.paths)
        return digest(stamp, str(self.bands), self._reading) if self._reading or self.bands != COLOURS else stamp

    @property
    def _reading(self) -> str:
        """What differs from the default, for digests."""
        nodata = "" if self.nodata is None else f", nodata {self.nodata}"
        return nodata + ("" if self.turn else ", never turned")


@dataclass(frozen=True)
class BandFiles(MeasuredImages):
    """Images whose bands are files of one band each: `images[i]` is (H, W, bands), in the order of the files.

    files: of each sample, one a band; nodata: as `ImageFiles`. DataLayoutError names two files that differ in size or
    number type, and what is wrong with a single one.
    """

    files: Sequence[tuple[Path, ...]]
    nodata: float | None = None

    @property
    def paths(self) -> Sequence[Path]:
        """The file of the first band."""
        return [files[0] for files in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def measured(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        bands = [read_measured(path, bands=1, nodata=self.nodata) for path in self.files[index]]
        first = bands[0][0]
        for path, (band, _) in zip(self.files[index], bands, strict=True):
            if band.shape != first.shape or band.dtype != first.dtype:
                raise DataLayoutError(
                    f"{path}: {band.dtype} of {band.shape[0]}x{band.shape[1]} pixels, {self.files[index][0]} has "
                    f"{first.dtype} of {first.shape[0]}x{first.shape[1]}. Bring all bands to one size and type."
                )
        image = np.concatenate([band for band, _ in bands], axis=-1)
        parts = [defined for _, defined in bands if defined is not None]
        if not parts:
            return image, None
        defined = np.logical_and.reduce(parts)
        image[~defined] = 0
        return image, defined

    def headers(self, index: int) -> Sequence[Header]:
        return [read_header(path) for path in self.files[index]]

    def take(self, rows: Sequence[int]) -> BandFiles:
        """Those of `rows` only, in this order."""
        return replace(self, files=[self.files[row] for row in rows])

    def sources(self, index: int) -> tuple[Path | str, ...]:
        """The files, and how they are read."""
        return *self.files[index], f"nodata {self.nodata}"

    def fingerprint(self) -> str:
        """Changes when a file is replaced, added or renamed, see `files_stamp`, or is read in another way."""
        return digest(files_stamp([path for files in self.files for path in files]), f"nodata {self.nodata}")


def read_image(path: Path, bands: int = COLOURS) -> np.ndarray:
    """Read one file as (H, W, bands); `ImageFiles` documents the bands, the types and the errors."""
    return read_measured(path, bands=bands)[0]


def read_measured(
    path: Path, *, bands: int = COLOURS, nodata: Nodata = None, turn: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read one file as (H, W, bands), and where it is defined, bool (H, W), as `ImageFiles`; None: everywhere."""
    suffix, of_tag = path.suffix.lower(), None
    alpha: np.ndarray | None = None
    if suffix == ARRAY_SUFFIX:
        image = as_kept(path, _array(path)[...])
    elif suffix in JPEG_2000_SUFFIXES:
        image = read_jpeg_2000(path)[0]
    elif suffix in TIFF_SUFFIXES:
        image, alpha, of_tag = _read_tiff(path, bands)
    else:
        image, alpha = _read_picture(path, bands, turn=turn, keep_alpha=nodata == "alpha")
    image = image if image.ndim == 3 else image[..., np.newaxis]
    if image.shape[2] != bands:
        raise DataLayoutError(f"{path}: expected {bands} bands, the file has {image.shape[2]}.")
    if alpha is not None and nodata != "alpha":
        require_opaque(path, alpha)
    values = [value for value in (of_tag, nodata) if value is not None and value != "alpha"]
    if alpha is None and not values and image.dtype.kind != "f":
        return np.ascontiguousarray(image), None
    defined = np.ones(image.shape[:2], bool) if alpha is None else alpha == _opaque(alpha)
    for value in values:
        defined &= ~_equal(image, value).any(axis=-1)
    if image.dtype.kind == "f":
        defined &= np.isfinite(image).all(axis=-1)
    if defined.all():
        return np.ascontiguousarray(image), None
    return np.where(defined[..., np.newaxis], image, image.dtype.type(0)), defined


def _equal(image: np.ndarray, value: float) -> np.ndarray:
    """Where `image` holds `value`, of a decimal fraction the nearest float32."""
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(image == np.float32(value))
    return np.asarray(image == int(value)) if float(value).is_integer() else np.zeros(image.shape, bool)


def _read_tiff(path: Path, bands: int) -> tuple[np.ndarray, np.ndarray | None, float | None]:
    """Bands, alpha where it is not asked for as a band, and the value of pixels without data."""
    stored, header = read_tiff_and_header(path)
    image = as_kept(path, stored)
    if header.alpha and header.bands == bands + 1 and image.dtype.kind == "u":
        return image[..., :-1], image[..., -1], header.nodata
    return image, None, header.nodata


def _read_picture(path: Path, bands: int, *, turn: bool, keep_alpha: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Bands and alpha of a JPEG, PNG, WebP or BMP; alpha that is not asked for is refused where it is not opaque."""
    data = read_whole(path)
    deep = data.startswith(PNG_SIGNATURE) and data[PNG_DEPTH] > 8
    if bands == COLOURS and not deep:
        alpha = decode_alpha(path, data)
        if alpha is not None and not keep_alpha:
            require_opaque(path, alpha)
            alpha = None
        if alpha is not None and turn and read_header(path).turned:
            raise DataLayoutError(f"{path}: transparent, and turned by an EXIF tag. Write it unturned.")
        return decode_colours(path, data, turn=turn), alpha
    image = decode_stored(path, data)
    if turn and read_header(path).turned:
        raise DataLayoutError(f"{path}: EXIF rotation is applied to images of three bands only. Write it unrotated.")
    if image.ndim == 3 and image.shape[2] == bands + 1 and bands in (1, COLOURS):
        return image[..., :-1], image[..., -1]
    return image, decode_alpha(path, data) if deep else None


def require_opaque(path: Path, alpha: np.ndarray) -> None:
    """DataLayoutError where pixels of a file are transparent, alpha (H, W)."""
    transparent = np.count_nonzero(alpha != _opaque(alpha))
    if transparent:
        raise DataLayoutError(
            f"{path}: {transparent / alpha.size:.1%} of the pixels are transparent; what is stored beneath was never "
            "seen. Write the file without transparency, all that counts in its grey values or colours.",
            kind="files with transparent pixels",
        )


def _opaque(alpha: np.ndarray) -> int:
    return int(np.iinfo(alpha.dtype).max)


def _array(path: Path) -> np.ndarray:
    """The mapped array of a `.npy` file, (H, W) or (H, W, bands)."""
    array = read_array(path, mmap_mode="r")
    if array.ndim not in (2, 3) or not array.size:
        raise DataLayoutError(f"{path}: an array of shape {array.shape}, expected (H, W) or (H, W, bands).")
    if array.ndim == 3 and array.shape[2] > MOST_BANDS:
        first = (
            "; the bands come first. Write it with np.moveaxis(array, 0, -1)" if array.shape[0] <= MOST_BANDS else ""
        )
        raise DataLayoutError(
            f"{path}: shape {array.shape}, expected (H, W, bands), at most {MOST_BANDS} bands{first}."
        )
    return array


def read_numbers(path: Path) -> np.ndarray:
    """The array of a file of `NUMBER_SUFFIXES`, in its own type and with its own axes."""
    suffix = path.suffix.lower()
    if suffix == ARRAY_SUFFIX:
        return read_array(path)
    return read_tiff(path) if suffix in TIFF_SUFFIXES else read_jpeg_2000(path)[0]


def read_header(path: Path) -> Header:
    """Size, rotation, type and bands, without decoding; DataLayoutError where the file is no image.

    A data set is asked for the headers of its files several times when it is opened; a file is read again only where
    its state has changed.
    """
    try:
        s = path.stat()
    except (OSError, ValueError):  # the reader says what is wrong
        return _read_header(path)
    state, known = (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino), _headers.get(path)
    if known is None or known[0] != state:
        known = _headers[path] = state, _read_header(path)
    return known[1]


# Headers that this process has read, by the state of their files.
_headers: dict[Path, tuple[tuple[int, ...], Header]] = {}


def _read_header(path: Path) -> Header:
    suffix = path.suffix.lower()
    if suffix == ARRAY_SUFFIX:
        array = _array(path)
        bands = 1 if array.ndim == 2 else array.shape[2]
        return Header((array.shape[0], array.shape[1]), dtype=kept_type(path, array.dtype), bands=bands)
    if suffix in TIFF_SUFFIXES:
        tiff = read_tiff_header(path)
        kept = kept_type(path, tiff.dtype)
        alpha = tiff.alpha and kept.kind == "u"
        _refuse_many_bands(path, tiff.bands - alpha)
        return Header(tiff.size, dtype=kept, bands=tiff.bands - alpha, alpha=alpha, nodata=tiff.nodata)
    if suffix in JPEG_2000_SUFFIXES:
        stream = read_jpeg_2000_header(path)
        _refuse_many_bands(path, stream.bands)
        return Header(stream.size, dtype=stream.dtype, bands=stream.bands)
    require_file(path, "an image")
    with opened_by_pillow(path, path) as file:
        width, height = file.size
        exif = Image.Image.getexif(file)  # not file.getexif: that of a PNG decodes the whole file
        orientation, grey = exif.get(EXIF_ORIENTATION, UPRIGHT), file.mode in GREY_MODES
    if orientation not in range(UPRIGHT, 9):  # one that decoders leave alone
        orientation = UPRIGHT
    size = (width, height) if orientation in TURNED_BY_A_QUARTER else (height, width)
    with open(path, "rb") as start:
        first = start.read(PNG_COLOUR_TYPE + 1)
    if not first.startswith(PNG_SIGNATURE) or first[PNG_DEPTH] <= 8:
        return Header(size, orientation, grey=grey)
    alpha = first[PNG_COLOUR_TYPE] in PNG_WITH_ALPHA
    bands = COLOURS if first[PNG_COLOUR_TYPE] & 2 else 1
    return Header(size, orientation, np.dtype(np.uint16), bands, alpha)


def _refuse_many_bands(path: Path, bands: int) -> None:
    if bands > MOST_BANDS:
        raise DataLayoutError(f"{path}: {bands} bands, expected at most {MOST_BANDS}. Write those that are needed.")


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
    """The image files of `folder` by name, which no two share but for the suffix: an id is a name without it.

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
