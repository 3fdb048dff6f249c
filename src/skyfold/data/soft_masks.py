"""Soft labels: fractions of each class in a pixel, stored as such or averaged over annotators, decided at one half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.data.images import files_stamp, read_measured
from skyfold.data.masks import RESAMPLING, UNDEFINED, ClassTable, resample
from skyfold.errors import DataLayoutError
from skyfold.files import digest
from skyfold.types import Grid

DECIDED_AT = 0.5  # a larger fraction is of the class


@dataclass(frozen=True)
class SoftMasks:
    """Mask files of several annotators, or of fractions, as an ArraySequence: `masks[i]` is uint8 0/1 (H, W, K) on
    `grid`, 1 where the fraction is more than one half.

    files: of each sample, one an annotator; table: what their values mean; None: they hold fractions of `classes`
    classes, one file a sample. DataLayoutError names a file that is damaged, of another size than the first of its
    sample, or holds no fractions.
    """

    files: Sequence[tuple[Path, ...]]
    table: ClassTable | None
    classes: int
    grid: Grid

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        return (self.fractions(index)[0] > DECIDED_AT).astype(np.uint8)

    def fractions(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Fractions, float32 (H, W, K) on the grid, and where they are defined: for one annotator at least."""
        fractions, defined = read_fractions(self.files[index], self.table, self.classes)
        return resample(fractions, self.grid), resample(defined, self.grid)

    def sources(self, index: int) -> tuple[Path | str, ...]:
        """The files, and what their values mean on which grid."""
        return *self.files[index], self._reading

    def fingerprint(self) -> str:
        """Changes with the files, the class table and the grid."""
        return digest(files_stamp([path for files in self.files for path in files]), self._reading, RESAMPLING)

    @property
    def _reading(self) -> str:
        return repr((self.table, self.classes, self.grid and tuple(self.grid), DECIDED_AT))


@dataclass(frozen=True)
class DefinedFractions:
    """Where soft labels are defined: `defined[i]` is bool (H, W) on the grid of `masks`."""

    masks: SoftMasks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.masks.fractions(index)[1]

    def fingerprint(self) -> str:
        """That of the masks."""
        return self.masks.fingerprint()


def read_fractions(files: Sequence[Path], table: ClassTable | None, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of each class, float32 (H, W, K), and where they are defined, bool (H, W). `SoftMasks` says of what.

    An annotator counts where the pixel is none of the ignored values in the file.
    """
    if table is None:
        image, defined = read_measured(files[0], bands=classes)
        scale = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
        fractions = image.astype(np.float32) / np.float32(scale)
        if fractions.min() < 0 or fractions.max() > 1:
            raise DataLayoutError(
                f"{files[0]}: {image.dtype} values from {image.min():g} to {image.max():g}, expected fractions: 0 to "
                "1, or 0 to 255 or 65535 in whole numbers. Write the mask so."
            )
        return fractions, np.ones(image.shape[:2], bool) if defined is None else defined
    places = [table.read(path) for path in files]
    for path, own in zip(files, places, strict=True):
        if own.shape != places[0].shape:
            sizes = f"{own.shape[0]}x{own.shape[1]} pixels, {files[0]} {places[0].shape[0]}x{places[0].shape[1]}"
            raise DataLayoutError(f"{path}: {sizes}. Bring the masks of all annotators to one size.")
    meaning = np.stack(places)
    counted = (meaning != UNDEFINED).sum(axis=0)
    votes = np.stack([(meaning == place).sum(axis=0) for place in range(classes)], axis=-1)
    return (votes / np.maximum(counted, 1)[..., np.newaxis]).astype(np.float32), counted > 0
