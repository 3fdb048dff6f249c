"""Write and validate a blend's submissions: one before the classifier gate, one after it."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import add_config, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "config of a blend that `skyfold blend` has run")
    parser.add_argument(
        "--products",
        action="store_true",
        help="also write a map of each test scene, the fraction of each class and a quality grade",
    )


def run(given: argparse.Namespace) -> None:
    from skyfold.config.files import load_blend
    from skyfold.pipeline.submit import submit

    project, config = workspace(given), load_blend(given.config)
    for path in submit(config, project):
        print(f"submission: {path}")
    if given.products:
        from skyfold.pipeline.products import write_blend_products

        print(f"products: {write_blend_products(config, project)}")
