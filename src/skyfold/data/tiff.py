"""Reading of TIFF files, and detection of damaged ones.

tifffile reads the header, imagecodecs decodes. TIFF has no checksum: changed bytes inside a file are detected only
where they break its structure.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tifffile

from skyfold.data.jpeg_2000 import codestream
from skyfold.errors import DataLayoutError, SkyfoldError, shortened
from skyfold.files import read_bytes
from skyfold.memory import too_large
from skyfold.types import IntPair

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # of both byte orders; "+" is BigTIFF
# Compressions without loss whose strips and tiles need nothing else to be decoded: none, LZW, deflate (two numbers),
# PackBits, LZMA, Zstandard (two numbers).
COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 34926, 50000)
JPEG, JPEG_2000, LERC = 7, 34712, 34887  # each strip and tile tells its own size
NAMES = "none, LZW, deflate, PackBits, LZMA, Zstandard, JPEG, JPEG 2000 or LERC"
PREDICTORS = (1, 2, 3)  # none, differences of whole numbers, of floating-point numbers
# Bytes that one byte of a file can stand for at most: none, PackBits, deflate; of others tens of thousands.
LARGEST_RATIO = {1: 1, 32773: 64, 8: 1100, 32946: 1100}
LARGEST_RATIO_OF_ANY = 50_000
MOST_PAGES = 64
SMALL = 1 << 28  # bytes of an image that fits into any memory
WHITE_IS_ZERO, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
ORIENTATION, GDAL_NODATA = 274, 42113
PIXEL_SCALE, TIE_POINT, TRANSFORMATION = 33550, 33922, 34264
OF_CENTRES = 2  # coordinates of the tags are those of the centres of pixels
ALPHA = (1, 2)  # what an extra band is: transparency, with colours multiplied by it or not
LERC_SIGNATURE = b"Lerc2 "
FORGED = 1 << 31  # rows and columns of what cannot be
JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # markers before a size

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it would name no file; the errors below do


@dataclass(frozen=True)
class TiffHeader:
    """Header of a TIFF. size: (H, W); bands: an alpha band among them; alpha: whether the last one is; nodata: value
    of pixels without a measurement, from the tag that GDAL writes, NaN included; None: not told."""

    size: IntPair
    bands: int
    dtype: np.dtype
    alpha: bool
    nodata: float | None


def read_tiff(path: Path) -> np.ndarray:
    """The image as stored, overviews of it aside: (H, W), or (H, W, bands) with red first, of the file's number type.

    Bits become 0 and 1. DataLayoutError names a file that is missing, empty, no TIFF, cut short, or of a kind that
    could be read wrongly: several pages, turned by a tag, white stored as 0, a palette, or compressed in another way
    than `NAMES`.
    """
    return read_tiff_and_header(path)[0]


def read_tiff_and_header(path: Path) -> tuple[np.ndarray, TiffHeader]:
    """As `read_tiff`, and what the header says."""
    refuse_other_kinds(path, read_bytes(path, "a TIFF file", most=4))
    with damage_named(path), tifffile.TiffFile(path) as file:
        page = _checked_page(path, file, path.stat().st_size)
        if page.compression not in COMPRESSIONS:
            _refuse_forged_segments(path, page, read_bytes(path, "a TIFF file"))
        image = np.asarray(page.asarray(maxworkers=1))  # images are read in threads
        if image.size != math.prod(page.shaped):
            raise DataLayoutError(f"{path}: the TIFF is cut short or damaged. Download it again.")
        planes, _, height, width, samples = page.shaped
        header = _header(path, page)
    image = image.astype(np.uint8) if image.dtype == np.bool_ else image
    if planes > 1:
        image = np.moveaxis(image.reshape(planes, height, width), 0, -1)
    image = image.reshape(height, width, -1) if planes * samples > 1 else image.reshape(height, width)
    return np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False)), header


def read_tiff_header(path: Path) -> TiffHeader:
    """The header of a TIFF, without decoding. DataLayoutError as `read_tiff`, but for damage beyond the header."""
    refuse_other_kinds(path, read_bytes(path, "a TIFF file", most=4))
    with damage_named(path), tifffile.TiffFile(path) as file:
        return _header(path, _checked_page(path, file, path.stat().st_size))


def read_map_transform(path: Path) -> np.ndarray | None:
    """Pixels (x, y) of map coordinates (x, y, 1), float64 (2, 3), of a georeferenced TIFF; None: it is none.

    (0, 0) is the outer corner of the first pixel. DataLayoutError as `read_tiff_header`, and where the tags contradict.
    """
    with damage_named(path), tifffile.TiffFile(path) as file:
        page = first_page(path, file)
        scale, tie, whole = (page.tags.get(tag) for tag in (PIXEL_SCALE, TIE_POINT, TRANSFORMATION))
        if whole is not None:
            to_map = np.array(whole.value, np.float64).reshape(4, 4)[[0, 1]][:, [0, 1, 3]]
        elif scale is not None and tie is not None:
            (width, height), (column, row, _, x, y) = scale.value[:2], tie.value[:5]
            to_map = np.array([[width, 0, x - column * width], [0, -height, y + row * height]], np.float64)
        else:
            return None
        if (page.geotiff_tags or {}).get("GTRasterTypeGeoKey") == OF_CENTRES:
            to_map[:, 2] -= to_map[:, :2] @ (0.5, 0.5)
        return np.asarray(np.linalg.inv(np.vstack([to_map, [0, 0, 1]]))[:2])


def _header(path: Path, page: tifffile.TiffPage) -> TiffHeader:
    planes, _, height, width, samples = page.shaped
    assert page.dtype is not None
    return TiffHeader(
        size=(height, width),
        bands=planes * samples,
        dtype=np.dtype(np.uint8) if page.dtype == np.bool_ else page.dtype.newbyteorder("="),
        alpha=planes * samples > 1 and bool(page.extrasamples) and page.extrasamples[-1] in ALPHA,
        nodata=_nodata(path, page),
    )


def _checked_page(path: Path, file: tifffile.TiffFile, size: int) -> tifffile.TiffPage:
    """The first page; DataLayoutError where it cannot be read rightly, or not in the memory there is.

    size: bytes of the file.
    """
    page = first_page(path, file)
    refuse_pages(path, file)
    _refuse_odd(path, page)
    _refuse_claims(path, page, size)
    return page


def refuse_other_kinds(path: Path, data: bytes) -> None:
    """DataLayoutError where `data`, the first bytes of the file, are not those of a TIFF."""
    if not data.startswith(SIGNATURES):
        raise DataLayoutError(f"{path}: not a TIFF file despite its extension. Download it again.")


@contextmanager
def damage_named(path: Path, part: str = "the TIFF") -> Iterator[None]:
    """DataLayoutError, naming the file and what `part` of it, for whatever tifffile raises while it parses or decodes
    one."""
    try:
        yield
    except SkyfoldError:
        raise
    except MemoryError as error:  # what the header tells of, even where the file leaves most of it out
        raise DataLayoutError(
            f"{path}: too large for the memory there is ({error}). Cut it into smaller ones."
        ) from None
    except Exception as error:  # a damaged tag may have any type and value, and lead to any exception
        raise DataLayoutError(f"{path}: {part} is cut short or damaged ({error}). Download it again.") from None


def first_page(path: Path, file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The first page; DataLayoutError where it has no pixels."""
    page = file.pages.first
    if not all(page.shaped):
        raise DataLayoutError(f"{path}: an image without pixels, of shape {page.shape}. Download it again.")
    return page


