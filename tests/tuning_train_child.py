"""The command tune.py with a tiny network, in a process of its own, which SIGKILLs itself after a given epoch.

    python tuning_train_child.py STUDY TRIALS [NUMBER]

The NUMBER-th epoch that is reported is the last one. Each training step is noted in `steps.txt` of the working folder.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path


def main(study: Path, trials: int, fatal: int = 0) -> None:
    import skyfold.models
    from skyfold.training.network import Network
    from skyfold.tuning import tune
    from skyfold.tuning.objective import training_objective
    from skyfold.workspace import Workspace

    skyfold.models.__path__.append(str(Path(__file__).parent / "families"))
    train = Network.train

    def step(self, *arguments, **options):
        with open("steps.txt", "a") as noted:
            noted.write(f"{self.config.name}\n")
        return train(self, *arguments, **options)

    Network.train = step
    reports = 0

    def dying_objective(*arguments):
        objective = partial(training_objective, checkpoint_seconds=0)(*arguments)

        def one(job):
            def report(step: int, value: float) -> None:
                nonlocal reports
                reports += 1
                job.report(step, value)
                if reports == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

            return objective(replace(job, report=report))

        return one

    tune.training_objective = dying_objective
    tune.tune(study, Workspace(Path.cwd()), trials=trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
