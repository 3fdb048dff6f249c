"""How TIFF files become arrays, and how broken ones are noticed.

OpenCV decodes, whatever the compression, and refuses a file that is cut short. TIFF has no checksum: bytes changed
inside a file are noticed only where they break its structure.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from skyfold.errors import DataLayoutError

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # of both byte orders; "+" is BigTIFF

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would name no file; the errors below do


def read_tiff(path: Path) -> np.ndarray:
    """The first page as stored: (H, W), or (H, W, bands) with red first, of the file's own number type.

    DataLayoutError names a file that is missing, empty, no TIFF, or cut short.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataLayoutError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataLayoutError(f"{path}: a folder, expected a TIFF file. Rename or remove it.") from None
    if not data:
        raise DataLayoutError(f"{path}: the file is empty. Get it again.")
    if not data.startswith(SIGNATURES):
        raise DataLayoutError(f"{path}: not a TIFF file, whatever its name says. Get it again.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataLayoutError(f"{path}: cannot be decoded ({error.err}). Get the file again.") from None
    if image is None:
        raise DataLayoutError(f"{path}: the TIFF is cut short or damaged ({len(data)} bytes). Get the file again.")
    if image.ndim == 3:  # OpenCV has blue first
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    return np.ascontiguousarray(image)


def as_bytes(image: np.ndarray, values: tuple[float, float]) -> np.ndarray:
    """`image` with `values` (low, high) stretched to 0 .. 255, cut off beyond, rounded; what is no number becomes 0.

    >>> as_bytes(np.array([-30.0, -12.5, 5.0, np.nan]), (-25.0, 0.0)).tolist()
    [0, 128, 255, 0]
    """
    low, high = values
    share = (image.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)).astype(np.uint8)
