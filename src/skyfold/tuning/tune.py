"""Search the space of a study file until enough trials are finished; the same call resumes a stopped search."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial

from skyfold.config.files import load_run
from skyfold.config.merging import dotted
from skyfold.config.run import PREDICTION_KEYS, RunConfig
from skyfold.data.dataset import open_dataset
from skyfold.errors import ConfigError
from skyfold.files import file_digest, write_text
from skyfold.store.contents import Contents, require_unchanged
from skyfold.tasks import build_task
from skyfold.tasks.open_run import open_run
from skyfold.training.backend import default_threads, usable_cores
from skyfold.training.run_folds import fit_score
from skyfold.tuning.results import summary, write_best, write_plots, write_table
from skyfold.tuning.search_space import StudyConfig, load_study
from skyfold.tuning.study import FINISHED, FREE_SPACE, FULL, open_study, reason_of
from skyfold.tuning.trial_config import TrialConfigs, check_search_space
from skyfold.tuning.worker import TrialJob, keep_best_only, run_worker, run_worker_processes
from skyfold.workspace import Workspace


def tune(
    path: Path,
    workspace: Workspace,
    *,
    trials: int,
    storage: str | None = None,
    overrides: Sequence[str] = (),
    workers: int = 1,
    worker_command: Sequence[str] = (),
) -> Path:
    """Run the study file `path` until `trials` are finished by all workers together, or its time is up. Returns the
    folder of the study, with `best.yaml` once a trial is complete.

    trials: number of complete and pruned trials, over all calls; storage, overrides: see `open_study` and `load_study`.
    workers: if above 1, the number of processes to start with `worker_command`, which makes this call with one worker.
    ConfigError if the study, a value of its search space, its database or the data do not fit.
    """
    study, changes = load_study(path, overrides)
    configs = TrialConfigs(study, path.parent / study.base, changes)
    check_search_space(configs)
    config = configs.config({})
    folder = workspace.oof(config.data.folder) / "tuning" / study.name
    for fold in study.folds:
        if fold >= config.data.folds.k:
            raise ConfigError(f"{path}: folds: no fold {fold}; the data set has folds 0 to {config.data.folds.k - 1}.")
    dataset = open_dataset(config.data, workspace, parts=("train",))
    _require_same_data(study, folder, dataset.contents)
    score = build_task(config, dataset.competition).validation
    first = configs.params_of_run()
    opened = open_study(
        study,
        folder,
        storage=storage,
        greater_is_better=score.greater_is_better,
        max_epochs=config.training.epochs * len(study.folds) * len(config.training.seeds),
        settings=_settings(config, study, workspace),
        first=first,
        threads=default_threads() if workers == 1 else max(1, usable_cores() // workers),
    )

    def save_best(trial: FrozenTrial) -> None:
        write_best(configs, folder, trial, score=score.name)
        write_table(opened)

    finished = len(opened.trials(*FINISHED))
    if finished:
        print(f"resuming study '{study.name}': {finished} of {trials} trials are finished")
    deadline = time.monotonic() + 60 * study.timeout_minutes if study.timeout_minutes else math.inf
    try:
        if workers > 1:
            run_worker_processes(opened, worker_command, workers, n_trials=trials)
            keep_best_only(opened, save_best)
        else:
            objective = partial(train_trial, configs=configs, workspace=workspace, threads=opened.threads)
            run_worker(opened, objective, n_trials=trials, deadline=deadline, save_best=save_best)
    except StorageInternalError as error:
        reason = reason_of(error)
        remedy = FREE_SPACE if FULL in reason else "Run the same command again to resume."
        raise ConfigError(f"{'--storage' if storage else folder / 'study.db'}: {reason}. {remedy}") from None
    finally:
        with suppress(StorageInternalError):
            write_table(opened)
    write_plots(opened, score=score.name)
    print(summary(opened, score=score.name, n_trials=trials, first_is_run=first is not None))
    finished = len(opened.trials(*FINISHED))
    if finished < trials and time.monotonic() < deadline:
        raise ConfigError(
            f"{finished} of {trials} trials are finished, but no worker is left. Run the same command again to resume."
        )
    if finished < trials:
        print("The time is up. Run the same command again to resume.")
    return folder


def train_trial(job: TrialJob, *, configs: TrialConfigs, workspace: Workspace, threads: int | None = None) -> float:
    """Fit the config of a trial in its folder, or resume its fit from the checkpoint there.

    Returns the mean validation score of the study's folds. Reported steps count epochs over all folds and seeds.
    """
    path, name = job.folder / "config.yaml", f"{configs.study.name}_{job.number}"
    write_text(path, configs.text(job.params, name=name, folder=job.folder, for_trial=True))
    config = load_run(path)
    # A trial resizes no maps, so the images need not be decoded at the competition's size.
    without_filter = {"image": config.images.model_copy(update={"guided_filter": None})}
    run = open_run(config.model_copy(update=without_filter), workspace, parts=("train",))
    _require_same_data(configs.study, job.folder.parent.parent, run.contents)
    fits = [(fold, seed) for fold in sorted(configs.study.folds) for seed in config.training.seeds]

    def on_epoch(fold: int, seed: int, epoch: int, score: float) -> None:
        job.report(fits.index((fold, seed)) * config.training.epochs + epoch, score)

    arrays = run.arrays["train"]
    return fit_score(run.task, arrays, run.folds, job.folder, configs.study.folds, on_epoch, threads=threads)


def _require_same_data(study: StudyConfig, folder: Path, contents: Contents) -> None:
    """OofMismatch where the training data changed since the study in `folder` was begun; else record what they hold."""
    remedy = "Give the study another name, or bring the data back to what they were."
    require_unchanged(folder, contents, since=f"study '{study.name}' was begun", remedy=remedy)
    contents.record(folder)


def _settings(config: RunConfig, study: StudyConfig, workspace: Workspace) -> dict[str, Any]:
    """What the values of trials depend on besides their params, by dotted key."""
    values = dotted(config.stored("name", "data.sample", "data.submissions_per_day", *PREDICTION_KEYS))
    folds = workspace.folds(config.data.folder)
    return {
        **{key: value for key, value in values.items() if key not in study.search},
        "folds": list(study.folds),
        folds.name: file_digest(folds) if folds.is_file() else None,
    }
