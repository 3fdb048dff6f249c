"""A contest with a metric of its own, in one file: mean average precision over IoU thresholds."""

from dataclasses import dataclass

import numpy as np

from skyfold.competition import Competition, Contest
from skyfold.metrics.segmentation import iou_score
from skyfold.submission.formats import RleTable
from skyfold.types import Samples

GRID, CLASSES, COUNT = (24, 30), ("house", "road"), 18


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Mean over images and classes of the fraction of IoU thresholds .50, .55, ..., .95 that the IoU exceeds."""

    name: str = "mean_average_precision"
    greater_is_better: bool = True

    def stats(self, *, target, pred, valid=None):
        iou = iou_score(target=target, pred=pred, valid=valid)
        return (iou[..., None] > np.arange(0.5, 1.0, 0.05)).mean(axis=-1)

    def score(self, stats):
        return float(stats.mean())


class Buildings(Contest):
    def build(self, folder):
        return Competition(
            name="buildings",
            task="segmentation",
            classes=CLASSES,
            grid=GRID,
            unit="probability",
            metric=MeanAveragePrecision(),
            submission=RleTable(CLASSES, GRID, key_column="id", rle_column="rle"),
            load=load,
            check=lambda folder: "made up",
            read_truth=None,
            read_pred=None,
            sample_table=lambda folder: None,
            parts=("train",),
        )


PLUGIN = Buildings


def load(folder, part):
    """Boxes of random places and sizes; a class is in two images of three."""
    rng = np.random.default_rng(0)
    masks = np.zeros((COUNT, *GRID, len(CLASSES)), dtype=np.uint8)
    for i, k in np.ndindex(COUNT, len(CLASSES)):
        if (i + k) % 3:
            top, left = rng.integers(0, 10, 2)
            masks[i, top : top + rng.integers(6, 14), left : left + rng.integers(6, 18), k] = 1
    images = np.repeat(255 * masks[..., :1], 3, axis=-1)
    return Samples(np.array([f"{i:02d}" for i in range(COUNT)]), images, masks, groups=np.arange(COUNT) // 2)
