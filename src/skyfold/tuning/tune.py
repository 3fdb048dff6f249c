"""Searches the space of a study file until enough trials are finished; killed at any moment, the same call goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from skyfold import competition as competitions
from skyfold.config.run import PREDICTION_KEYS, RunConfig
from skyfold.errors import ConfigError
from skyfold.files import file_digest
from skyfold.tasks import build_task
from skyfold.tuning.objective import training_objective
from skyfold.tuning.results import summary, write_best, write_pictures, write_table
from skyfold.tuning.search_space import StudyConfig, load_study
from skyfold.tuning.study import OpenStudy, open_study
from skyfold.tuning.trial_config import Recipe, check_space
from skyfold.tuning.trial_queue import count
from skyfold.tuning.work import POLL_SECONDS, TrialLines, tidy, work
from skyfold.workspace import Workspace

STOP_SECONDS = 60.0  # that workers are given to put their trials back


@dataclass(frozen=True)
class TuneResult:
    """best: the config of the best trial, None where none is complete; finished: trials complete or pruned."""

    folder: Path
    best: Path | None
    finished: int


def tune(
    path: Path,
    workspace: Workspace,
    *,
    trials: int,
    storage: str | None = None,
    overrides: Sequence[str] = (),
    workers: int = 1,
    worker_command: Sequence[str] = (),
) -> TuneResult:
    """Run the study file `path` until `trials` are finished in all, or its time is over.

    workers: above 1, so many processes of `worker_command`, each of which does this very call with one worker.
    ConfigError where the study, a value of its space, or the data do not fit.
    """
    study, changes = load_study(path, overrides)
    recipe = Recipe(study, path.parent / study.base, changes)
    check_space(recipe)
    config = recipe.common()
    folder = workspace.oof(config.data.folder) / "tuning" / study.name
    for fold in study.folds:
        if fold >= config.data.folds.k:
            raise ConfigError(
                f"{path}: folds: there is no fold {fold}; the data set has 0 to {config.data.folds.k - 1}."
            )
    competition = competitions.build(config.data.competition, config.data.options, workspace.data(config.data.folder))
    score = build_task(config, competition).validation
    first = recipe.of_run()
    opened = open_study(
        study,
        folder,
        storage=storage,
        greater_is_better=score.greater_is_better,
        most_epochs=config.training.epochs * len(study.folds) * len(config.training.seeds),
        setting=_setting(config, study, workspace),
        first=first,
    )

    def keep_best(trial: FrozenTrial) -> None:
        write_best(recipe, folder, trial, score=score.name)
        write_table(opened)

    before = count(opened.study.get_trials(deepcopy=False))
    if before.finished:
        print(f"study '{study.name}' goes on: {before.finished} of {trials} trials are finished")
    deadline = time.monotonic() + 60 * study.timeout_minutes if study.timeout_minutes else math.inf
    with _terminated_as_interrupted():
        try:
            if workers > 1:
                _run_workers(opened, worker_command, workers, wanted=trials)
                tidy(opened, keep_best)
            else:
                objective = training_objective(recipe, workspace)
                work(opened, objective, wanted=trials, deadline=deadline, keep_best=keep_best)
        finally:
            write_table(opened)
    write_pictures(opened, score=score.name)
    print(summary(opened, score=score.name, wanted=trials, first_is_run=first is not None))
    finished = count(opened.study.get_trials(deepcopy=False)).finished
    if finished < trials and time.monotonic() < deadline:
        raise ConfigError(
            f"{finished} of {trials} trials are finished, but no worker is left. The same command goes on."
        )
    if finished < trials:
        print("the time is over; the same command goes on")
    best = folder / "best.yaml"
    return TuneResult(folder, best if best.is_file() else None, finished)


def _setting(config: RunConfig, study: StudyConfig, workspace: Workspace) -> dict[str, Any]:
    """What the values of trials depend on besides the params, by dotted key."""
    values = config.stored("name", "data.sample", *PREDICTION_KEYS)
    folds = workspace.folds(config.data.folder)
    return {
        **{key: value for key, value in _flat(values) if key not in study.search},
        "folds": list(study.folds),
        folds.name: file_digest(folds) if folds.is_file() else None,
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _run_workers(opened: OpenStudy, command: Sequence[str], workers: int, *, wanted: int) -> None:
    """Start the workers, say what trials end, and wait; a worker that dies leaves its trial to the others."""
    logs = [opened.folder / "workers" / f"log{number}.txt" for number in range(1, workers + 1)]
    logs[0].parent.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "TF_NUM_INTRAOP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # the first worker would take all of the GPU's memory
    }
    lines = TrialLines(opened, wanted, print)
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for number, log in enumerate(logs, start=1):
            with open(log, "wb") as file:
                # A session of its own: Ctrl-C reaches this process alone, which then ends the workers, once.
                running[number] = subprocess.Popen(
                    list(command), stdout=file, stderr=file, env=environment, start_new_session=True
                )
        print(f"{workers} workers; what they say: {', '.join(str(log) for log in logs)}")
        while running:
            time.sleep(POLL_SECONDS)
            lines.show()
            for number, process in list(running.items()):
                if process.poll() is not None:
                    del running[number]
                    if process.returncode:
                        print(
                            f"worker {number} ended with {_ending(process.returncode)}: {_last_line(logs[number - 1])}"
                        )
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which batch systems send when the time is over, ends the block as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
