"""Colour features of clouds, one plane per image, for thresholding and as the guide of a guided filter.

Clouds scatter all colours alike, clear sky and water mostly blue (Long et al. 2006, all-sky imagers), so that the ratio
of red to blue, the whiteness, or the brightness separates them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skyfold.errors import ConfigError

CONTRAST_RADIUS = 8  # pixels; the window is 17 wide
LEAST_DEVIATION = 0.003  # of whiteness, about one step of 255: a flat window has no contrast, only noise


def colour_plane(images: np.ndarray, feature: str) -> np.ndarray:
    """A name in `FEATURES` of images uint8 (..., H, W, C), red first and blue third: float32 (..., H, W) in 0 .. 1.

    Higher values are cloudier. ConfigError with fewer than three bands where it needs red and blue.
    """
    if feature == "red_blue_ratio" and images.shape[-1] < 3:
        raise ConfigError(f"colour feature red_blue_ratio needs three bands, the images have {images.shape[-1]}.")
    return FEATURES[feature](images)


def _red_blue_ratio(images: np.ndarray) -> np.ndarray:
    """red / (red + blue), which grows with red / blue and stays in 0 .. 1; 0.5 where both are 0."""
    red, blue = images[..., 0].astype(np.float32), images[..., 2].astype(np.float32)
    return (red + 0.5) / (red + blue + 1.0)


def _brightness(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=-1, dtype=np.float32) / 255.0


def _lowest_band(images: np.ndarray) -> np.ndarray:
    """What is white is high in every band."""
    return images.min(axis=-1).astype(np.float32) / 255.0


def _whiteness(images: np.ndarray) -> np.ndarray:
    """Lowest over highest band, which is 1 minus the saturation; 1 where all bands are 0."""
    return (images.min(axis=-1).astype(np.float32) + 1.0) / (images.max(axis=-1).astype(np.float32) + 1.0)


def _local_contrast(images: np.ndarray) -> np.ndarray:
    """The logistic function of how many standard deviations a pixel is whiter than the window around it.

    Of no use alone, since it is 0.5 on average everywhere; stacked with a network it places specks and edges.
    """
    import cv2

    window = (2 * CONTRAST_RADIUS + 1, 2 * CONTRAST_RADIUS + 1)
    planes = _whiteness(images)
    contrast = np.empty_like(planes)
    for index in np.ndindex(planes.shape[:-2]):
        plane = planes[index].astype(np.float64)
        mean = cv2.blur(plane, window)
        deviation = np.sqrt(np.maximum(cv2.blur(plane * plane, window) - mean * mean, LEAST_DEVIATION**2))
        contrast[index] = 0.5 * (1.0 + np.tanh(0.5 * (plane - mean) / deviation))
    return contrast


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "red_blue_ratio": _red_blue_ratio,
    "brightness": _brightness,
    "lowest_band": _lowest_band,
    "whiteness": _whiteness,
    "local_contrast": _local_contrast,
}
