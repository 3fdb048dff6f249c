"""Workers of a study: reserve trials and run them until enough are finished, in this process or in several."""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from skyfold.errors import ConfigError, SkyfoldError
from skyfold.files import UNFINISHED, write_text
from skyfold.training.backend import beside_others, usable_cores
from skyfold.tuning.study import FINISHED, HEARTBEAT_SECONDS, OpenStudy, requeue, reserve_trial, worker_lock

POLL_SECONDS = 1.0
STOP_SECONDS = 60.0  # for an interrupted worker process to requeue its trial
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
) -> None:
    """Run trials until `n_trials` are complete or pruned, by all workers together, or until `deadline`
    (time.monotonic()).

    save_best: writes the best trial's config; called under the study's lock. An exception of the objective fails its
    trial; ConfigError after `MAX_FAILURES` in a row. An interrupted trial is requeued.
    """
    log = _TrialLog(opened, n_trials)
    failures = 0
    with worker_lock(opened.folder) as worker, suppress(TimeIsUp):
        while time.monotonic() < deadline and len(opened.trials(*FINISHED)) < n_trials:
            trial = reserve_trial(opened, worker, n_trials=n_trials)
            if trial is None:
                time.sleep(POLL_SECONDS)  # other workers run the last trials, and may die
            else:
                failure = _run_trial(opened, trial, objective, deadline)
                failures = failures + 1 if failure else 0
                keep_best_only(opened, save_best)
            log.update()
            if failures == MAX_FAILURES:
                raise ConfigError(f"{failures} trials in a row failed, the last one with: {failure}")
    keep_best_only(opened, save_best)
    log.update()


def run_worker_processes(opened: OpenStudy, command: Sequence[str], workers: int, *, n_trials: int) -> None:
    """Run `command` in `workers` processes, and log their trials until all have ended.

    Fewer are started where the cores would not suffice for the study's number of threads, which trains other weights
    when it changes. A worker that dies leaves its trial to the others; an exception, KeyboardInterrupt for instance,
    ends them all.
    """
    threads, cores = opened.threads or 1, usable_cores()
    if (fitting := max(1, cores // threads)) < workers:
        print(f"{fitting} of {workers} workers are started: each computes in {threads} threads, on {cores} cores.")
        workers = fitting
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **beside_others(threads)}
    trial_log = _TrialLog(opened, n_trials)
    running: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for log in [opened.folder / "workers" / f"{number}.txt" for number in range(1, workers + 1)]:
            with open(log, "wb") as file:
                # In a session of its own, so that Ctrl-C reaches this process only, which then ends the worker once.
                running[log] = subprocess.Popen(
                    list(command), stdout=file, stderr=file, env=environment, start_new_session=True
                )
        print(f"{workers} workers; logs: {', '.join(str(log) for log in running)}")
        while running:
            time.sleep(POLL_SECONDS)
            trial_log.update()
            for log, process in list(running.items()):
                if process.poll() is not None:
                    del running[log]
                    if process.returncode:
                        last_line = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                        print(f"worker {log.stem} exited with code {process.returncode}: {last_line or 'no output'}")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def keep_best_only(opened: OpenStudy, save_best: Callable[[FrozenTrial], None]) -> None:
    """Save the best trial's config, and remove the weights of all other finished trials."""
    with opened.lock():
        best = opened.best_trial()
        if best is not None:
            save_best(best)
        for trial in opened.trials(*FINISHED, TrialState.FAIL):
            if best is None or trial.number != best.number:
                for path in opened.trial_folder(trial.number).glob("*"):
                    if path.suffix not in SMALL_FILES or path.name.startswith(UNFINISHED):
                        path.unlink()


def outcome(trial: FrozenTrial) -> str:
    """Value or reason of a trial that has ended, in words."""
    if trial.state == TrialState.COMPLETE:
        return f"{trial.values[0]:.4f}"
    if trial.state == TrialState.PRUNED:
        step = trial.last_step
        return f"pruned after epoch {step} at {trial.intermediate_values[step] if step else math.nan:.4f}"
    return f"failed, {trial.user_attrs.get('reason', 'no reason given')}"


class _TrialLog:
    """Prints a line for each trial, of any worker, that ends after this object was made."""

    def __init__(self, opened: OpenStudy, n_trials: int) -> None:
        self._opened, self._n_trials, self._start = opened, n_trials, time.monotonic()
        self._logged = {trial.number for trial in opened.trials(*FINISHED, TrialState.FAIL)}
        self._finished = len(opened.trials(*FINISHED))

    def update(self) -> None:
        """Print the trials that have ended since the last call, with progress and time left."""
        best, finished = self._opened.best_trial(), len(self._opened.trials(*FINISHED))
        per_trial = (time.monotonic() - self._start) / max(finished - self._finished, 1)
        left = max(self._n_trials - finished, 0)
        status = f"best {best.values[0]:.4f} (trial {best.number})" if best else "none complete yet"
        status += f"; {finished}/{self._n_trials} finished"
        status += f", about {tqdm.format_interval(left * per_trial)} left" if left else ""
        ended = self._opened.trials(*FINISHED, TrialState.FAIL)
        for trial in sorted(ended, key=lambda trial: (str(trial.datetime_complete), trial.number)):
            if trial.number not in self._logged:
                self._logged.add(trial.number)
                print(f"trial {trial.number}: {outcome(trial)}; {status}")


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
    except Exception as error:  # whatever the sampled config breaks
        first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        reason = first_line if isinstance(error, SkyfoldError) else f"{type(error).__name__}: {first_line}"
        write_text(folder / "error.txt", "".join(traceback.format_exception(error)))
        trial.set_user_attr("reason", reason)
        opened.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return reason
    else:
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
