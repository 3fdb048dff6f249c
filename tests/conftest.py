"""What has to be set once in each process of tests."""

from __future__ import annotations

import os
import sys

import pytest

from skyfold.competition import Competition
from skyfold.config.run import RunConfig
from skyfold.metrics.segmentation import MeanDice
from skyfold.tasks import build_task
from skyfold.tasks.task import Task
from skyfold.types import IntPair, Metric


def competition_of(classes=("a", "b"), grid: IntPair = (16, 24), metric: Metric | None = None, unit="probability"):
    """A competition without files: its classes, grid and metric."""

    def no_files(*_, **__):
        raise AssertionError("this competition has no files")

    return Competition(
        name="any",
        task="segmentation",
        classes=tuple(classes),
        grid=grid,
        unit=unit,
        metric=metric or MeanDice(),
        submission=None,  # type: ignore[arg-type]
        load=no_files,
        check=no_files,
        read_truth=no_files,
        read_pred=no_files,
        sample_table=no_files,
    )


def task_of(config: RunConfig, **settings) -> Task:
    """The task of a run of `competition_of(**settings)`."""
    return build_task(config, competition_of(**settings))


@pytest.fixture(scope="session", autouse=True)
def reproducible_tensorflow():
    """Which file a worker tests first is chance, so TensorFlow's threads are set before any; else where it is used."""
    if "PYTEST_XDIST_WORKER" in os.environ or "keras" in sys.modules:
        from skyfold.training import backend

        backend.start(deterministic=True)