def refuse_pages(path: Path, file: tifffile.TiffFile) -> None:
    """DataLayoutError where a TIFF holds another image besides the first: a page that is no smaller overview of it."""
    every = list(islice(file.pages, MOST_PAGES + 1))
    if len(every) > MOST_PAGES:  # each page tells where the next is, in a damaged file an earlier one
        raise DataLayoutError(
            f"{path}: more than {MOST_PAGES} pages, or damaged. Write one image a file, or download it again."
        )
    pages = (page for page in every if isinstance(page, tifffile.TiffPage))  # the others are parts of volumes
    (height, width), *sizes = [(page.imagelength, page.imagewidth) for page in pages]
    others = [
        f"page {number} of {rows}x{columns}"
        for number, (rows, columns) in enumerate(sizes, start=2)
        if rows >= height or columns >= width
    ]
    if others:
        raise DataLayoutError(
            f"{path}: a TIFF of {len(sizes) + 1} pages: besides the first, of {height}x{width} pixels, "
            f"{shortened(others)}. Write one image a file; only smaller overviews may follow it.",
            kind="TIFFs of several pages",
        )


def _refuse_odd(path: Path, page: tifffile.TiffPage) -> None:
    """DataLayoutError where programs differ in what they make of the page, or none of ours decodes it."""
    if page.shaped[1] != 1:
        raise DataLayoutError(f"{path}: a volume of {page.shaped[1]} layers, expected an image. Download it again.")
    if page.photometric == WHITE_IS_ZERO:
        raise DataLayoutError(f"{path}: white is stored as 0, so that programs differ in its values. Write black as 0.")
    if page.photometric not in (GREY, RGB, YCBCR):
        kind = "a palette" if page.photometric == PALETTE else f"colours of kind {int(page.photometric)}"
        raise DataLayoutError(f"{path}: a TIFF with {kind}. Write it as grey or RGB.")
    orientation = page.tags.get(ORIENTATION)
    if orientation is not None and orientation.value != 1:
        raise DataLayoutError(f"{path}: a tag (orientation {orientation.value}) turns it. Write it upright, without.")
    kind = f"{page.dtype} compressed by {getattr(page.compression, 'name', page.compression)}"
    if page.compression not in (*COMPRESSIONS, JPEG, JPEG_2000, LERC) or page.predictor not in PREDICTORS:
        raise DataLayoutError(f"{path}: a TIFF of {kind}, which is not read. Write it with compression {NAMES}.")
    if page.compression == JPEG and page.dtype != np.uint8:
        raise DataLayoutError(f"{path}: a TIFF of {kind}, in which values are lost. Write it without compression.")
    if page.photometric == YCBCR and page.compression not in (JPEG, JPEG_2000):
        raise DataLayoutError(f"{path}: a TIFF of luminance and colour differences (YCbCr). Write it as RGB.")
    if page.dtype is None:
        raise DataLayoutError(f"{path}: numbers of {page.bitspersample} bits, which are not read. Write 8, 16 or 32.")


