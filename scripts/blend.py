"""Blend trained runs and fit post-processing on their out-of-fold rows; naive and cross-fitted score."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from skyfold.cli import config_argument, data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    config_argument(arguments, "config of a blend")
    data_argument(arguments)
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.config.files import load_blend
        from skyfold.pipeline.blend import blend, blend_lines
        from skyfold.workspace import Workspace

        config, workspace = load_blend(given.config), Workspace(data_from=given.data)
        for line in blend_lines(blend(config, given.config, workspace)):
            print(line)
        print(f"written: {workspace.run(config.data.folder, config.name) / 'blend.json'}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
