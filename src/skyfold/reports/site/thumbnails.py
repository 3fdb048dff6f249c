"""Thumbnails of the site as WebP: an image, and transparent layers of masks and errors to lie above it."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from skyfold.reports.mask_plot import COLOURS, error_layer, shown

LONGER_SIDE = 320
FILL, OUTLINE = 90, 255  # alpha


def image_webp(image: np.ndarray) -> bytes:
    """image: (H, W, C), drawn as by `mask_plot.shown`."""
    bands = shown(image)
    pixels = bands if bands.dtype == np.uint8 else np.round(np.nan_to_num(bands) * 255).astype(np.uint8)
    small = cv2.resize(np.ascontiguousarray(pixels), _size(image.shape), interpolation=cv2.INTER_AREA)
    return _webp(small if small.ndim == 3 else np.repeat(small[..., np.newaxis], 3, axis=2), quality=72)


def masks_webp(masks: np.ndarray) -> bytes:
    """masks: bool (H, W, K), filled and outlined in the colours of their classes."""
    small = _resized(masks, cv2.INTER_AREA)
    code = np.zeros(small.shape[:2], dtype=np.uint8)  # odd: filled, even: outlined
    palette = np.zeros((2 * small.shape[2] + 1, 4), dtype=np.uint8)
    for k in range(small.shape[2]):
        own = np.ascontiguousarray(small[..., k])
        inside = cv2.erode(own, np.ones((5, 5), np.uint8), borderValue=0)
        code[(inside > 0) & ((code == 0) | (code % 2 == 1))] = 2 * k + 1
        code[own > inside] = 2 * k + 2
        colour = COLOURS[k % len(COLOURS)]
        palette[2 * k + 1 : 2 * k + 3, :3] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    palette[1::2, 3], palette[2::2, 3] = FILL, OUTLINE
    return _webp(palette[code])


def errors_webp(truth: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> bytes:
    """truth, pred: bool (H, W, K); valid: bool (H, W); hits and errors in the colours of `mask_plot.ERRORS`."""
    real, predicted = (_resized(masks, cv2.INTER_NEAREST).view(bool) for masks in (truth, pred))
    counted = None if valid is None else _resized(valid[..., np.newaxis], cv2.INTER_NEAREST)[..., 0].view(bool)
    return _webp(np.round(error_layer(real, predicted, counted) * 255).astype(np.uint8))


def _resized(masks: np.ndarray, interpolation: int) -> np.ndarray:
    """uint8 (h, w, K), 0 and 1, of bool (H, W, K): 1 where half of a pixel or more is in the mask."""
    values = np.ascontiguousarray(masks).view(np.uint8) * np.uint8(254)
    size = _size(masks.shape)
    return (cv2.resize(values, size, interpolation=interpolation).reshape(*size[::-1], -1) > 126).view(np.uint8)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the thumbnail of an array (H, W, ...)."""
    scale = min(1.0, LONGER_SIDE / max(shape[:2]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _webp(pixels: np.ndarray, quality: int | None = None) -> bytes:
    """quality: of the lossy encoding, None: lossless."""
    file = BytesIO()
    # Lossless, quality is the effort: more of it makes files that are hardly smaller.
    Image.fromarray(pixels).save(file, "WEBP", lossless=quality is None, quality=quality or 10, method=1)
    return file.getvalue()