def _refuse_claims(path: Path, page: tifffile.TiffPage, size: int) -> None:
    """DataLayoutError where the header tells of more pixels than the bytes of the file, or the memory, can hold.

    Strips and tiles that are left out, of length 0, hold zeros; they need no bytes.
    """
    pixels, left_out = math.prod(page.shaped), page.databytecounts.count(0) / max(len(page.databytecounts), 1)
    claimed = pixels * page.bitspersample // 8
    too_many = claimed * (1 - left_out) > size * LARGEST_RATIO.get(page.compression, LARGEST_RATIO_OF_ANY)
    if (
        too_many or max(page.databytecounts, default=0) > size
    ):  # a segment's bytes would be reserved before they are read
        raise DataLayoutError(
            f"{path}: the TIFF is cut short or damaged (its header tells of {claimed >> 20} MB in {size} bytes). "
            "Download it again."
        )
    if claimed > SMALL and (shortage := too_large(2 * claimed)):
        raise DataLayoutError(f"{path}: {shortage}. Free memory, or cut it into smaller images.")


def _refuse_forged_segments(path: Path, page: tifffile.TiffPage, data: bytes) -> None:
    """DataLayoutError where a strip or tile tells of more pixels than the header gives it: memory would be taken for
    them."""
    strip = (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    size = (page.tilelength, page.tilewidth) if page.is_tiled else strip
    for number, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        height, width = _size_inside(data[offset : offset + count], page.compression) if count else (0, 0)
        if height * width > size[0] * size[1]:
            raise DataLayoutError(
                f"{path}: segment {number} of the TIFF is damaged ({height}x{width} pixels, expected {size[0]}x"
                f"{size[1]}). Download it again."
            )


def _size_inside(segment: bytes, compression: int) -> IntPair:
    """(H, W) that a strip or tile tells of itself; (0, 0) where it does not, or is packed once more."""
    if compression == LERC and segment.startswith(LERC_SIGNATURE):
        version = int.from_bytes(segment[6:10], "little")
        height, width = struct.unpack_from("<ii", segment, 14 if version >= 3 else 10)  # a checksum lies before
        return height, width
    if compression == JPEG_2000 and (inside := codestream(segment)):
        return inside.size if inside.fits_into(len(segment)) else (FORGED, FORGED)
    position = 2
    while compression == JPEG and position + 9 <= len(segment) and segment[position] == 0xFF:
        if segment[position + 1] in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", segment, position + 5)
            return height, width
        position += 2 + int.from_bytes(segment[position + 2 : position + 4], "big")
    return 0, 0


def _nodata(path: Path, page: tifffile.TiffPage) -> float | None:
    tag = page.tags.get(GDAL_NODATA)
    if tag is None:
        return None
    text = str(tag.value).strip().strip("\0")
    try:
        return float(text)
    except ValueError:
        raise DataLayoutError(
            f"{path}: the tag of the value without data (42113) holds {text[:40]!r}, expected a number. Write the file "
            "without the tag, and the value as images.nodata."
        ) from None
