"""CutMix: a rectangle of one training image pasted into another, with its masks and valid pixels.

The pasted image and the rectangle depend on the seed of the sample only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from skyfold.config.training import MixConfig
from skyfold.data.seeding import derived_seed

Sample = tuple[np.ndarray, np.ndarray]


def mixed(
    image: np.ndarray,
    target: np.ndarray,
    *,
    config: Sequence[MixConfig],
    seed: int,
    another: Callable[[np.random.Generator], Sample],
) -> Sample:
    """Apply the entries of `config` in order; each pastes with its probability `p`.

    The rectangle keeps its place, lies fully inside the image, and its area is uniform over 0 .. 1 of the image
    (Yun et al. 2019, "CutMix", arXiv:1905.04899; there it is clipped at the border).

    image    uint8 (h, w, C)
    target   uint8 (h, w, K + 1), masks and the plane of valid pixels
    another  draws one more training sample of these shapes, already augmented

    Returns image and target: new arrays where something was pasted, else the arrays given.
    """
    for index, entry in enumerate(config):
        rng = np.random.default_rng(derived_seed("mix", index, seed))
        if rng.random() >= entry.p:
            continue
        other = another(rng)
        side = np.sqrt(rng.random())
        parts = [round(side * length) for length in image.shape[:2]]
        starts = [int(rng.integers(length - part + 1)) for length, part in zip(image.shape, parts, strict=False)]
        place = tuple(slice(start, start + part) for start, part in zip(starts, parts, strict=True))
        image, target = image.copy(), target.copy()
        image[place], target[place] = other[0][place], other[1][place]
    return image, target
