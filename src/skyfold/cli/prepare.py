"""Check a competition's files and write folds.csv; with --sample, write a small procedural sample first."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import competition_or_config, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("competition", metavar="COMPETITION", help="name of a competition, or a config file")
    parser.add_argument("--sample", action="store_true", help="write a small procedural sample of the same layout")


def run(given: argparse.Namespace) -> None:
    from skyfold.pipeline.prepare import prepare

    for line in prepare(competition_or_config(given.competition), workspace(given), sample=given.sample):
        print(line)
