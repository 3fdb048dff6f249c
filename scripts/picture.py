"""Draw a stored forecast: maps beside the truth, animations, reliability of its event, error by lead time."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of forecasts, as scripts/run.py made them")
    data_argument(arguments)
    arguments.add_argument("--forecast", metavar="NAME", help="which one of the config (default: its last)")
    arguments.add_argument(
        "--id",
        action="append",
        default=[],
        metavar="ID",
        dest="ids",
        help="a sample to draw, 2011-12 say; may be given more than once (default: a good, a middling and a bad one)",
    )
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config.files import load_forecasts
        from skyfold.pipeline.check_forecasts import network_runs
        from skyfold.pipeline.plot import draw_pictures
        from skyfold.workspace import Workspace

        config = load_forecasts(given.config)
        networks = network_runs(config, given.config)
        for path in draw_pictures(config, Workspace(data_from=given.data), given.forecast, given.ids, networks):
            print(f"written: {path}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
