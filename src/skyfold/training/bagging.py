"""Bagging: bootstrap samples of the training set, another one for each fold and seed (Breiman 1996)."""

from __future__ import annotations

import numpy as np

from skyfold.data.seeding import derived_seed
from skyfold.store.fits import Fold
from skyfold.types import Split


def bootstrapped(split: Split, *, seed: int, fold: Fold) -> Split:
    """As many training rows as before, drawn with replacement by (seed, fold), sorted; the validation rows stay.

    About 63 % of the rows are drawn. A row drawn twice is seen twice per epoch, augmented alike.
    """
    rng = np.random.default_rng(derived_seed("bootstrap", seed, fold))
    return Split(train=np.sort(rng.choice(split.train, size=len(split.train))), valid=split.valid)
