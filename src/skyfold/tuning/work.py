"""One worker of a study: takes trials from the queue and finishes them until as many as wanted are done."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from skyfold.errors import ConfigError, SkyfoldError
from skyfold.files import write_text
from skyfold.tuning.file_lock import exclusive
from skyfold.tuning.liveness import Worker
from skyfold.tuning.study import OpenStudy
from skyfold.tuning.trial_queue import count, put_back, take

POLL_SECONDS = 1.0
MOST_FAILURES = 3  # in a row: then it is the study that is wrong, not its trials
KEPT = {".yaml", ".csv", ".json", ".png", ".txt"}  # of trials that are not the best; a model takes 50 to 500 MB


@dataclass(frozen=True)
class TrialJob:
    """What an objective is given. params: a choice by its name; folder: the trial's own, with what an interrupted
    attempt left there; report(step, value): the value so far, steps from 1 on; ends the trial where it is pruned."""

    number: int
    params: Mapping[str, Any]
    folder: Path
    report: Callable[[int, float], None]


Objective = Callable[[TrialJob], float]


class TimeIsUp(Exception):
    """The study's time is over in the middle of a trial."""


def work(
    opened: OpenStudy,
    objective: Objective,
    *,
    wanted: int,
    deadline: float = math.inf,
    keep_best: Callable[[FrozenTrial], None],
    say: Callable[[str], None] = print,
) -> None:
    """Run trials until `wanted` are finished (complete or pruned, whoever ran them), or `deadline` (time.monotonic).

    keep_best: writes the best trial's config; called under the study's lock after each trial. An exception of the
    objective fails its trial with the reason; ConfigError after `MOST_FAILURES` of them in a row. An interrupted trial
    goes back into the queue.
    """
    lines = TrialLines(opened, wanted, say)
    failures = 0
    with Worker(opened.folder) as worker:
        while time.monotonic() < deadline:
            trial = take(opened, worker, wanted=wanted, say=say)
            if trial is None:
                lines.show()
                if count(opened.study.get_trials(deepcopy=False)).finished >= wanted:
                    break
                time.sleep(POLL_SECONDS)  # others are at the last ones, and may die over them
                continue
            try:
                reason = _run(opened, trial, objective, deadline)
            except TimeIsUp:
                break
            tidy(opened, keep_best)
            lines.show()
            failures = failures + 1 if reason else 0
            if failures == MOST_FAILURES:
                raise ConfigError(f"{failures} trials in a row failed, the last one with: {reason}")
    with exclusive(opened.lock):
        _keep(opened, keep_best)
    lines.show()


def tidy(opened: OpenStudy, keep_best: Callable[[FrozenTrial], None]) -> None:
    """Write the best config, and remove the model files of finished trials that are not the best."""
    with exclusive(opened.lock):
        best = _keep(opened, keep_best)
        for trial in opened.study.get_trials(deepcopy=False):
            folder = trial_folder(opened.folder, trial.number)
            if trial.state.is_finished() and trial.number != best and folder.is_dir():
                for path in folder.iterdir():
                    if path.suffix not in KEPT or path.name.startswith(".writing-"):
                        path.unlink()


def best_trial(opened: OpenStudy) -> FrozenTrial | None:
    """The complete trial of the best value, the first of equal ones; None where there is none yet."""
    complete = opened.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1.0 if opened.maximise else 1.0
    return min(complete, key=lambda trial: (sign * float(trial.values[0]), trial.number), default=None)


def trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04d}"


class TrialLines:
    """Says a line for each trial that ends, whoever ran it; those that ended before it was made are taken as said."""

    def __init__(self, opened: OpenStudy, wanted: int, say: Callable[[str], None]) -> None:
        self._opened, self._wanted, self._say = opened, wanted, say
        trials = opened.study.get_trials(deepcopy=False)
        self._said = {trial.number for trial in trials if trial.state.is_finished()}
        self._before, self._began = count(trials).finished, time.monotonic()

    def show(self) -> None:
        trials = self._opened.study.get_trials(deepcopy=False)
        ended = sorted(
            (trial for trial in trials if trial.state.is_finished() and trial.number not in self._said),
            key=lambda trial: (str(trial.datetime_complete), trial.number),
        )
        if not ended:
            return
        finished = count(trials).finished
        each = (time.monotonic() - self._began) / max(finished - self._before, 1)
        left = max(self._wanted - finished, 0)
        best = best_trial(self._opened)
        so_far = f"best {best.values[0]:.4f} of trial {best.number}" if best is not None else "none complete yet"
        for trial in ended:
            self._said.add(trial.number)
            line = f"trial {trial.number}: {outcome(trial)}"
            if trial is ended[-1]:
                line += f"; {so_far}; {finished}/{self._wanted} finished"
                line += f", about {tqdm.format_interval(left * each)} left" if left else ""
            self._say(line)


def outcome(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return f"{trial.values[0]:.4f}"
    if trial.state == TrialState.PRUNED:
        value = trial.intermediate_values[trial.last_step] if trial.last_step is not None else math.nan
        return f"pruned after epoch {trial.last_step} at {value:.4f}"
    return f"failed, {trial.user_attrs.get('reason', 'no reason given')}"


def _run(opened: OpenStudy, trial: optuna.Trial, objective: Objective, deadline: float) -> str | None:
    """Do one trial and tell the study. Returns the reason where it failed."""
    folder = trial_folder(opened.folder, trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    reported = set(opened.storage.get_trial(trial._trial_id).intermediate_values)

    def report(step: int, value: float) -> None:
        if step not in reported:  # an attempt before this one may have reported it
            reported.add(step)
            trial.report(value, step)
        if step == max(reported) and trial.should_prune():
            raise optuna.TrialPruned
        if time.monotonic() >= deadline:
            raise TimeIsUp

    try:
        value = objective(TrialJob(trial.number, trial.params, folder, report))
        if not math.isfinite(value):
            raise ConfigError(f"the validation score is {value}")
    except (KeyboardInterrupt, TimeIsUp):
        put_back(opened, trial)
        raise
    except optuna.TrialPruned:
        opened.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        return None
    except Exception as error:  # what a sampled config breaks is its trial
        reason = _reason(error)
        write_text(folder / "error.txt", "".join(traceback.format_exception(error)))
        trial.set_user_attr("reason", reason)
        opened.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return reason
    opened.study.tell(trial, value, skip_if_finished=True)
    return None


def _reason(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return first if isinstance(error, SkyfoldError) else f"{type(error).__name__}: {first}"


def _keep(opened: OpenStudy, keep_best: Callable[[FrozenTrial], None]) -> int | None:
    best = best_trial(opened)
    if best is None:
        return None
    keep_best(best)
    return best.number
