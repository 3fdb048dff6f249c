"""The learning rate of a step, as a function of how far training has come and how it has gone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skyfold.config.training import ScheduleConfig


def learning_rate(
    schedule: ScheduleConfig,
    *,
    base: float,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    scores: Sequence[float] = (),
    validation_freq: int = 1,
    greater_is_better: bool = True,
) -> float:
    """The rate of `step`, counted from 0 over the whole training.

    base: the rate of the optimizer; scores: validation scores so far, one in `validation_freq` epochs, oldest first
    (plateau alone looks at them). Every schedule may begin with a linear warm-up: step i of w has the share
    (i + 1) / w.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule.name == "cosine":
        total = epochs * steps_per_epoch
        share = (step - warmup) / max(total - warmup - 1, 1)
        return base * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))
    if schedule.name == "plateau":
        lowered = plateaus(
            scores, patience=schedule.patience, every=validation_freq, greater_is_better=greater_is_better
        )
        return base * max(schedule.factor**lowered, schedule.floor)
    return base


def plateaus(scores: Sequence[float], *, patience: int, every: int = 1, greater_is_better: bool = True) -> int:
    """How many times `patience` epochs in a row, or more, brought no better score; each time the count begins anew.

    every: the epochs that a score stands for.

    >>> plateaus([0.5, 0.6, 0.6, 0.59, 0.58, 0.57], patience=2), plateaus([0.5, 0.6, 0.7], patience=1)
    (2, 0)
    >>> plateaus([0.5, 0.5, 0.5, 0.5], patience=4, every=3)
    1
    """
    best, waited, lowered = -math.inf, 0, 0
    for score in scores:
        value = score if greater_is_better else -score
        if value > best:
            best, waited = value, 0
            continue
        waited += every
        if waited >= patience:
            waited, lowered = 0, lowered + 1
    return lowered
