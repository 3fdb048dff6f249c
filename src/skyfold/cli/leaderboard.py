"""Show every run, blend and forecast of a data set with its scores, best first; or a table of models."""

from __future__ import annotations

import argparse
from pathlib import Path

from skyfold.cli.arguments import competition_or_config, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "competition", metavar="COMPETITION", help="name of a data set, a config file of it, or of a table of models"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the table as a page")
    parser.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="instead of the table, the differences between two of its entries: names, or folders that hold them",
    )


def run(given: argparse.Namespace) -> None:
    from skyfold.config.experiment import TableConfig
    from skyfold.config.files import load_config
    from skyfold.files import write_text
    from skyfold.pipeline import experiment_table
    from skyfold.pipeline.leaderboard import leaderboard
    from skyfold.reports.leaderboard import as_html, as_text

    project, name = workspace(given), given.competition
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} and isinstance(config := load_config(path), TableConfig):
        print(experiment_table.as_text(experiment_table.experiment_table(config, path, project)))
        return
    if not project.oof(name).is_dir():
        name = competition_or_config(name).folder
    if given.diff:
        from skyfold.reports.compare import as_lines, compare

        one, other = (
            Path(entry) if (Path(entry) / "run.json").is_file() else project.run(name, entry) for entry in given.diff
        )
        print("\n".join(as_lines(compare(one, other))))
        return
    entries = leaderboard(name, project)
    print(as_text(entries))
    if given.html:
        write_text(given.html, as_html(name, entries))
        print(f"written: {given.html}")
