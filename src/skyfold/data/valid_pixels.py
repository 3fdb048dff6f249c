"""Pixels that count: where the target is valid and the input is defined.

They are joined here, once, when a data set is opened, so that training, validation and every score read the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skyfold.data.cache import fingerprint_of
from skyfold.data.definedness import defined_in, has_undefined
from skyfold.data.masks import resample
from skyfold.files import digest
from skyfold.types import ArraySequence, IntPair, Samples


def with_defined_inputs(samples: Samples, grid: IntPair) -> Samples:
    """The same samples, `valid` False where an input is undefined; itself where all inputs are, and without targets.

    grid: (H, W) of the targets, each place being defined where the pixel in the middle of its area is.
    """
    if samples.targets is None or not has_undefined(samples.inputs):
        return samples
    return replace(samples, valid=ValidPixels(samples.inputs, samples.valid, grid))


@dataclass(frozen=True)
class ValidPixels:
    """`valid[i]` bool (H, W) on `grid`: what `targets` (None: everything) and `inputs` leave."""

    inputs: ArraySequence
    targets: ArraySequence | None
    grid: IntPair

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> np.ndarray:
        defined = defined_in(self.inputs, index)
        valid = np.ones(self.grid, dtype=bool) if self.targets is None else self.targets[index]
        return valid if defined is None else valid & resample(defined.view(np.uint8), self.grid).astype(bool)

    def fingerprint(self) -> str:
        """Changes with the inputs, with what is valid of the targets, and with the grid."""
        return digest(fingerprint_of(self.inputs), fingerprint_of(self.targets), repr(self.grid))
