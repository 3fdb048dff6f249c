"""Kaggle "UW-Madison GI Tract Image Segmentation" (2022): stomach and bowels in slices of MRI volumes; tables alone.

`train.csv` (and a truth file) has the columns id, class and segmentation, `sample_submission.csv` id, class and
predicted, one row a slice and class; id is `case<N>_day<N>_slice_<NNNN>`. Pixels count from 1 down the columns, an
empty mask is an empty cell. `sizes.csv` has the columns id, image_width and image_height. No images are read:
predictions are imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from skyfold.api import Competition, Contest, MaskTables, RleTable, RowScore, dice_score, read_sizes, sizes_file

CLASSES = ("large_bowel", "small_bowel", "stomach")
DICE, HAUSDORFF = 0.4, 0.6  # weights of the two parts of the score
MOST_TIMES = 10  # a prediction of more times the true voxels is as far off as can be


@dataclass(frozen=True)
class DiceAndHausdorff(RowScore):
    """0.4 Dice + 0.6 (1 - H): Dice, the mean over slices and classes; H, over volumes, of the Hausdorff distance.

    Slices and classes that are empty in both are skipped, and so are volumes. The classes are merged for H, which is
    measured in units of the volume's diagonal, coordinates being fractions of its sides; it is 1 where one of the two
    is empty. stats: (n, 4), sum and number of Dice scores of a slice, H and 1 in the first slice of a volume.
    """

    name: str = "dice_and_hausdorff"
    pooled: Literal["each", "samples"] = "samples"

    def volume_of(self, name: str) -> str:
        """The case and day of a slice."""
        return name.rpartition("_slice_")[0]

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """float64 (n, 4) of the slices of one volume, bool (n, H, W, K)."""
        dice = dice_score(target=target, pred=pred, valid=valid)
        if valid is not None:
            target, pred = target & valid[..., None], pred & valid[..., None]
        present = (target | pred).any(axis=(1, 2))
        stats = np.zeros((len(target), 4))
        stats[:, 0], stats[:, 1] = np.where(present, dice, 0).sum(axis=1), present.sum(axis=1)
        if present.any():
            stats[0, 2:] = hausdorff(np.asarray(target.any(axis=-1)), np.asarray(pred.any(axis=-1))), 1
        return stats

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n,); a part of which there is nothing to score counts as perfect."""
        dice = np.where(stats[:, 1] == 0, 1.0, stats[:, 0] / np.maximum(stats[:, 1], 1))
        far = stats[:, 2] / np.maximum(stats[:, 3], 1)
        return np.asarray(DICE * dice + HAUSDORFF * (1 - far))


def hausdorff(target: np.ndarray, pred: np.ndarray) -> float:
    """Symmetric Hausdorff distance of two volumes, bool (slices, H, W), not both empty: 0 to 1, see the metric."""
    if not target.any() or not pred.any() or np.count_nonzero(pred) > MOST_TIMES * np.count_nonzero(target):
        return 1.0
    places = [np.argwhere(volume) / np.array(target.shape) for volume in (target, pred)]
    farthest = 0.0
    for other, alone in zip(places[::-1], (target & ~pred, pred & ~target), strict=True):
        if alone.any():
            lonely = np.argwhere(alone) / np.array(target.shape)
            farthest = max(farthest, float(cKDTree(other).query(lonely)[0].max()))
    return farthest / 3**0.5


class UwMadison(Contest):
    """sizes: the CSV file of the slices' sizes, in the contest's folder."""

    sizes: str = "sizes.csv"

    def build(self, folder: Path | None) -> Competition:
        """The competition on the size of each slice; slices of one case share a fold."""
        sizes = read_sizes(sizes_file(self.sizes, folder), ("id", "image_width", "image_height"))
        table = RleTable(CLASSES, (1, 1), "id", "predicted", class_column="class", sizes=sizes)
        files = MaskTables(table, "segmentation", group_of=lambda name: name.partition("_")[0])
        return files.competition("uw_madison", DiceAndHausdorff())


PLUGIN = UwMadison
