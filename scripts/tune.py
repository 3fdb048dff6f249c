"""Search the hyper-parameters of a training run. The same command goes on where it was, or joins as one more worker."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.cli import config_argument, data_argument, parser, run, set_argument


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "study file: a run, and the values to try")
    arguments.add_argument(
        "--trials", type=int, required=True, metavar="N", help="end when N trials are complete or pruned in all"
    )
    arguments.add_argument(
        "--storage", metavar="URL", help="database of the study (default: a journal file in its folder)"
    )
    arguments.add_argument("--workers", type=int, default=1, metavar="W", help="processes to start (default: 1)")
    data_argument(arguments)
    set_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.errors import ConfigError
        from skyfold.tuning.tune import tune
        from skyfold.workspace import Workspace

        if given.trials < 1 or given.workers < 1:
            raise ConfigError("--trials and --workers: give at least 1.")
        data = ["--data", str(given.data)] if given.data else []
        storage = ["--storage", given.storage] if given.storage else []
        changes = [part for override in given.overrides for part in ("--set", override)]
        result = tune(
            given.config,
            Workspace(data_from=given.data),
            trials=given.trials,
            storage=given.storage,
            overrides=given.overrides,
            workers=given.workers,
            worker_command=[
                *[sys.executable, str(Path(__file__).resolve()), str(given.config), "--trials", str(given.trials)],
                *[*storage, *data, *changes],
            ],
        )
        print(f"tuned: {result.folder} (trials.csv, history.png, importance.png)")
        if result.best is not None:
            print(f"train the best: {shlex.join(['python', 'scripts/train.py', str(result.best), *data])}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
