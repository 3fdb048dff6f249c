"""Make, compare and hand in the forecasts of a config: prepare, forecast, table, submission, score; done work stays."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run, set_argument


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config with a list of forecasts")
    data_argument(arguments)
    set_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.pipeline.forecast_job import run_forecasts
        from skyfold.workspace import Workspace

        run_forecasts(given.config, Workspace(data_from=given.data), overrides=tuple(given.overrides))

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
