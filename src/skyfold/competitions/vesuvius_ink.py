"""Kaggle "Vesuvius Challenge: Ink Detection" (2023): ink in scanned papyrus fragments; its tables alone.

`train.csv` (and a truth file) and `sample_submission.csv` have the columns Id and Predicted, one row a fragment; pixels
count from 1 along the rows. `sizes.csv` has the columns Id, width and height. No images are read: predictions are
imported. Whether the contest averages fragments or pools their pixels its page does not say; they are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.api import (
    DIALECTS,
    Competition,
    Contest,
    MaskTables,
    OverlapMetric,
    RleTable,
    read_sizes,
    sizes_file,
)

BETA = 0.5  # below 1: precision weighs more than recall


@dataclass(frozen=True)
class MeanF05(OverlapMetric):
    """Mean F0.5 over fragments; 0 where no pixel of ink is found, also where there is none."""

    name: str = "mean_f0.5"

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        weighted = pred + BETA**2 * target
        return np.asarray((1 + BETA**2) * both / np.where(weighted == 0, 1.0, weighted))


class VesuviusInk(Contest):
    """sizes: the CSV file of the fragments' sizes, in the contest's folder."""

    sizes: str = "sizes.csv"

    def build(self, folder: Path | None) -> Competition:
        """The competition on the size of each fragment."""
        sizes = read_sizes(sizes_file(self.sizes, folder), ("Id", "width", "height"))
        table = RleTable(("ink",), (1, 1), "Id", "Predicted", DIALECTS["row_major"], bare_ids=True, sizes=sizes)
        return MaskTables(table, "Predicted").competition("vesuvius_ink", MeanF05())


PLUGIN = VesuviusInk
