"""Draw a stored forecast: maps beside the truth, animations, reliability diagram, error by lead time."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import add_config, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "config of forecasts that `skyfold run` has run")
    parser.add_argument("--forecast", metavar="NAME", help="a forecast of the config (default: the last one)")
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        metavar="ID",
        dest="ids",
        help="a sample to draw, for instance 2011-12; may be repeated (default: a good, a median and a bad one)",
    )


def run(given: argparse.Namespace) -> None:
    from skyfold.config.files import load_forecasts
    from skyfold.pipeline.plot import draw_pictures

    project, config = workspace(given), load_forecasts(given.config)
    for path in draw_pictures(config, project, given.forecast, given.ids):
        print(f"written: {path}")
