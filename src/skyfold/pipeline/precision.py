"""How much the masks of trained runs differ in bfloat16, which `skyfold predict --precision bfloat16` computes in."""

from __future__ import annotations

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.models import RuleFamily, family_of
from skyfold.progress import note
from skyfold.store.fits import FitFiles
from skyfold.store.runs import read_run
from skyfold.tasks import build_task
from skyfold.training import backend
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.workspace import Workspace

IMAGES = 8  # of fold 0, evenly spread
MOST = 0.005  # share of the pixels


def note_differences(run: RunConfig, dataset: Dataset, workspace: Workspace) -> None:
    """Note where the out-of-fold masks of `run`, at probability 0.5, differ by more than `MOST` in bfloat16."""
    try:
        share = mask_difference(run, dataset, workspace)
    except ConfigError as error:  # of a backend that is missing here, say: packing needs none
        note(f"run '{run.name}': not compared with bfloat16. {error}")
        return
    if share is not None and share > MOST:
        note(
            f"run '{run.name}': in bfloat16 {share:.2%} of the pixels of its masks differ. Predict with this bundle in "
            "the precision of training: leave out --precision."
        )


def mask_difference(run: RunConfig, dataset: Dataset, workspace: Workspace) -> float | None:
    """Share of the pixels in which masks of `run` in bfloat16 differ from those that are stored, 0 to 1.

    None where it has no such masks: of other tasks, imported, of families without training, trained in bfloat16, of
    scenes, or without a fit of fold 0.
    """
    config = run.in_precision("bfloat16")
    task = build_task(config, dataset.competition)
    if not task.MASKS or run.imported or isinstance(family_of(run.model), RuleFamily) or config == run:
        return None
    if run.images.crop is not None:
        return None
    backend.require()
    folder = workspace.run(run.data.folder, run.name)
    stored = read_run(folder, dataset.folds)
    samples = of_classes(dataset.train, dataset.competition.classes, task.classes)
    arrays = task.arrays(samples, "train", workspace.cache(run.data.folder))
    trainer = FoldTrainer(task, arrays, folder / "models", stored.info.fingerprint)
    threads = stored.info.fingerprint.threads
    trainer.threads = int(threads) if threads else None
    made_with = stored.info.fingerprint.of("folds")
    found = [FitFiles(folder / "models", 0, seed).result(made_with) for seed in run.training.seeds]
    fits = [fit for fit in found if fit is not None]
    if not fits:
        return None
    rows = np.flatnonzero(dataset.folds.fold == 0)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES).round().astype(int))]
    made = trainer.predicted(arrays, rows, fits)
    differ = [(now > 127) != (stored.oof.values[row] > 127) for row, now in zip(rows.tolist(), made, strict=True)]
    return float(np.concatenate([each.ravel() for each in differ]).mean())
