"""A contest of images of four bands of 16 bits in `.npy` files, undefined where they are `nodata`."""

from dataclasses import dataclass

import numpy as np

from skyfold.competition import Competition, Contest
from skyfold.metrics.segmentation import MeanDice
from skyfold.submission.formats import RleTable
from skyfold.types import Samples

GRID, CLASSES = (16, 16), ("bright",)


class DeepBands(Contest):
    """nodata: value of undefined pixels; slices: of one group, one after the other."""

    nodata: int | None = None
    slices: int = 2

    def build(self, folder):
        return Competition(
            name="deep_bands",
            task="segmentation",
            classes=CLASSES,
            grid=GRID,
            unit="probability",
            metric=MeanDice(),
            submission=RleTable(CLASSES, GRID, key_column="id", rle_column="rle"),
            load=self.load,
            check=lambda folder: "made up",
            read_truth=None,
            read_pred=None,
            sample_table=lambda folder: None,
        )

    def load(self, folder, part):
        images = Images(np.load(folder / f"{part}.npy"), self.nodata)
        ids = np.array([f"{part}{i:02d}" for i in range(len(images))])
        masks = np.load(folder / "masks.npy") if part == "train" else None
        return Samples(ids, images, masks, groups=np.arange(len(ids)) // self.slices)


@dataclass(frozen=True)
class Images:
    values: np.ndarray
    nodata: int | None

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]

    def defined(self, index):
        found = (self.values[index] != self.nodata).all(axis=-1) if self.nodata is not None else np.True_
        return None if found.all() else found


PLUGIN = DeepBands
