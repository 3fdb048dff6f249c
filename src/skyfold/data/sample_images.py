"""Parts of the procedural samples: names, smooth noise, images on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.types import IntPair


def sample_names(seed: int, train: int, test: int, most: int, pattern: str) -> list[str]:
    """Names of `train` + `test` samples: distinct random numbers below `most`, formatted by `pattern`.

    Names ascend within each part, training samples first.
    """
    numbers = np.random.default_rng(seed).choice(most, size=train + test, replace=False)
    return [pattern.format(number) for number in (*sorted(numbers[:train]), *sorted(numbers[train:]))]


def smooth_noise(rng: np.random.Generator, cells: IntPair, size: IntPair) -> np.ndarray:
    """Normal noise on `cells` (rows, columns), enlarged to `size` (H, W) by cubic interpolation; float32 (H, W)."""
    coarse = rng.standard_normal(cells).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def as_image(values: np.ndarray) -> np.ndarray:
    """`values` rounded to the nearest of 0 to 255, uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray, *options: int) -> None:
    """Write uint8 RGB (H, W, 3) or grey (H, W) in the format of the suffix.

    options: flags and values of `cv2.imwrite`. DataLayoutError where it fails.
    """
    if not cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image, options):
        raise DataLayoutError(f"{path}: cannot be written. Is the disk full?")
