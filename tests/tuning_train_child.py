"""Run a study with a tiny network in a process that sends itself SIGKILL after the NUMBER-th reported epoch.

    python tuning_train_child.py STUDY TRIALS [NUMBER]

Each training step adds a line to `steps.txt` of the working folder.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path


def main(study: Path, trials: int, fatal: int = 0) -> None:
    import skyfold.models
    from skyfold.training import checkpoint
    from skyfold.training.network import Network
    from skyfold.tuning import tune
    from skyfold.workspace import Workspace

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
    tune.tune(study, Workspace(Path.cwd()), trials=trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
