"""Small grey images, and figures of colour and texture, by which images of a data set are compared."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from skyfold.data.images import Resizable
from skyfold.progress import map_in_threads

SIDE = 64
LEVELS = (5, 50, 95)  # percentiles of each band
OF_A_BAND = ("mean", "standard deviation", *(f"percentile {level}" for level in LEVELS))
SCALES = {
    "fine": (0.0, 1.0),
    "medium": (1.0, 3.0),
    "coarse": (3.0, 9.0),
}  # of texture, between blurs, in pixels of SIDE


@dataclass(frozen=True)
class Thumbnails:
    """grey: float32 (n, SIDE, SIDE), 0..255; features: float64 (n, F), named by `names`."""

    grey: np.ndarray
    features: np.ndarray
    names: tuple[str, ...]

    def __getitem__(self, rows: np.ndarray | slice) -> Thumbnails:
        return Thumbnails(self.grey[rows], self.features[rows], self.names)


def look_at(images: Resizable) -> Thumbnails:
    """Decode every image once, reduced; grey values of other types than uint8 are stretched to 0..255 one by one, and
    texture is relative to that, while the features of bands are in the units of the files."""

    def look(row: int) -> tuple[np.ndarray, np.ndarray]:
        stored = images.resized(row, (SIDE, SIDE))
        image = np.nan_to_num(stored.astype(np.float32), posinf=0, neginf=0)
        grey = image.mean(axis=-1)
        if stored.dtype != np.uint8:
            grey = (grey - grey.min()) * np.float32(255 / (np.ptp(grey) or 1))
        return grey, _features(image, grey)

    found = list(map_in_threads("comparing images", look, range(len(images)), "images"))
    grey, features = (np.array(part) for part in zip(*found, strict=True))
    bands = (features.shape[1] - len(SCALES)) // len(OF_A_BAND)
    of_bands = [f"{what} of band {band}" for band in range(1, bands + 1) for what in OF_A_BAND]
    names = (*of_bands, *(f"{scale} texture" for scale in SCALES))
    return Thumbnails(grey.astype(np.float32), features.astype(np.float64), names)


def _features(image: np.ndarray, grey: np.ndarray) -> np.ndarray:
    pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
    of_bands = np.concatenate([[pixels.mean(axis=0), pixels.std(axis=0)], np.percentile(pixels, LEVELS, axis=0)])
    sigmas = {sigma for pair in SCALES.values() for sigma in pair}
    blurred = {sigma: cv2.GaussianBlur(grey, (0, 0), sigma) if sigma else grey for sigma in sigmas}
    texture = [float((blurred[small] - blurred[large]).std()) for small, large in SCALES.values()]
    return np.concatenate([of_bands.T.ravel(), texture])
