"""Write a blend's submissions and validate them: before the classifier gate, and after it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a blend that scripts/blend.py has run")
    data_argument(arguments)
    arguments.add_argument(
        "--products",
        action="store_true",
        help="also write a map of each test scene, the shares of its classes and a grade of its quality",
    )
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config.files import load_blend
        from skyfold.pipeline.submit import submit
        from skyfold.workspace import Workspace

        config, workspace = load_blend(given.config), Workspace(data_from=given.data)
        for path in submit(config, workspace):
            print(f"submission: {path}")
        if given.products:
            from skyfold.pipeline.products import write_blend_products

            print(f"products: {write_blend_products(config, workspace)}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
