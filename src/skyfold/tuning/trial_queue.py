"""Which trial a worker does next: one that a dead worker left, else a new one, until enough are finished.

A trial whose worker died goes back into the queue with its number, its params and the scores it had reported, so that
it is neither lost nor counted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from skyfold.tuning import liveness
from skyfold.tuning.file_lock import exclusive
from skyfold.tuning.search_space import Categorical, FloatRange, Parameter, active, in_order
from skyfold.tuning.study import OpenStudy

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_DEATHS = 3  # of workers at the same epoch of a trial: then it is the trial that kills them


@dataclass(frozen=True)
class Count:
    """Trials of a study: finished ones are complete or pruned; failed ones do not count towards those wanted."""

    finished: int
    running: int
    waiting: int


def count(trials: list[FrozenTrial]) -> Count:
    states = [trial.state for trial in trials]
    return Count(
        finished=sum(state in FINISHED for state in states),
        running=states.count(TrialState.RUNNING),
        waiting=states.count(TrialState.WAITING),
    )


def take(opened: OpenStudy, worker: liveness.Worker, *, wanted: int, say: Callable[[str], None]) -> optuna.Trial | None:
    """The next trial, with all its params drawn; None while those that run, and live, make up the number wanted."""
    study = opened.study
    with exclusive(opened.lock):
        requeue_dead(opened, say)
        now = count(study.get_trials(deepcopy=False))
        if now.finished + now.running >= wanted:
            return None
        trial = study.ask()
        trial.set_user_attr("worker", worker.name)
        search = opened.config.search
        params: dict[str, object] = {}
        for key in in_order(search):
            if active(search, key, params):
                params[key] = _draw(trial, key, search[key])
        return trial


def put_back(opened: OpenStudy, trial: optuna.Trial) -> None:
    """Return a trial that was interrupted to the queue."""
    with exclusive(opened.lock):
        if opened.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            opened.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def requeue_dead(opened: OpenStudy, say: Callable[[str], None]) -> None:
    """Put trials whose worker is dead back into the queue, or end those that killed several; the lock is held.

    Under the lock a running trial without a worker's name was taken by one that died before it could write it.
    """
    now = liveness.file_time(opened.folder)
    for trial in opened.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker is not None and liveness.alive(opened.folder, worker, now=now):
            continue
        storage, key = opened.storage, trial._trial_id
        deaths = [*trial.user_attrs.get("deaths", []), len(trial.intermediate_values)]
        storage.set_trial_user_attr(key, "deaths", deaths)
        if deaths.count(deaths[-1]) >= MOST_DEATHS:
            reason = f"its worker died {MOST_DEATHS} times after epoch {deaths[-1]} (out of memory?)"
            storage.set_trial_user_attr(key, "reason", reason)
            storage.set_trial_state_values(key, TrialState.FAIL)
            say(f"trial {trial.number}: failed, {reason}")
        else:
            storage.set_trial_state_values(key, TrialState.WAITING)
            say(f"trial {trial.number}: its worker died; back in the queue after epoch {deaths[-1]}")
        if worker is not None:
            liveness.forget(opened.folder, worker)


def _draw(trial: optuna.Trial, key: str, parameter: Parameter) -> object:
    """The trial's value of `key`: the one it was begun with, or a new one."""
    if isinstance(parameter, Categorical):
        return trial.suggest_categorical(key, list(parameter.choices))
    if isinstance(parameter, FloatRange):
        return trial.suggest_float(key, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return trial.suggest_int(key, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
