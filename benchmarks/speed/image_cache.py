"""A training image from the cache of decoded images, against decoding and reducing the JPEG of 2100 x 1400 each time.

The JPEGs are made up, with structure at all scales down to the pixel, and about as large as the contest's. An image is
read in full, as a batch of training copies it; pages that the system keeps in memory serve the cache and the files
alike. The plain peer decodes with OpenCV and averages areas; the other lets the decoder average blocks of two first,
as we do when the cache is filled.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from timing import Line, Work, ratios

from skyfold.data.cache import training_arrays
from skyfold.data.images import ImageFiles
from skyfold.types import Samples

FULL, SIZE = (1400, 2100), (350, 525)


def lines(*, quick: bool) -> list[Line]:
    images, rounds = (2, 1) if quick else (12, 7)
    with tempfile.TemporaryDirectory() as name:
        paths = [jpeg(Path(name) / f"{i}.jpg", seed=i) for i in range(images)]
        samples = Samples(ids=np.array([path.name for path in paths]), inputs=ImageFiles(paths))
        cached = training_arrays(samples, size=SIZE, folder=Path(name) / "cache", fingerprint="")
        for i, path in enumerate(paths):
            off = np.abs(cached.inputs[i].astype(int) - decoded(path).astype(int))
            assert off.max() <= 3, off.max()  # rounded once more where the decoder averages first
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1024
        return ratios(
            f"image of {SIZE[1]} x {SIZE[0]} from the cache (JPEGs of {kilobytes:.0f} kB)",
            Work(lambda: [np.array(cached.inputs[i]) for i in range(images)], images),
            {
                "cv2 decode + resize": (Work(lambda: [decoded(path) for path in paths], images), 50.0),
                "cv2 reduced decode + resize": (Work(lambda: [resized(path) for path in paths], images), None),
            },
            rounds=rounds,
        )


def decoded(path: Path) -> np.ndarray:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)


def resized(path: Path) -> np.ndarray:
    image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)


def jpeg(path: Path, *, seed: int) -> Path:
    """Noise of octaves from 256 pixels to one, whose strength falls with its size, as in a scene of clouds over sea."""
    rng = np.random.default_rng(seed)
    scene = np.full((*FULL, 3), 70.0, dtype=np.float32)
    for octave in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        coarse = rng.standard_normal((FULL[0] // octave + 2, FULL[1] // octave + 2, 1), dtype=np.float32)
        fine = cv2.resize(coarse, FULL[::-1], interpolation=cv2.INTER_CUBIC)[..., np.newaxis]
        scene += 4.0 * octave**0.5 * fine * np.array([0.8, 0.9, 1.0], dtype=np.float32)
    cv2.imwrite(str(path), np.clip(scene, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path
