"""Check a contest's files and write folds.csv; with --sample, write a small procedural sample first."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import competition_or_config, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("competition", metavar="COMPETITION", help="name of a competition, or a config file")
    data_argument(arguments)
    arguments.add_argument("--sample", action="store_true", help="write a small procedural sample of the same layout")
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.pipeline.prepare import prepare
        from skyfold.workspace import Workspace

        data = competition_or_config(given.competition)
        for line in prepare(data, Workspace(data_from=given.data), sample=given.sample):
            print(line)

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
