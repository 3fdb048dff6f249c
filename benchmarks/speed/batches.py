"""Training batches from a cache of 16 bits, rescaled to 0..1, against those of a cache of 8 bits.

Images have four bands and hold the same pictures, 257 times as large in 16 bits; batches are compared before they are
timed. A training step takes longer than either.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from timing import Line, Work, ratios

from skyfold.config.training import AugmentConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import Batch, training_batches
from skyfold.data.cache import TrainingArrays, training_arrays
from skyfold.data.rescale import Rescale
from skyfold.types import Samples

BANDS, BATCH = 4, 16
CHANGES = {"flipped": ("HorizontalFlip", "VerticalFlip"), "rotated": ("HorizontalFlip", "Rotate")}


def lines(*, quick: bool) -> list[Line]:
    count, size, rounds = (16, (32, 32), 1) if quick else (96, (256, 256), 9)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, *size, BANDS), dtype=np.uint8)
    found = []
    with tempfile.TemporaryDirectory() as name:
        stored = {
            dtype: training_arrays(
                Samples(np.arange(count).astype(str), images, np.ones((count, *size, 1), np.uint8)),
                size=size,
                folder=Path(name) / dtype,
                fingerprint="",
            )
            for dtype, images in (("uint8", small), ("uint16", small.astype(np.uint16) * 257))
        }
        for how, transforms in CHANGES.items():
            for normalization, wanted in (("unit", 0.8), ("none", None)):
                given = [(stored[dtype], transforms, normalization) for dtype in ("uint16", "uint8")]
                for one, other in zip(*(epoch(*each) for each in given), strict=True):
                    tolerance = 2 / 255 if normalization == "unit" else 2  # bytes are rounded when they are rotated
                    assert np.abs(one.inputs - other.inputs).max() <= tolerance
                deep, shallow = (Work(lambda each=each: epoch(*each), count) for each in given)  # type: ignore[misc]
                path = f"uint16 {size[0]} x {size[1]} x {BANDS}, {how}, normalization {normalization}"
                found += ratios(path, deep, {"uint8": (shallow, wanted)}, rounds=rounds)
    return found


def epoch(arrays: TrainingArrays, transforms: tuple[str, ...], normalization: str) -> list[Batch]:
    rescale = Rescale((0.0,), (65535.0,), "uint16") if arrays.dtype == np.uint16 else None
    height, width, bands = arrays.input_shape
    config = [AugmentConfig(name=name) for name in transforms]
    augmenter = Augmenter(config, size=(height, width), bands=bands, planes=2, rescaled=rescale is not None)
    return list(
        training_batches(
            arrays,
            np.arange(len(arrays.ids)),
            batch_size=BATCH,
            normalization=normalization,
            labels=None,
            augmenter=augmenter,
            seed=0,
            epoch=0,
            rescale=rescale,
        )
    )
