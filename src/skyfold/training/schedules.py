"""Learning-rate schedules: constant or cosine, after a linear warm-up."""

from __future__ import annotations

import math

from skyfold.config.run import RunConfig


def learning_rate(config: RunConfig, step: int, *, steps_per_epoch: int) -> float:
    """The learning rate of training step `step`, counted from 0 over all epochs.

    steps_per_epoch: batches, whether the optimizer steps after each or not; batches of one accumulated gradient
    (`training.gradient_accumulation_steps`) have the same rate. Warm-up: optimizer step i of w has the rate
    `optimizer.learning_rate` x (i + 1) / w. Then "constant", or "cosine" (Loshchilov and Hutter 2017, "SGDR"): half a
    cosine wave from the full rate to `schedule.floor` times it, at the last step.
    """
    schedule, base = config.schedule, config.optimizer.learning_rate
    accumulated = config.training.gradient_accumulation_steps
    step, steps_per_epoch = step // accumulated, steps_per_epoch // accumulated
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule.name == "constant":
        return base
    total = config.training.epochs * steps_per_epoch
    progress = min((step - warmup) / max(total - warmup - 1, 1), 1.0)
    return base * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress)))
