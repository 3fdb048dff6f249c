"""Train the run of a config: all folds and seeds, out-of-fold and test predictions; the same command goes on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run, set_argument


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a training run")
    arguments.add_argument(
        "--fold", type=int, action="append", metavar="K", help="train this fold alone; may be given more than once"
    )
    arguments.add_argument("--restart", action="store_true", help="begin afresh instead of going on")
    data_argument(arguments)
    set_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config import load_run
        from skyfold.training.run_folds import train
        from skyfold.workspace import Workspace

        config = load_run(given.config, given.overrides)
        result = train(config, Workspace(data_from=given.data), only_folds=given.fold, restart=given.restart)
        height, width = config.image.size
        for fold, score in result.scores.items():
            print(f"fold {fold}: validation score {score:.4f} at {height}x{width}")
        print(f"{'all folds trained' if result.complete else 'so far'}: {result.folder}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
