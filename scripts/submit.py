"""Write a blend's submissions and validate them: before the classifier gate, and after it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a blend that scripts/blend.py has run")
    data_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config import load_blend
        from skyfold.pipeline.submit import submit
        from skyfold.workspace import Workspace

        for path in submit(load_blend(given.config), Workspace(data_from=given.data)):
            print(f"submission: {path}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
