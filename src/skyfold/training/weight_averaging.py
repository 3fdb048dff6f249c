"""Weights that a fit stores: of its best epoch, of its last one, or stochastic weight averaging (SWA)."""

from __future__ import annotations

import numpy as np

from skyfold.config.training import TrainingConfig

Weights = list[np.ndarray]


def keep(kept: list[Weights], weights: Weights, training: TrainingConfig, *, is_best: bool) -> list[Weights]:
    """Weights to keep after an epoch that ended with `weights`, given those kept before, oldest first.

    Called after each validated epoch, and with `checkpoint: swa` after every epoch. is_best: whether no epoch before
    had as good a validation score.
    """
    if training.checkpoint == "best":
        return [weights] if is_best else kept
    most = training.swa_epochs if training.checkpoint == "swa" else 1
    return [*kept, weights][-most:]


def mean_weights(kept: list[Weights]) -> Weights:
    """Mean of the kept weights, summed in float64; BatchNorm statistics are averaged like the rest."""
    if len(kept) == 1:
        return kept[0]
    return [np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype) for values in zip(*kept, strict=True)]
