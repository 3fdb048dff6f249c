"""Reading of TIFF files, and detection of damaged ones.

tifffile reads the header, and decodes the compressions that it knows. OpenCV decodes the others; of some kinds of file
it drops bands or mixes them up silently, so its result is accepted only where it agrees with the header. TIFF has no
checksum: changed bytes inside a file are detected only where they break its structure.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tifffile

from skyfold.errors import DataLayoutError, SkyfoldError, shortened
from skyfold.files import read_bytes
from skyfold.memory import too_large

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # of both byte orders; "+" is BigTIFF
# Compressions that tifffile decodes by itself: none, deflate (two numbers), PackBits, LZMA; and predictors: none,
# differences of whole numbers.
COMPRESSIONS = (1, 8, 32946, 32773, 34925)
PREDICTORS = (1, 2)
# Bytes that one byte of a file can stand for at most: none, PackBits, deflate; of others tens of thousands.
LARGEST_RATIO = {1: 1, 32773: 64, 8: 1100, 32946: 1100}
LARGEST_RATIO_OF_ANY = 50_000
MOST_PAGES = 64
SMALL = 1 << 28  # bytes of an image that fits into any memory
WHITE_IS_ZERO, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
ORIENTATION = 274

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would name no file; the errors below do
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read_tiff(path: Path) -> np.ndarray:
    """The image as stored, overviews of it aside: (H, W), or (H, W, bands) with red first, of the file's number type.

    Bits become 0 and 1. DataLayoutError names a file that is missing, empty, no TIFF, cut short, or of a kind that
    could be read wrongly: several pages, turned by a tag, white stored as 0, a palette, or what OpenCV alone decodes,
    and not rightly.
    """
    data = read_bytes(path, "a TIFF file")
    refuse_other_kinds(path, data)
    with damage_named(path), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = first_page(path, file)
        refuse_pages(path, file)
        _refuse_odd(path, page)
        planes, depth, height, width, samples = page.shaped
        _refuse_claims(path, page, len(data))
        own = page.compression in COMPRESSIONS and page.predictor in PREDICTORS
        image = np.asarray(page.asarray()) if own else _by_opencv(path, data, page)
        if image.size != math.prod(page.shaped):
            raise DataLayoutError(f"{path}: the TIFF is cut short or damaged. Download it again.")
    if depth != 1:
        raise DataLayoutError(f"{path}: a volume of {depth} layers, expected an image. Download it again.")
    image = image.astype(np.uint8) if image.dtype == np.bool_ else image
    if planes > 1:
        image = np.moveaxis(image.reshape(planes, height, width), 0, -1)
    image = image.reshape(height, width, -1) if planes * samples > 1 else image.reshape(height, width)
    return np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False))


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
    if page.photometric == WHITE_IS_ZERO:
        raise DataLayoutError(f"{path}: white is stored as 0, so that programs differ in its values. Write black as 0.")
    if page.photometric not in (GREY, RGB, YCBCR):
        kind = "a palette" if page.photometric == PALETTE else f"colours of kind {int(page.photometric)}"
        raise DataLayoutError(f"{path}: a TIFF with {kind}. Write it as grey or RGB.")
    orientation = page.tags.get(ORIENTATION)
    if orientation is not None and orientation.value != 1:
        raise DataLayoutError(f"{path}: a tag (orientation {orientation.value}) turns it. Write it upright, without.")


def _refuse_claims(path: Path, page: tifffile.TiffPage, size: int) -> None:
    """DataLayoutError where the header tells of more pixels than the bytes of the file, or the memory, can hold.

    Strips and tiles that are left out, of length 0, hold zeros; they need no bytes.
    """
    pixels, left_out = math.prod(page.shaped), page.databytecounts.count(0) / max(len(page.databytecounts), 1)
    claimed = pixels * page.bitspersample // 8
    if claimed * (1 - left_out) > size * LARGEST_RATIO.get(page.compression, LARGEST_RATIO_OF_ANY):
        raise DataLayoutError(
            f"{path}: the TIFF is cut short or damaged (its header tells of {claimed >> 20} MB in {size} bytes). "
            "Download it again."
        )
    if claimed > SMALL and (shortage := too_large(2 * claimed)):
        raise DataLayoutError(f"{path}: {shortage}. Free memory, or cut it into smaller images.")


def _by_opencv(path: Path, data: bytes, page: tifffile.TiffPage) -> np.ndarray:
    """(H, W) or (H, W, bands); DataLayoutError where the result is not what the file says of itself."""
    header = f"{page.dtype} {page.shape}, compressed by {getattr(page.compression, 'name', page.compression)}"
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataLayoutError(f"{path}: cannot be decoded ({header}; {error.err}). Download it again.") from None
    if image is None:
        raise DataLayoutError(
            f"{path}: the TIFF is cut short or damaged, or of a compression that is not known ({header}). Download it "
            "again, or write it without compression."
        )
    planes, _, height, width, samples = page.shaped
    expected = (height, width) if samples == 1 else (height, width, samples)
    colours = {1: (GREY,), 3: (RGB, YCBCR), 4: (RGB,)}
    if planes > 1 or page.photometric not in colours.get(samples, ()) or page.bitspersample < 8:
        raise DataLayoutError(f"{path}: {header}, in a way that is not read. Write it without compression.")
    if image.shape != expected or image.dtype != page.dtype:
        raise DataLayoutError(
            f"{path}: header {header}, decoded as {image.dtype} {image.shape}. Write it without compression."
        )
    return image[..., [2, 1, 0, *range(3, samples)]] if samples >= 3 else image  # OpenCV has blue first
