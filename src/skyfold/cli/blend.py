"""Blend trained runs and fit post-processing on their out-of-fold predictions; in-sample and cross-fitted score."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import add_config, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "config of a blend")


def run(given: argparse.Namespace) -> None:
    from skyfold.config.files import load_blend
    from skyfold.pipeline.blend import blend, blend_lines

    project, config = workspace(given), load_blend(given.config)
    for line in blend_lines(config, blend(config, project)):
        print(line)
    print(f"written: {project.run(config.data.folder, config.name) / 'blend.json'}")
