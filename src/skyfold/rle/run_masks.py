"""Masks of a submission that stay runs until somebody looks at their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.rle.mask_runs import masks_of
from skyfold.rle.run_lists import RunLists


@dataclass(frozen=True)
class RunMasks:
    """Masks of n images as an ArraySequence: `masks[i]` is bool (H, W, K), drawn when indexed.

    runs: n * K masks, those of one image together, in the order of the classes.
    """

    runs: RunLists
    classes: int

    def __len__(self) -> int:
        return len(self.runs) // self.classes

    def __getitem__(self, index: int) -> np.ndarray:
        image = range(len(self))[index]
        rows = np.arange(image * self.classes, (image + 1) * self.classes)
        masks: np.ndarray = masks_of(self.runs, rows, planes=self.classes)[0]
        return masks
