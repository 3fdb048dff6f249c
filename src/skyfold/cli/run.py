"""Run every stage of a config in order: prepare, train, blend, submit, score, leaderboard; skip finished ones."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import add_config, add_set, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "config of a blend, a table of models, forecasts, or a training run")
    add_set(parser)


def run(given: argparse.Namespace) -> None:
    from skyfold.pipeline.run import run_job

    run_job(given.config, workspace(given), overrides=tuple(given.overrides))
