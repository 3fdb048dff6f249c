"""Early stopping: validated epochs, the best epoch, and the end of a fit.

A history has one row per epoch; epochs, as indices into it, are counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from skyfold.config.training import TrainingConfig
from skyfold.store.fits import HistoryRow


def is_validated(epoch: int, training: TrainingConfig) -> bool:
    """Whether `epoch` is validated: every `validation_freq` epochs, and the last."""
    return (epoch + 1) % training.validation_freq == 0 or epoch + 1 == training.epochs


def validated(history: Sequence[HistoryRow], training: TrainingConfig) -> list[int]:
    """The epochs of `history` that were validated."""
    return [epoch for epoch in range(len(history)) if is_validated(epoch, training)]


def best_epoch(history: Sequence[HistoryRow], training: TrainingConfig, *, greater_is_better: bool) -> int:
    """The first of the validated epochs with the best score; one that is not a number is never better."""

    def goodness(epoch: int) -> float:
        score = history[epoch]["val_score"]
        return -math.inf if math.isnan(score) else score if greater_is_better else -score

    return max(validated(history, training), key=goodness)


def has_ended(history: Sequence[HistoryRow], training: TrainingConfig, *, greater_is_better: bool) -> bool:
    """After all epochs, or with a validated one that lies `patience` epochs or more behind the best."""
    last = len(history) - 1
    if last + 1 >= training.epochs:
        return True
    if training.patience is None or last < 0 or not is_validated(last, training):
        return False
    return last - best_epoch(history, training, greater_is_better=greater_is_better) >= training.patience
