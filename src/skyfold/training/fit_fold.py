"""Training loop of one network on one fold with one seed; a killed fit resumes to the same weights, bit for bit."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from skyfold.data.augment import Augmenter
from skyfold.data.batches import Rows, prediction_batches, steps_per_epoch, training_batches
from skyfold.data.rescale import Rescale
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.files import digest
from skyfold.loggers import Fit, Loggers
from skyfold.memory import peak_memory
from skyfold.progress import Progress
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles, FitResult, Fold, HistoryRow, draw_history, write_history
from skyfold.training import backend, weight_averaging
from skyfold.training.checkpoint import Checkpoint, CheckpointFile
from skyfold.training.early_stopping import best_epoch, has_ended, is_validated, validated
from skyfold.training.environment import environment
from skyfold.training.network import Network
from skyfold.training.objective import FitArrays
from skyfold.training.schedules import learning_rate
from skyfold.types import Split

SAMPLES = 4  # of the validation rows, whose predictions are drawn for loggers


@dataclass(frozen=True)
class Unvalidated:
    """Of a fit on all samples: epochs to train, and the score that is expected of it, that of the folds."""

    epochs: int
    score: float


def fit_fold(
    network: Network,
    *,
    arrays: FitArrays,
    split: Split,
    folder: Path,
    fold: Fold,
    seed: int,
    fingerprint: Fingerprint,
    rescale: Rescale | None = None,
    start: Callable[[], weight_averaging.Weights] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    unvalidated: Unvalidated | None = None,
    loggers: Loggers | None = None,
) -> FitResult:
    """Fit on `split.train`, validate on `split.valid` as `training.validation_freq` says, and write
    `folder/fold<f>_seed<s>.*`.

    rescale      of the inputs, stored with the result; None: stored bytes are read
    start        callable returning initial weights, called after re-initialisation; None: initialised by the seed
    on_epoch     called with epoch (from 1) and score of every validated epoch, those before a resume too
    unvalidated  of a fit without validation rows: it trains for so many epochs on the schedule of the config, and keeps
                 the last weights, with `checkpoint: swa` their mean
    loggers      follow the fit

    Files: .csv and .png, the training history; .json, the result; .weights.h5, written last: where it exists, the fit
    is finished (see `FitFiles`); .checkpoint.npz, while the fit runs (see `CheckpointFile`).

    Returns the score of the weights that are stored. ConfigError where the loss becomes NaN or infinite.
    """
    config, training, objective = network.config, network.config.training, network.objective
    loggers = loggers or Loggers()
    if unvalidated is not None:
        checkpoint = "last" if training.checkpoint == "best" else training.checkpoint
        changes = {"epochs": unvalidated.epochs, "patience": None, "checkpoint": checkpoint}
        training = training.model_copy(update=changes)
    score = objective.validation
    paths = FitFiles(folder, fold, seed)
    own_seed = derived_seed("fit", seed, fold)
    _, of_epoch = arrays.epoch_rows(split.train, seed=own_seed, epoch=0)
    steps = steps_per_epoch(len(of_epoch), network.batch_size, training.gradient_accumulation_steps)
    checked = None if unvalidated is not None else arrays.validation_rows(split.valid)
    height, width, bands = network.input_shape
    planes = objective.target_planes
    augmenter = Augmenter(config.augment, size=(height, width), bands=bands, planes=planes, rescaled=bool(rescale))
    history: list[HistoryRow] = []
    kept: list[weight_averaging.Weights] = []
    network.restart(seed=own_seed)
    # Scores of two metrics in one history would not be comparable, although the weights do not depend on the metric.
    until = [str(unvalidated.epochs)] if unvalidated is not None else []
    key = digest(fingerprint.digest(), score.name, objective.validation_source, *until)
    saved = CheckpointFile(paths.checkpoint, key)
    found = saved.read()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    if found is not None:
        network.set_state(found.state)
        history, kept, began = found.history, found.kept, found.started
    elif start is not None:
        network.set_weights(start())
    if on_epoch is not None:
        for epoch in validated(history, training):
            on_epoch(epoch + 1, history[epoch]["val_score"])
    made_with = environment(
        folder, precision=training.mixed_precision, deterministic=backend.is_deterministic(training.deterministic)
    )
    if loggers:
        fit = Fit(
            run=config.name,
            data=config.data.folder,
            name=paths.name,
            folder=folder.parent,
            config=config.stored(),
            environment=made_with,
            metric=score.name,
            started=began,
            resumed=bool(history),
        )
        loggers.start_fit(fit, history)
    what = "full fit" if unvalidated is not None else f"fold {fold}"
    label = f"{config.name} {what}" + (f" seed {seed}" if len(training.seeds) > 1 else "")
    with Progress(label, (training.epochs - len(history)) * steps, unit="steps") as progress:
        while not has_ended(history, training, greater_is_better=score.greater_is_better):
            epoch = len(history)
            started = time.monotonic()
            where = f"epoch {epoch + 1}/{training.epochs}"
            progress.advance(0, note=where)
            network.begin_epoch(epoch, seed=derived_seed(own_seed, epoch))
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
                rescale=rescale,
            )
            loss = rate = math.nan
            for step, batch in enumerate(batches, start=epoch * steps):
                assert batch.targets is not None
                rate = learning_rate(config, step, steps_per_epoch=steps)
                loss = network.train(batch.inputs, batch.targets, learning_rate=rate)
                progress.advance(1, note=f"{where}, loss {loss:.4f}")
            if not math.isfinite(loss):
                raise ConfigError(
                    f"{label}: the loss is {loss} in epoch {epoch + 1}. Lower optimizer.learning_rate or set "
                    "optimizer.clip_norm."
                )
            trained = time.monotonic()
            row: HistoryRow = {"epoch": epoch + 1, "loss": loss, "val_loss": math.nan, "val_score": math.nan}
            history = [*history, row]
            looked = checked is not None and is_validated(epoch, training)
            if looked or training.checkpoint == "swa" or epoch + 1 == training.epochs:
                weights = network.averaged_weights()
                if checked is not None and looked:
                    row["val_loss"], row["val_score"] = _measured(network, weights, *checked, rescale, label)
                    note = f"{where}, loss {loss:.4f}, validation {score.name} {row['val_score']:.4f}"
                    progress.advance(0, note=note)
                best = looked and epoch == best_epoch(history, training, greater_is_better=score.greater_is_better)
                kept = weight_averaging.keep(kept, weights, training, is_best=best)
            row["lr"] = rate
            row["seconds"] = time.monotonic() - started
            row["images_per_second"] = steps * network.batch_size / (trained - started)
            if saved.is_due():
                saved.write(Checkpoint(history, network.state(), kept, began))
            loggers.log_epoch(row)
            if on_epoch is not None and looked:
                on_epoch(epoch + 1, row["val_score"])
    if history:
        network.set_weights(weight_averaging.mean_weights(kept))
    ended_with = len(history) - 1
    if training.checkpoint == "best" and history:
        ended_with = best_epoch(history, training, greater_is_better=score.greater_is_better)
    if unvalidated is not None:
        final_score = unvalidated.score
    elif history and training.checkpoint != "swa":
        final_score = history[ended_with]["val_score"]
    else:
        assert checked is not None
        _, final_score = _measured(network, network.weights(), *checked, rescale, label)
    paths.weights.unlink(missing_ok=True)  # with the history of another fit they would pass for finished
    write_history(paths.history, history)
    draw_history(paths.curves, history, title=label, score=score.name)
    result = paths.finish(
        network.model.save_weights,
        fingerprint=fingerprint,
        score=final_score,
        best_epoch=ended_with + 1,
        epochs=len(history),
        seconds=sum(row["seconds"] for row in history),
        metric=score.name,
        metric_source=objective.validation_source,
        started=began,
        images_per_second=statistics.harmonic_mean([row["images_per_second"] for row in history]) if history else None,
        peak_memory_mb=peak_memory(),
        environment=made_with,
        **({} if rescale is None else {"rescale": asdict(rescale)}),
    )
    loggers.end_fit(paths.told(result), lambda: {} if checked is None else _drawn(network, *checked, rescale))
    return result


def _measured(
    network: Network,
    weights: weight_averaging.Weights,
    arrays: Rows,
    rows: np.ndarray,
    rescale: Rescale | None,
    label: str,
) -> tuple[float, float]:
    """Mean loss and score of `weights` on `rows`; the network keeps its own weights.

    ConfigError, with the `label` of the fit, where the network answers with NaN or infinity.
    """
    objective = network.objective
    own = network.weights()
    network.set_weights(weights)
    total, stats = 0.0, []
    for batch in prediction_batches(
        arrays,
        rows,
        batch_size=network.batch_size,
        normalization=objective.normalization,
        labels=objective.labels,
        rescale=rescale,
    ):
        assert batch.targets is not None
        logits = network.logits(batch.inputs)[: batch.count]
        if not np.isfinite(logits).all():
            raise ConfigError(
                f"{label}: the network predicts NaN or infinity for samples of the validation fold. Lower "
                "optimizer.learning_rate or set optimizer.clip_norm."
            )
        targets = batch.targets[: batch.count]
        total += network.loss(targets, logits) * batch.count
        stats.append(objective.validation.stats(targets, logits))
    network.set_weights(own)
    return total / len(rows), objective.validation.score(np.concatenate(stats))


def _drawn(network: Network, arrays: Rows, rows: np.ndarray, rescale: Rescale | None) -> dict[str, bytes]:
    """Pictures of SAMPLES of `rows`, spread evenly over them, as the network predicts them now, by name."""
    objective, found = network.objective, {}
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLES).astype(int))]
    ids = getattr(arrays, "ids", None)  # crops of scenes have none
    batches = prediction_batches(
        arrays,
        rows,
        batch_size=network.batch_size,
        normalization=objective.normalization,
        labels=objective.labels,
        rescale=rescale,
    )
    for batch in batches:
        assert batch.targets is not None
        for row, target, output in zip(batch.rows, batch.targets, network.logits(batch.inputs), strict=False):
            name = f"sample{row}" if ids is None else str(ids[row]).replace("/", "_")
            if picture := objective.picture(arrays.inputs[row], target, output, name):
                found[name] = picture
    return found
