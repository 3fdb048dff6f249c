"""A worker of a study with a cheap objective, in a process that kills itself or hangs where it is told to.

    python tuning_child.py FOLDER STORAGE N_TRIALS [KIND NUMBER] [-- [KIND NUMBER] ...]

KIND: report (SIGKILL at the NUMBER-th report), write (SIGKILL before the NUMBER-th change of the database is
committed), hang (sleep at the NUMBER-th report). A step is not repeated if the trial's folder has its file.
After -- the next process is begun when the one before has ended; of several the exit codes are printed, a line each.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import sqlalchemy

from forking import forked
from skyfold.tuning.search_space import StudyConfig
from skyfold.tuning.study import OpenStudy, open_study
from skyfold.tuning.worker import TrialJob, run_worker

STEPS = 4
SEARCH = {
    "optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "loss.name": {"kind": "categorical", "choices": ["bce", "bce_dice"]},
    "loss.options.dice_weight": {"kind": "float", "low": 0, "high": 1, "when": {"loss.name": "bce_dice"}},
    "training.batch_size": {"kind": "int", "low": 4, "high": 16, "step": 4},
}
SETTINGS = {"sampler": {"startup_trials": 3}, "pruner": {"startup_trials": 2, "warmup_epochs": 1}}
FIRST = {"optimizer.learning_rate": 0.01, "loss.name": "bce", "training.batch_size": 8}


def main(folder: Path, storage: str | None, n_trials: int, kind: str = "", number: int = 0) -> None:
    counts = Counter()

    def count(event: str) -> None:
        counts[event] += 1
        if kind == event and counts[event] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def objective(job: TrialJob) -> float:
        for step in range(1, STEPS + 1):
            done = job.folder / f"step{step}.txt"
            count("report")
            if kind == "hang" and counts["report"] == number:
                (folder / "hangs").touch()
                time.sleep(600)
            if not done.is_file():
                with open(folder / "steps.txt", "a") as lines:
                    print(job.number, step, file=lines)
                done.touch()
            job.report(step, score(job, step))
        return score(job, STEPS)

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def note_write(connection, cursor, statement, *rest) -> None:
        if not statement.startswith(("SELECT", "PRAGMA")):
            connection.info["wrote"] = True

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
    def count_write(connection) -> None:
        if connection.info.pop("wrote", False):
            count("write")

    run_worker(open_cheap(folder, storage), objective, n_trials=n_trials, save_best=lambda trial: None)


def open_cheap(folder: Path, storage: str | None = None) -> OpenStudy:
    study = StudyConfig.model_validate({"name": "cheap", "base": "none.yaml", "search": SEARCH, **SETTINGS})
    options = {"greater_is_better": True, "max_epochs": STEPS, "settings": {"folds": [0]}, "first": FIRST}
    return open_study(study, folder, storage=storage, **options)


def score(job: TrialJob, step: int) -> float:
    """Best at a rate of 0.01 and with little Dice; grows with the steps."""
    rate = job.params["optimizer.learning_rate"]
    return step / STEPS - abs(rate - 0.01) - 0.3 * job.params.get("loss.options.dice_weight", 0.5)


if __name__ == "__main__":
    folder, storage, n_trials, *rest = sys.argv[1:]
    runs = [
        (Path(folder), storage or None, int(n_trials), *moment[:1], *map(int, moment[1:]))
        for moment in map(str.split, " ".join(rest).split("--"))
    ]
    if len(runs) == 1:
        main(*runs[0])
    else:
        for run in runs:
            print(forked(main, *run), flush=True)
