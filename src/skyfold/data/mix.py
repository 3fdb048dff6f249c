"""Training images made of several: what part of each is taken, masks and the plane of counting pixels along.

Which images, and where they are cut, depends on the seed of the sample alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from skyfold.config.augmentation import MixConfig
from skyfold.data.seeding import derived_seed

Sample = tuple[np.ndarray, np.ndarray]
Another = Callable[[np.random.Generator], Sample]


def mixed(
    image: np.ndarray, target: np.ndarray, *, config: Sequence[MixConfig], seed: int, epoch: int, another: Another
) -> Sample:
    """The sample with what the entries of `config`, in order, put into it; itself where none does.

    image uint8 (h, w, C); target uint8 (h, w, K + 1); another: draws one more training sample of these shapes, already
    augmented. Returns new arrays where anything changes.
    """
    for index, entry in enumerate(config):
        rng = np.random.default_rng(derived_seed("mix", index, seed))
        if rng.random() < entry.p_in(epoch):
            image, target = _MIXES[entry.name]((image, target), rng, another)
    return image, target


def _cutmix(sample: Sample, rng: np.random.Generator, another: Another) -> Sample:
    """A rectangle is cut from another image and pasted where it was; its area is uniform over 0 .. 1.

    Yun et al. 2019, "CutMix"; here the rectangle lies inside the image whole, so that it has the area drawn.
    """
    other = another(rng)
    side = np.sqrt(rng.random())
    height, width = (round(side * length) for length in sample[0].shape[:2])
    rows, columns = _window(sample, height, width, rng)
    return _pasted(sample, rows, columns, other, rows, columns)


def _mosaic(sample: Sample, rng: np.random.Generator, another: Another) -> Sample:
    """Four images, of each a window drawn anywhere in it, around a point in the middle half; one is the sample itself.

    Bochkovskiy, Wang and Liao 2020, "YOLOv4"; here at the scale of the images.
    """
    height, width = sample[0].shape[:2]
    row, column = (int(rng.integers(length // 4, length - length // 4 + 1)) for length in (height, width))
    quarters = [(a, b) for a in (slice(0, row), slice(row, height)) for b in (slice(0, column), slice(column, width))]
    own = rng.integers(4)
    result = sample
    for index, (rows, columns) in enumerate(quarters):
        source = sample if index == own else another(rng)
        window = _window(source, rows.stop - rows.start, columns.stop - columns.start, rng)
        result = _pasted(result, rows, columns, source, *window)
    return result


def _window(sample: Sample, height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    whole = sample[0].shape[:2]
    top, left = (int(rng.integers(length - part + 1)) for length, part in zip(whole, (height, width), strict=True))
    return slice(top, top + height), slice(left, left + width)


def _pasted(
    sample: Sample, rows: slice, columns: slice, source: Sample, source_rows: slice, source_columns: slice
) -> Sample:
    """`sample` with (rows, columns) taken from `source`, image and target alike, as new arrays."""
    image, target = (part.copy() for part in sample)
    image[rows, columns] = source[0][source_rows, source_columns]
    target[rows, columns] = source[1][source_rows, source_columns]
    return image, target


_MIXES: dict[str, Callable[[Sample, np.random.Generator, Another], Sample]] = {"cutmix": _cutmix, "mosaic": _mosaic}
