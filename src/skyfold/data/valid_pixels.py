"""Pixels that count: where the target is valid and the input is defined.

They are joined here, once, when a data set is opened, so that training, validation and every score read the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyfold.data.cache import fingerprint_of
from skyfold.data.definedness import defined_in, has_undefined
from skyfold.data.masks import resample
from skyfold.files import digest
from skyfold.types import ArraySequence, IntPair, Samples


def with_defined_inputs(samples: Samples, grid: IntPair | None) -> Samples:
    """The same samples, `valid` False where an input is undefined; itself where all inputs are, and without targets.

    grid: (H, W) of the targets, None: `samples.sizes`; each place is defined where the pixel in the middle of its area
    is.
    """
    if samples.targets is None or not has_undefined(samples.inputs):
        return samples
    sizes = [grid] * len(samples) if grid is not None else list(map(tuple, np.asarray(samples.sizes).tolist()))
    return replace(samples, valid=ValidPixels(samples.inputs, samples.valid, sizes))


@dataclass(frozen=True)
class ValidPixels:
    """`valid[i]` bool (H, W) of sizes[i]: what `targets` (None: everything) and `inputs` leave."""

    inputs: ArraySequence
    targets: ArraySequence | None
    sizes: Sequence[IntPair]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> np.ndarray:
        defined = defined_in(self.inputs, index)
        size = self.sizes[index]
        valid = np.ones(size, dtype=bool) if self.targets is None else self.targets[index]
        return valid if defined is None else valid & resample(defined.view(np.uint8), size).astype(bool)

    def fingerprint(self) -> str:
        """Changes with the inputs, with what is valid of the targets, and with the sizes."""
        return digest(fingerprint_of(self.inputs), fingerprint_of(self.targets), repr(self.sizes))
