"""Score a submission file against a truth file with the competition's metric; needs no project folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from skyfold.cli.arguments import competition_or_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("competition", metavar="COMPETITION", help="name of a competition, or a config file")
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help="a CSV, or a folder of mask images")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE", help="truth, in the same format")


def run(given: argparse.Namespace) -> None:
    from skyfold.competition import build
    from skyfold.errors import DataLayoutError
    from skyfold.metrics.score_submission import score_note, score_submission
    from skyfold.workspace import Workspace, find_root

    data = competition_or_config(given.competition)
    root = getattr(given, "root", None) or find_root(Path.cwd()) or Path.cwd()
    folder = Workspace(root, given.data).data(data.folder)
    if given.data is not None and not folder.is_dir():
        raise DataLayoutError(f"{folder}: no such folder, named by --data.")
    competition = build(data.competition, data.options, folder if folder.is_dir() else None)
    scored = score_submission(competition, given.submission, given.truth)
    many = "sample" if scored.samples == 1 else "samples"
    print(f"{competition.metric.name}: {scored.score:.6f} ({scored.samples} {many})")
    if note := score_note(scored.score):
        print(note)
    if scored.samples > 1:
        print(f"95 % interval over {many}: {scored.interval.low:.6f} to {scored.interval.high:.6f}")
    for name, value in scored.per_class.items():
        print(f"  {name}: {value:.6f}")
