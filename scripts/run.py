"""Do everything a config asks for, in order: prepare, train, blend, submit, score, leaderboard; skip what is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run, set_argument


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a blend, a table of models, forecasts, or a training run")
    data_argument(arguments)
    set_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.pipeline.run import run_job
        from skyfold.workspace import Workspace

        run_job(given.config, Workspace(data_from=given.data), overrides=tuple(given.overrides))

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
