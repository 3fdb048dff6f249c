"""A worker of a study: reserves trials and runs them until enough are finished."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from skyfold.errors import ConfigError, SkyfoldError
from skyfold.files import write_text
from skyfold.tuning.study import FINISHED, HEARTBEAT_SECONDS, OpenStudy
from skyfold.tuning.trial_queue import requeue, reserve_trial, worker_lock

POLL_SECONDS = 1.0
MAX_FAILURES = 3  # in a row: then the study is wrong, not its trials
SMALL_FILES = {".yaml", ".csv", ".json", ".png", ".txt"}  # kept for every trial; the weights take 50 to 500 MB


@dataclass(frozen=True)
class TrialJob:
    """What an objective receives. params: a choice by its name; folder: of the trial, with the files of an interrupted
    attempt; report(step, value): value so far, steps from 1; raises TrialPruned to end the trial."""

    number: int
    params: Mapping[str, Any]
    folder: Path
    report: Callable[[int, float], None]


Objective = Callable[[TrialJob], float]


class TimeIsUp(Exception):
    """The deadline passed during a trial."""


def run_worker(
    opened: OpenStudy,
    objective: Objective,
    *,
    n_trials: int,
    deadline: float = math.inf,
    save_best: Callable[[FrozenTrial], None],
    log: Callable[[str], None] = print,
) -> None:
    """Run trials until `n_trials` are complete or pruned, by all workers together, or until `deadline`
    (time.monotonic()).

    save_best: writes the best trial's config; called under the study's lock. An exception of the objective fails its
    trial; ConfigError after `MAX_FAILURES` in a row. An interrupted trial is requeued.
    """
    trial_log = TrialLog(opened, n_trials, log)
    failures = 0
    with worker_lock(opened.folder) as worker:
        while time.monotonic() < deadline:
            trial = reserve_trial(opened, worker, n_trials=n_trials, log=log)
            if trial is None:
                trial_log.update()
                if len(opened.trials(*FINISHED)) >= n_trials:
                    break
                time.sleep(POLL_SECONDS)  # other workers run the last trials, and may die
                continue
            try:
                failure = _run_trial(opened, trial, objective, deadline)
            except TimeIsUp:
                break
            keep_best_only(opened, save_best)
            trial_log.update()
            failures = failures + 1 if failure else 0
            if failures == MAX_FAILURES:
                raise ConfigError(f"{failures} trials in a row failed, the last one with: {failure}")
    keep_best_only(opened, save_best)
    trial_log.update()


def keep_best_only(opened: OpenStudy, save_best: Callable[[FrozenTrial], None]) -> None:
    """Save the best trial's config, and remove the weights of all other finished trials."""
    with opened.lock():
        best = opened.best_trial()
        if best is not None:
            save_best(best)
        for trial in opened.trials(*FINISHED, TrialState.FAIL):
            folder = opened.trial_folder(trial.number)
            if (best is None or trial.number != best.number) and folder.is_dir():
                for path in folder.iterdir():
                    if path.suffix not in SMALL_FILES or path.name.startswith(".writing-"):
                        path.unlink()


class TrialLog:
    """Logs a line for each trial, of any worker, that ends after this object was made."""

    def __init__(self, opened: OpenStudy, n_trials: int, log: Callable[[str], None]) -> None:
        self._opened, self._n_trials, self._log = opened, n_trials, log
        self._logged = {trial.number for trial in opened.trials() if trial.state.is_finished()}
        self._finished, self._start = len(opened.trials(*FINISHED)), time.monotonic()

    def update(self) -> None:
        trials = self._opened.trials(*FINISHED, TrialState.FAIL)
        new = [trial for trial in trials if trial.number not in self._logged]
        if not new:
            return
        new.sort(key=lambda trial: (str(trial.datetime_complete), trial.number))
        finished = len(self._opened.trials(*FINISHED))
        per_trial = (time.monotonic() - self._start) / max(finished - self._finished, 1)
        left = max(self._n_trials - finished, 0)
        best = self._opened.best_trial()
        status = f"best {best.values[0]:.4f} (trial {best.number})" if best else "none complete yet"
        status += f"; {finished}/{self._n_trials} finished"
        status += f", about {tqdm.format_interval(left * per_trial)} left" if left else ""
        for trial in new:
            self._logged.add(trial.number)
            self._log(f"trial {trial.number}: {outcome(trial)}" + (f"; {status}" if trial is new[-1] else ""))


def outcome(trial: FrozenTrial) -> str:
    """Value or reason of a trial that has ended, in words."""
    if trial.state == TrialState.COMPLETE:
        return f"{trial.values[0]:.4f}"
    if trial.state == TrialState.PRUNED:
        step = trial.last_step
        return f"pruned after epoch {step} at {trial.intermediate_values[step] if step else math.nan:.4f}"
    return f"failed, {trial.user_attrs.get('reason', 'no reason given')}"


def _run_trial(opened: OpenStudy, trial: optuna.Trial, objective: Objective, deadline: float) -> str | None:
    """Run one trial and tell the study. Returns the reason if it failed."""
    folder = opened.trial_folder(trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    reported = set(opened.storage.get_trial(trial._trial_id).intermediate_values)

    def report(step: int, value: float) -> None:
        if step not in reported:  # else by an interrupted attempt
            reported.add(step)
            trial.report(value, step)
        if step == max(reported) and trial.should_prune():
            raise optuna.TrialPruned
        if time.monotonic() >= deadline:
            raise TimeIsUp

    try:
        with _heartbeats(opened, trial):
            value = objective(TrialJob(trial.number, trial.params, folder, report))
        if not math.isfinite(value):
            raise ConfigError(f"the validation score is {value}")
    except (KeyboardInterrupt, TimeIsUp):
        requeue(opened, trial)
        raise
    except StorageInternalError:  # the database failed, not the trial
        raise
    except optuna.TrialPruned:
        opened.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        return None
    except Exception as error:  # whatever the sampled config breaks
        first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        reason = first_line if isinstance(error, SkyfoldError) else f"{type(error).__name__}: {first_line}"
        write_text(folder / "error.txt", "".join(traceback.format_exception(error)))
        trial.set_user_attr("reason", reason)
        opened.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return reason
    opened.study.tell(trial, value, skip_if_finished=True)
    return None


@contextmanager
def _heartbeats(opened: OpenStudy, trial: optuna.Trial) -> Iterator[None]:
    """Show workers on other hosts that this one is alive."""
    stop = threading.Event()

    def record() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            with suppress(StorageInternalError):  # a database out of reach for a moment; the next one may get through
                opened.storage.record_heartbeat(trial._trial_id)

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
