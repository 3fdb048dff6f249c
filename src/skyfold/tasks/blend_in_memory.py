"""A blend that is not stored: combined from runs or arrays in memory, and evaluated like one that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skyfold.config.blend import BlendConfig, PostprocessConfig
from skyfold.data.dataset import Dataset
from skyfold.postprocess.evaluate import Evaluation
from skyfold.store.alignment import require_aligned
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.runs import RunInfo, StoredRun
from skyfold.tasks import task_class
from skyfold.tasks._fit_combination import blended, fit_combination
from skyfold.tasks._mask_blend import cross_fitted
from skyfold.tasks.stored_blend import Blend, config_json, note_unknown_folds


def blend_in_memory(
    config: BlendConfig, runs: Sequence[StoredRun], dataset: Dataset, gate: StoredRun | None = None
) -> Blend:
    """Combine `runs`, one a member of `config`, as `Task.blend` does; rows are computed when they are read.

    There are test rows where every member has some. ConfigError and OofMismatch as `Task.blend`.
    """
    task_class(config.task).check_blend(config, dataset.competition)
    note_unknown_folds([*runs, *([gate] if gate else [])])
    if any(run.test is None for run in runs):
        runs = [replace(run, test=None) for run in runs]
    require_aligned(runs, gate, dataset.competition.grid, any_classes=config.merge is not None)
    fitted = fit_combination(config, runs, dataset)
    tests = [run.test for run in runs if run.test is not None]
    info = RunInfo(
        name=config.name,
        kind="blend",
        task=config.task,
        classes=dataset.competition.classes,
        unit=runs[0].info.unit,
        config=config_json(config),
        fingerprint=Fingerprint(folds=dataset.folds.hash()),
    )
    oof = blended(fitted.whole, [run.oof for run in runs])
    stored = StoredRun(Path(config.name), info, oof, blended(fitted.whole, tests) if tests else None)
    return Blend(config, dataset, runs, gate, fitted, stored)


def evaluate_in_memory(blend: Blend, post: PostprocessConfig) -> Evaluation:
    """Evaluation of a blend without a gate, combination and post-processing chosen without the fold that is scored."""
    return cross_fitted(replace(blend, config=blend.config.model_copy(update={"postprocess": post})))[1]
