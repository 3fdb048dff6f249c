"""Fits one network on one fold with one seed; killed at any moment, the same call goes on to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import Batch, Rows, prediction_batches, steps_per_epoch, training_batches
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.progress import Progress
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles, FitResult
from skyfold.store.training_history import HistoryRow, draw_history, write_history
from skyfold.training import checkpoint, weight_averaging
from skyfold.training.early_stopping import best_epoch, has_ended, is_validated, validated
from skyfold.training.objective import FitArrays, ValidationScore
from skyfold.training.schedules import learning_rate
from skyfold.types import Split

if TYPE_CHECKING:
    from skyfold.training.network import Network

CHECKPOINT_SECONDS = 10.0


def fit_fold(
    network: Network,
    *,
    arrays: FitArrays,
    split: Split,
    augmenter: Augmenter,
    folder: Path,
    fold: int,
    seed: int,
    fingerprint: Fingerprint,
    start: Callable[[], weight_averaging.Weights] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FitResult:
    """Fit on `split.train`, validate on `split.valid` as `training.validation_freq` says, and write
    `folder/fold<f>_seed<s>.*`.

    start: gives the weights it begins with, once the network is begun afresh; None: those drawn by the seed. The score
    of the result is that of the weights it ends with.
    .csv and .png: the history; .json: the result; .weights.h5 last of all: where it is, the fit is finished (see
    `FitFiles`). .checkpoint.npz: while it runs, after an epoch, at most every `checkpoint_seconds`, and less often
    where that would cost more than a twentieth of the time; 0: after each epoch. on_epoch: called with epoch (from 1)
    and score after each one that was validated, those before a stop too. ConfigError where the loss stops being a
    number.
    """
    config, training, objective = network.config, network.config.training, network.objective
    score = objective.validation
    paths = FitFiles(folder, fold, seed)
    own_seed = derived_seed("fit", seed, fold)
    _, of_epoch = arrays.epoch_rows(split.train, seed=own_seed, epoch=0)
    steps = steps_per_epoch(len(of_epoch), network.batch_size, training.gradient_accumulation_steps)
    checked = arrays.validation_rows(split.valid)
    history: list[HistoryRow] = []
    kept: list[weight_averaging.Weights] = []
    network.restart(seed=own_seed)
    found = checkpoint.read(paths.checkpoint, fingerprint=fingerprint.digest())
    if found is None and start is not None:
        network.set_weights(start())
    if found is not None:
        network.set_state(found.state)
        history, kept = found.history, found.kept
    if on_epoch is not None:
        for epoch in validated(history, training):
            on_epoch(epoch + 1, history[epoch]["val_score"])
    pause = checkpoint.Pause(checkpoint_seconds)
    label = f"{config.name} fold {fold}" + (f" seed {seed}" if len(training.seeds) > 1 else "")
    with Progress(label, (training.epochs - len(history)) * steps, unit="steps") as progress:
        while not has_ended(history, training, greater_is_better=score.greater_is_better):
            epoch = len(history)
            started = time.monotonic()
            where = f"epoch {epoch + 1}/{training.epochs}"
            progress.advance(0, note=where)
            network.begin_epoch(seed=derived_seed(own_seed, epoch))
            batches = training_batches(
                *arrays.epoch_rows(split.train, seed=own_seed, epoch=epoch),
                batch_size=network.batch_size,
                normalization=objective.normalization,
                labels=objective.labels,
                augmenter=augmenter,
                seed=seed,
                epoch=epoch,
                mix=config.mix,
                gradient_accumulation_steps=training.gradient_accumulation_steps,
            )
            rates = _rates(config, epoch, steps, history, score)
            loss = _trained(network, batches, rates, progress, where)
            if not math.isfinite(loss):
                raise ConfigError(
                    f"{label}: the loss is {loss} in epoch {epoch + 1}. Lower optimizer.learning_rate or set "
                    "optimizer.clip_norm."
                )
            trained = time.monotonic()
            row: HistoryRow = {"epoch": epoch + 1, "loss": loss, "val_loss": math.nan, "val_score": math.nan}
            looked = is_validated(epoch, training)
            if weight_averaging.wants(training, validated=looked):
                weights = network.averaged_weights()
                if looked:
                    row["val_loss"], row["val_score"] = _validated(network, weights, *checked)
                    progress.advance(
                        0, note=f"{where}, loss {loss:.4f}, validation {score.name} {row['val_score']:.4f}"
                    )
                is_best = looked and epoch == best_epoch(
                    [*history, row], training, greater_is_better=score.greater_is_better
                )
                kept = weight_averaging.keep(kept, weights, training, is_best=is_best)
            row["lr"] = rates[-1]
            row["seconds"] = time.monotonic() - started
            row["images_per_second"] = steps * network.batch_size / (trained - started)
            history = [*history, row]
            if pause.is_over():
                written = time.monotonic()
                checkpoint.write(
                    paths.checkpoint,
                    checkpoint.Checkpoint(fingerprint.digest(), len(history), history, network.state(), kept),
                )
                pause.written(started=written)
            if on_epoch is not None and looked:
                on_epoch(epoch + 1, row["val_score"])
    if history:
        network.set_weights(weight_averaging.mean_weights(kept))
    ended_with = len(history) - 1
    if training.checkpoint == "best" and history:
        ended_with = best_epoch(history, training, greater_is_better=score.greater_is_better)
    if history and training.checkpoint != "swa":
        final_score = history[ended_with]["val_score"]
    else:
        _, final_score = _measured(network, *checked)
    write_history(paths.history, history)
    draw_history(paths.curves, history, title=label, score=score.name)
    return paths.finish(
        network.model.save_weights,
        fingerprint=fingerprint,
        score=final_score,
        best_epoch=ended_with + 1,
        epochs=len(history),
        seconds=sum(row["seconds"] for row in history),
    )


def _rates(config: RunConfig, epoch: int, steps: int, history: list[HistoryRow], score: ValidationScore) -> list[float]:
    """The learning rate of each step of `epoch`; the same for all batches whose gradients are gathered."""
    gradient_accumulation_steps = config.training.gradient_accumulation_steps
    scores = [history[done]["val_score"] for done in validated(history, config.training)]
    return [
        learning_rate(
            config.schedule,
            base=config.optimizer.learning_rate,
            step=step // gradient_accumulation_steps,
            steps_per_epoch=steps // gradient_accumulation_steps,
            epochs=config.training.epochs,
            scores=scores,
            validation_freq=config.training.validation_freq,
            greater_is_better=score.greater_is_better,
        )
        for step in range(epoch * steps, (epoch + 1) * steps)
    ]


def _trained(network: Network, batches: Iterator[Batch], rates: list[float], progress: Progress, where: str) -> float:
    """Train on the batches of an epoch. Returns their mean loss."""
    loss = math.nan
    for batch, rate in zip(batches, rates, strict=True):
        assert batch.targets is not None
        loss = network.train(batch.inputs, batch.targets, learning_rate=rate)
        progress.advance(1, note=f"{where}, loss {loss:.4f}")
    return loss


def _validated(
    network: Network, weights: weight_averaging.Weights, arrays: Rows, rows: np.ndarray
) -> tuple[float, float]:
    """Mean loss and score of `weights`; the network keeps its own."""
    own = network.weights()
    network.set_weights(weights)
    measured = _measured(network, arrays, rows)
    network.set_weights(own)
    return measured


def _measured(network: Network, arrays: Rows, rows: np.ndarray) -> tuple[float, float]:
    """Mean loss and score of the weights that the network has."""
    objective = network.objective
    total, stats = 0.0, []
    for batch in prediction_batches(
        arrays,
        rows,
        batch_size=network.batch_size,
        normalization=objective.normalization,
        labels=objective.labels,
    ):
        assert batch.targets is not None
        logits = network.logits(batch.inputs)[: batch.count]
        targets = batch.targets[: batch.count]
        total += network.loss(targets, logits) * batch.count
        stats.append(objective.validation.stats(targets, logits))
    return total / len(rows), objective.validation.score(np.concatenate(stats))
