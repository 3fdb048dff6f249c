"""Reserve the next trial of a study for a worker, and put the trials of dead workers back into the queue.

A worker holds a lock on a file of its own. The operating system releases it when the process ends, so that a killed
worker on this host is noticed at once; one on another host is dead when its trial has had no heartbeat for a while. Its
trial keeps its number, its params and the scores it has reported, so it is neither lost nor counted twice.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from skyfold.tuning.search_space import active_params
from skyfold.tuning.study import FINISHED, OpenStudy

MAX_DEATHS = 3  # of workers at the same epoch of a trial: then the trial is the cause


def reserve_trial(opened: OpenStudy, worker: str, *, n_trials: int) -> optuna.Trial | None:
    """The next trial for `worker` (see `worker_lock`), a requeued one first, with all params drawn; None if finished
    and running trials make up `n_trials`. Prints a line for each trial whose worker died."""
    with opened.lock():
        _requeue_orphans(opened)
        if len(opened.trials(*FINISHED, TrialState.RUNNING)) >= n_trials:
            return None
        trial = opened.study.ask()
        opened.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("worker", worker)
        search = opened.config.search
        active_params(search, lambda key: search[key].suggest(trial, key))
        return trial


def requeue(opened: OpenStudy, trial: optuna.Trial) -> None:
    """Put an interrupted trial back into the queue."""
    with opened.lock():
        if opened.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            opened.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


@contextmanager
def worker_lock(folder: Path) -> Iterator[str]:
    """Hold the lock of a new worker of the study in `folder`; yields the worker's name."""
    name = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path = _lock_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield name
    path.unlink(missing_ok=True)


def _requeue_orphans(opened: OpenStudy) -> None:
    """Put the running trials of dead workers back, or fail those that killed several; needs the study's lock."""
    storage = opened.storage
    stale = storage._get_stale_trial_ids(opened.study._study_id)
    for trial in opened.trials(TrialState.RUNNING):
        if _has_living_worker(opened.folder, trial, stale):
            continue
        epoch = len(trial.intermediate_values)
        deaths = [*trial.user_attrs.get("deaths", []), epoch]
        storage.set_trial_user_attr(trial._trial_id, "deaths", deaths)
        if deaths.count(epoch) < MAX_DEATHS:
            storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            print(f"trial {trial.number}: its worker died; requeued after epoch {epoch}")
        else:
            reason = f"its worker died {MAX_DEATHS} times after epoch {epoch} (out of memory?)"
            storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            print(f"trial {trial.number}: failed, {reason}")


def _has_living_worker(folder: Path, trial: FrozenTrial, stale: list[int]) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:  # the study's lock is ours, so its worker died before it could write its name
        return False
    if not worker.startswith(f"{_host()}-"):
        return trial._trial_id not in stale
    path = _lock_path(folder, worker)
    try:
        with FileLock(path, blocking=False):
            pass
    except Timeout:
        return True
    path.unlink(missing_ok=True)
    return False


def _lock_path(folder: Path, worker: str) -> Path:
    return folder / "workers" / f"{worker}.lock"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
