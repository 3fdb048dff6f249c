"""Train the folds and seeds of a run, write out-of-fold and test predictions; resumes after any stop."""

from __future__ import annotations

import argparse

from skyfold.cli.arguments import add_config, add_set, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "config of a training run")
    parser.add_argument("--fold", type=int, action="append", metavar="K", help="train fold K only; may be repeated")
    parser.add_argument("--restart", action="store_true", help="discard existing results and start over")
    add_set(parser)


def run(given: argparse.Namespace) -> None:
    from skyfold.config.files import load_run
    from skyfold.pipeline.train import train
    from skyfold.tasks import task_class

    project, config = workspace(given), load_run(given.config, given.overrides)
    result = train(config, project, only_folds=given.fold, restart=given.restart)
    seen = f" at {config.image.size[0]}x{config.image.size[1]}" if config.image else ", mean absolute error"
    for fold, score in result.scores.items():
        print(f"fold {fold}: validation score {score:.4f}{seen}")
    if result.complete:
        for line in task_class(config.task).report_run(config, project):
            print(line)
    print(f"{'trained' if result.complete else 'so far'}: {result.folder}")
