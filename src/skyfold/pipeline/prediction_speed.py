"""Measure on this machine how long a run takes to predict an image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset
from skyfold.store.fits import FitResult
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.workspace import Workspace

HANDFUL = 8  # images that are predicted, or one batch where it has more


@dataclass(frozen=True)
class Speed:
    """Seconds an image: reading: to decode it; fit: to predict it with one fit, or with a family that has none."""

    reading: float
    fit: float


def speed_of(config: RunConfig, fits: Sequence[FitResult], dataset: Dataset, workspace: Workspace) -> Speed:
    """Predict a handful of images of `dataset`, of its test part where it has one, with the first of `fits`.

    The network is built and traced, and weights are loaded, before or beside what counts: they take as long for one
    image as for many.
    """
    part = "test" if dataset.test is not None else "train"
    samples, folder = dataset.samples[part], workspace.run(config.data.folder, config.name)
    task, fingerprint = build_task(config, dataset.competition), read_info(folder).fingerprint
    arrays = task.arrays(samples, part, workspace.cache(config.data.folder))
    trainer = FoldTrainer(task, arrays, folder / "models", fingerprint)
    trainer.threads = int(fingerprint.threads) if fingerprint.threads else None
    rows = np.arange(min(len(samples), max(HANDFUL, config.training.batch_size)))

    def predict(work: Path) -> None:
        store = RowStore.open_or_create(
            work, ids=samples.ids, shape=task.row_shape(arrays), dtype=task.dtype, fingerprint="speed"
        )
        trainer.predict(arrays, rows, store, list(fits[:1]), label=config.name)

    with TemporaryDirectory(prefix="skyfold-") as work:
        predict(Path(work) / "first")  # traces
        loading = _seconds(lambda: fits[0].load_into(trainer.network.model)) if fits else 0.0
        predicting = _seconds(lambda: predict(Path(work) / "second"))
    reading = _seconds(lambda: [samples.inputs[row] for row in rows.tolist()])
    return Speed(reading / len(rows), max(predicting - loading, 0.0) / len(rows))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
