"""A contest whose images differ in size, or the same padded to one size: known by made-up masks alone."""

from __future__ import annotations

import numpy as np

from skyfold.competition import Competition, Contest
from skyfold.data.mask_tables import NoImages
from skyfold.metrics.segmentation import GlobalDice, MeanDice
from skyfold.submission.formats import RleTable
from skyfold.types import Samples

CLASSES, COUNT, TEST = ("ice", "lead"), 15, 5
SIZES = [(20, 31), (33, 18), (40, 40), (12, 50), (27, 27)]
MOST = (40, 50)


def size_of(index):
    return SIZES[index % len(SIZES)]


def names(part):
    return np.array([f"{part}{i:02d}" for i in range(COUNT if part == "train" else TEST)])


def mask(index):
    """Boxes of random places and sizes, bool (H, W, 2)."""
    rng, size = np.random.default_rng([1, index]), size_of(index)
    masks = np.zeros((*size, len(CLASSES)), dtype=bool)
    for k in range(len(CLASSES)):
        if (index + k) % 4:
            top, left = rng.integers(0, 8, 2)
            masks[top : top + rng.integers(3, 20), left : left + rng.integers(3, 20), k] = True
    return masks


def padded(array, value=0):
    """`array` (H, W, ...) in the upper left of one of the largest size, filled with `value`."""
    full = np.full((*MOST, *array.shape[2:]), value, dtype=array.dtype)
    full[: array.shape[0], : array.shape[1]] = array
    return full


class OwnSizes(Contest):
    """padded: to one size, where what was added does not count; pooled: one Dice over all pixels."""

    padded: bool = False
    pooled: bool = False

    def build(self, folder):
        sizes = {name: size_of(i) for part in ("train", "test") for i, name in enumerate(names(part))}
        table = RleTable(CLASSES, MOST, key_column="id", rle_column="rle", sizes=None if self.padded else sizes)
        return Competition(
            name="own_sizes",
            task="segmentation",
            classes=CLASSES,
            grid=MOST if self.padded else None,
            unit="probability",
            metric=GlobalDice() if self.pooled else MeanDice(),
            submission=table,
            load=self.load,
            check=lambda folder: "made up",
            read_truth=None,
            read_pred=lambda path, ids: table.read_masks(path, ids)[1],
            sample_table=lambda folder: None,
        )

    def load(self, folder, part):
        ids = names(part)
        sizes = np.array([size_of(i) for i in range(len(ids))])
        if part == "test":
            return Samples(ids, NoImages(len(ids)), sizes=None if self.padded else sizes)
        masks = [mask(i).astype(np.uint8) for i in range(len(ids))]
        if not self.padded:
            return Samples(ids, NoImages(len(ids)), masks, sizes=sizes)
        valid = [padded(np.ones(size_of(i), dtype=bool), False) for i in range(len(ids))]
        return Samples(ids, NoImages(len(ids)), [padded(one) for one in masks], valid)


PLUGIN = OwnSizes
