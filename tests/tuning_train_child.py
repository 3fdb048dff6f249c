"""Run a study with a tiny network in a process that sends itself SIGKILL after the NUMBER-th reported epoch.

    python tuning_train_child.py STUDY TRIALS [NUMBER] [-- STUDY TRIALS [NUMBER] ...]

Of several runs each is a process, begun when the one before has ended; `exit CODE` is printed after it. Each training
step adds a line to `steps.txt` in the folder of the study.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import skyfold.models
from forking import forked, import_keras
from skyfold.training import checkpoint
from skyfold.training.network import Network
from skyfold.tuning import tune
from skyfold.workspace import Workspace


def main(study: Path, trials: int, fatal: int = 0) -> None:
    os.chdir(study.parent)
    checkpoint.SECONDS = 0
    skyfold.models.__path__.append(str(Path(__file__).parent / "families"))
    train = Network.train

    def step(self, *arguments, **options):
        with open("steps.txt", "a") as lines:
            print(self.config.name, file=lines)
        return train(self, *arguments, **options)

    Network.train = step
    count = itertools.count(1)
    train_trial = tune.train_trial

    def fatal_trial(job, **options):
        def report(step: int, value: float) -> None:
            job.report(step, value)
            if next(count) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        return train_trial(replace(job, report=report), **options)

    tune.train_trial = fatal_trial
    tune.tune(Path(study.name), Workspace(Path.cwd()), trials=trials)


if __name__ == "__main__":
    runs = [list(group) for between, group in itertools.groupby(sys.argv[1:], "--".__eq__) if not between]
    if len(runs) > 1:
        import_keras()
        for run in runs:
            print("exit", forked(main, Path(run[0]), *map(int, run[1:])), flush=True)
    else:
        main(Path(runs[0][0]), *map(int, runs[0][1:]))
