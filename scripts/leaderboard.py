"""Show every run, blend or forecast of a data set with its scores, best first; of a table of models, the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.cli import data_argument, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "competition", metavar="COMPETITION", help="name of a data set, a config file of it, or of a table of models"
    )
    data_argument(arguments)
    arguments.add_argument("--html", type=Path, metavar="FILE", help="write the table as a page, too")
    arguments.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="instead of the table, what differs between two entries of it: names, or folders that hold them",
    )
    given = arguments.parse_args(argv)

    def work() -> None:
        from skyfold.cli import competition_or_config
        from skyfold.config.experiment import TableConfig
        from skyfold.config.files import load_config
        from skyfold.files import write_text
        from skyfold.pipeline import experiment_table
        from skyfold.reports.leaderboard import as_html, as_text, leaderboard
        from skyfold.workspace import Workspace

        workspace = Workspace(data_from=given.data)
        name = given.competition
        path = Path(name)
        if path.suffix in {".yaml", ".yml"} and isinstance(config := load_config(path), TableConfig):
            print(experiment_table.as_text(experiment_table.experiment_table(config, path, workspace)))
            return
        if not workspace.oof(name).is_dir():
            name = competition_or_config(name).folder
        if given.diff:
            from skyfold.reports.compare import as_lines, compare

            folders = [Path(entry) if (Path(entry) / "run.json").is_file() else None for entry in given.diff]
            one, other = (
                folder or workspace.run(name, entry) for folder, entry in zip(folders, given.diff, strict=True)
            )
            print("\n".join(as_lines(compare(one, other))))
            return
        entries = leaderboard(name, workspace)
        print(as_text(entries))
        if given.html:
            write_text(given.html, as_html(name, entries))
            print(f"written: {given.html}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
