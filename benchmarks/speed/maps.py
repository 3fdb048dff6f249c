"""Masks of clouds, real where they are to hand and made up else, and made-up probabilities that look like a model's."""

from __future__ import annotations

import csv
import gzip
from itertools import islice

import cv2
import numpy as np
from timing import data_folder

from skyfold.rle.codec import decode_many

HEIGHT, WIDTH = 350, 525
NOWHERE = 0.53  # share of the image x class pairs of "Understanding Clouds" that hold none


def cloud_masks(count: int, *, seed: int) -> tuple[np.ndarray, str]:
    """bool (count, 350, 525, 4) and what they are: volunteers' labels where the data is there, else made up."""
    folder = data_folder()
    path = None if folder is None else folder / "clouds_labels" / "train_all_525x350.csv.gz"
    if path is None or not path.is_file():
        return truth_masks(count, seed=seed, classes=4), "made-up truth"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(islice(csv.DictReader(file), 4 * count))
    texts, names = [row["EncodedPixels"] for row in rows], [row["Image_Label"] for row in rows]
    masks = np.stack(list(decode_many(texts, (HEIGHT, WIDTH), rows=names)))
    by_class = masks.reshape(count, 4, HEIGHT, WIDTH).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(by_class, dtype=bool), "real truth"


def truth_masks(count: int, *, seed: int, height: int = HEIGHT, width: int = WIDTH, classes: int = 1) -> np.ndarray:
    """bool (count, height, width, classes); a share of `NOWHERE` of the masks is empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, height, width, classes), dtype=bool)
    for i, k in np.ndindex(count, classes):
        if rng.random() >= NOWHERE:
            masks[i, :, :, k] = _field(rng, height, width, coarse=96, ragged=0.06) > 0.45
    return masks


def probabilities(truth: np.ndarray, *, seed: int, noise: float = 0.9) -> np.ndarray:
    """What a fair model would answer to `truth` (n, H, W, K): uint8 of that shape, 255 times the probability.

    The truth, blurred, is mixed with errors of the size of clouds and a little noise of every pixel of the model, which
    works at two thirds of the size; its answer is resized, as predictions are.
    """
    rng = np.random.default_rng(seed)
    height, width = truth.shape[1:3]
    small = (2 * height // 3, 2 * width // 3)
    prob = np.empty(truth.shape, dtype=np.uint8)
    for i, k in np.ndindex(len(truth), truth.shape[-1]):
        seen = cv2.GaussianBlur(truth[i, :, :, k].astype(np.float32), (0, 0), 6)
        errors = _field(rng, height, width, coarse=64, ragged=0.25)
        grain = cv2.resize(
            rng.standard_normal(small, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        logit = 5.0 * (seen - 0.5) + 2.0 * noise * errors - 0.6 + 0.075 * grain
        prob[i, :, :, k] = np.rint(255.0 / (1.0 + np.exp(-logit)))
    return prob


def _field(rng: np.random.Generator, height: int, width: int, *, coarse: int, ragged: float) -> np.ndarray:
    """Smooth noise of unit size that changes over `coarse` pixels, with `ragged` as much that changes over 8."""
    return _smooth(rng, height, width, coarse) + ragged * _smooth(rng, height, width, 8)


def _smooth(rng: np.random.Generator, height: int, width: int, step: int) -> np.ndarray:
    knots = rng.standard_normal((height // step + 3, width // step + 3), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC))
