"""Fits one network on one fold with one seed; killed at any moment, the same call goes on to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold.config import RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import Rows, prediction_batches, steps_per_epoch, training_batches
from skyfold.data.scene_arrays import SceneArrays, epoch_rows, validation_rows
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.progress import Progress
from skyfold.training import checkpoint, kept_weights
from skyfold.training.fit_files import FitFiles, FitResult
from skyfold.training.history import HistoryRow, draw_history, write_history
from skyfold.training.schedules import learning_rate
from skyfold.training.validation import ValidationScore
from skyfold.types import Split

if TYPE_CHECKING:
    from skyfold.training.network import Network

CHECKPOINT_SECONDS = 10.0  # a checkpoint of Adam and four copies of the weights takes up to a second to reach the disk


def fit_fold(
    network: Network,
    *,
    arrays: Rows | SceneArrays,
    split: Split,
    score: ValidationScore,
    scaling: str,
    augmenter: Augmenter,
    folder: Path,
    fold: int,
    seed: int,
    stamp: str,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FitResult:
    """Fit on `split.train`, validate on `split.valid` after each epoch, and write `folder/fold<f>_seed<s>.*`.

    The score of the result is that of the weights it ends with.
    .csv and .png: the history; .json: the result; .weights.h5 last of all: where it is, the fit is finished (see
    `finished_fit`). .checkpoint.npz: while it runs, after an epoch, at most every `checkpoint_seconds`.
    ConfigError where the loss stops being a number.
    """
    config = network.config
    paths = FitFiles(folder, fold, seed)
    own_seed = derived_seed("fit", seed, fold)
    accumulate = config.training.accumulate
    _, learned_rows = epoch_rows(arrays, split.train, seed=own_seed, epoch=0)
    steps = steps_per_epoch(len(learned_rows), network.batch_size, accumulate)
    checked, checked_rows = validation_rows(arrays, split.valid)
    history: list[HistoryRow] = []
    kept: list[kept_weights.Weights] = []
    network.restart(seed=own_seed)
    found = checkpoint.read(paths.checkpoint, stamp=stamp)
    if found is not None:
        network.set_state(found.state)
        history, kept = found.history, found.kept
    if on_epoch is not None:
        for done in history:
            on_epoch(int(done["epoch"]), done["val_score"])
    written = time.monotonic()
    label = f"{config.name} fold {fold}" + (f" seed {seed}" if len(config.training.seeds) > 1 else "")
    with Progress(label, (config.training.epochs - len(history)) * steps, unit="steps") as progress:
        while not _ended(history, config, score.greater_is_better):
            epoch = len(history)
            started = time.monotonic()
            loss, rate = math.nan, 0.0
            network.begin_epoch(seed=derived_seed(own_seed, epoch))
            learned, learned_rows = epoch_rows(arrays, split.train, seed=own_seed, epoch=epoch)
            batches = training_batches(
                learned,
                learned_rows,
                batch_size=network.batch_size,
                scaling=scaling,
                presence=config.target == "presence",
                augmenter=augmenter,
                seed=seed,
                epoch=epoch,
                mix=config.mix,
                accumulate=accumulate,
            )
            for step, batch in enumerate(batches, start=epoch * steps):
                assert batch.targets is not None
                rate = learning_rate(
                    config.schedule,
                    base=config.optimizer.learning_rate,
                    step=step // accumulate,
                    steps_per_epoch=steps // accumulate,
                    epochs=config.training.epochs,
                    scores=[row["val_score"] for row in history],
                    greater_is_better=score.greater_is_better,
                )
                loss = network.train(batch.inputs, batch.targets, learning_rate=rate)
                progress.advance(1, note=f"loss {loss:.4f}")
            if not math.isfinite(loss):
                raise ConfigError(
                    f"{label}: the loss is {loss} in epoch {epoch + 1}. Lower optimizer.learning_rate or set "
                    "optimizer.clip_norm."
                )
            trained = time.monotonic()
            val_loss, val_score, weights = _validated(network, checked, checked_rows, score, scaling)
            row: HistoryRow = {
                "epoch": epoch + 1,
                "loss": loss,
                "val_loss": val_loss,
                "val_score": val_score,
                "lr": rate,
                "seconds": time.monotonic() - started,
                "images_per_second": steps * network.batch_size / (trained - started),
            }
            history = [*history, row]
            is_best = _best_epoch(history, score.greater_is_better) == epoch
            kept = kept_weights.keep(kept, weights, config.training, is_best=is_best)
            progress.advance(0, note=f"loss {loss:.4f}, validation {score.name} {val_score:.4f}")
            if time.monotonic() - written >= checkpoint_seconds:
                checkpoint.write(
                    paths.checkpoint, checkpoint.Checkpoint(stamp, len(history), history, network.state(), kept)
                )
                written = time.monotonic()
            if on_epoch is not None:
                on_epoch(epoch + 1, val_score)
    network.set_weights(kept_weights.mean_weights(kept))
    ended_with = _best_epoch(history, score.greater_is_better) if config.training.keep == "best" else len(history) - 1
    final_score = history[ended_with]["val_score"]
    if config.training.keep == "average":
        _, final_score = _measured(network, checked, checked_rows, score, scaling)
    paths.unfinish()
    write_history(paths.history, history)
    draw_history(paths.curves, history, title=label, score=score.name)
    return paths.finish(
        network.model.save_weights,
        stamp=stamp,
        score=final_score,
        best_epoch=ended_with + 1,
        epochs=len(history),
        seconds=sum(row["seconds"] for row in history),
    )


def _validated(
    network: Network, arrays: Rows, rows: np.ndarray, score: ValidationScore, scaling: str
) -> tuple[float, float, list[np.ndarray]]:
    """Mean loss and score of the weights that would predict now, and these weights; training goes on from its own."""
    own = network.weights()
    weights = network.averaged_weights()
    network.set_weights(weights)
    loss, found = _measured(network, arrays, rows, score, scaling)
    network.set_weights(own)
    return loss, found, weights


def _measured(
    network: Network, arrays: Rows, rows: np.ndarray, score: ValidationScore, scaling: str
) -> tuple[float, float]:
    """Mean loss and score of the weights that the network has."""
    presence = network.config.target == "presence"
    total = 0.0
    collected = score.begin()
    for batch in prediction_batches(arrays, rows, batch_size=network.batch_size, scaling=scaling, presence=presence):
        assert batch.targets is not None
        logits = network.logits(batch.inputs)[: batch.count]
        targets = batch.targets[: batch.count]
        total += network.loss(targets, logits) * batch.count
        collected.add(targets, logits)
    return total / len(rows), collected.score()


def _ended(history: list[HistoryRow], config: RunConfig, greater_is_better: bool) -> bool:
    if len(history) >= config.training.epochs:
        return True
    if config.training.patience is None or not history:
        return False
    waited = len(history) - 1 - _best_epoch(history, greater_is_better)
    return waited >= config.training.patience


def _best_epoch(history: list[HistoryRow], greater_is_better: bool) -> int:
    """Index of the first epoch with the best validation score; one that is not a number is never the best."""
    scores = [row["val_score"] if greater_is_better else -row["val_score"] for row in history]
    comparable = [-math.inf if math.isnan(value) else value for value in scores]
    return comparable.index(max(comparable))
