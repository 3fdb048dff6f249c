"""Which weights a fit ends with: those of its best epoch, of its last one, or the mean of its last ones."""

from __future__ import annotations

import numpy as np

from skyfold.config.training import TrainingConfig

Weights = list[np.ndarray]


def keep(kept: list[Weights], weights: Weights, training: TrainingConfig, *, is_best: bool) -> list[Weights]:
    """What is kept after an epoch that ended with `weights`, of what was kept before it, oldest first.

    To be asked after each epoch that `wants` names. is_best: whether no epoch before had as good a validation score.
    """
    if training.checkpoint == "best":
        return [weights] if is_best else kept
    most = training.swa_epochs if training.checkpoint == "swa" else 1
    return [*kept, weights][-most:]


def wants(training: TrainingConfig, *, validated: bool) -> bool:
    """Whether an epoch's weights may be kept: any takes part in a mean, and a fit ends with a validated one."""
    return validated or training.checkpoint == "swa"


def mean_weights(kept: list[Weights]) -> Weights:
    """The mean of what was kept, added up in float64; BatchNorm's statistics are averaged like the rest."""
    if len(kept) == 1:
        return kept[0]
    return [np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype) for values in zip(*kept, strict=True)]
