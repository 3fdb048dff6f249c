"""Search the hyper-parameters of a training run; resumes after any stop, started twice it joins as one more worker."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from skyfold.cli.arguments import add_set, location_options, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="STUDY", help="study file: a run, and the values to try")
    parser.add_argument(
        "--trials", type=int, required=True, metavar="N", help="end when N trials are complete or pruned in all"
    )
    parser.add_argument("--storage", metavar="URL", help="database of the study (default: study.db in its folder)")
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="processes to start (default: 1)")
    add_set(parser)


def run(given: argparse.Namespace) -> None:
    from skyfold.errors import ConfigError
    from skyfold.tuning.tune import tune

    if given.trials < 1 or given.workers < 1:
        raise ConfigError("--trials and --workers: give at least 1.")
    where = location_options(given)
    storage = ["--storage", given.storage] if given.storage else []
    changes = [part for override in given.overrides for part in ("--set", override)]
    folder = tune(
        given.config,
        workspace(given),
        trials=given.trials,
        storage=given.storage,
        overrides=given.overrides,
        workers=given.workers,
        worker_command=[
            *[sys.executable, "-m", "skyfold", "tune", str(given.config), "--trials", str(given.trials)],
            *[*storage, *where, *changes],
        ],
    )
    print(f"results: {folder} (best.yaml, trials.csv, history.png, importance.png)")
    if (folder / "best.yaml").is_file():
        print(f"Train the best config: {shlex.join(['skyfold', 'train', str(folder / 'best.yaml'), *where])}")
