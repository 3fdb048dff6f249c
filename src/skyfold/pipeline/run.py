"""All stages of a config in order, each skipped where its work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_config
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.plugin_options import AnyConfig
from skyfold.config.run import RunConfig
from skyfold.data.class_subset import with_classes
from skyfold.errors import ConfigError
from skyfold.pipeline.blend import blend, blend_lines
from skyfold.pipeline.experiment import run_table
from skyfold.pipeline.forecasts import run_forecasts
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.submit import submit
from skyfold.reports.leaderboard import as_text
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_run
from skyfold.tasks import task_class
from skyfold.workspace import Workspace

TRUTH_FILE = "test_truth.csv"


def run_job(
    path: Path, workspace: Workspace, log: Callable[[str], None] = print, overrides: tuple[str, ...] = ()
) -> None:
    """Prepare, train every run of the config at `path`, blend, submit, score and rank, as far as the config goes.

    Of a table of models: search where a row asks for it, and say the table. Forecasts without a network: see
    `run_forecasts`.
    """
    from skyfold.pipeline.train import train
    from skyfold.tasks.open_run import check

    config = load_config(path, overrides)
    if isinstance(config, ForecastConfig):
        run_forecasts(path, workspace, log, overrides)
        return
    if isinstance(config, DatasetConfig):
        raise ConfigError(f"{path}: names no model and no runs; there is nothing to train.")
    trained = _runs_of(config)
    for run in trained:
        check(run)
    folder = workspace.data(config.data.folder)
    if not workspace.folds(config.data.folder).is_file():
        for line in prepare(config.data, workspace, sample=bool(config.data.sample) and not folder.exists()):
            log(line)
    _check_classes(config, trained, workspace)
    if isinstance(config, TableConfig):
        run_table(config, path, workspace, log)
        return
    for run in trained:
        log(f"run {run.name}")
        train(run, workspace)
    if isinstance(config, RunConfig):
        for line in task_class(config.task).report_run(config, workspace):
            log(line)
        log(as_text(leaderboard(config.data.folder, workspace)))
        return
    task = task_class(config.task)
    for line in blend_lines(config, blend(config, workspace)):
        log(line)
    for line in task.show_blend(config, workspace):
        log(line)
    truth = folder / TRUTH_FILE
    if read_run(workspace.run(config.data.folder, config.name), read_folds(workspace.folds(config.data.folder))).test:
        for written in submit(config, workspace):
            log(f"submission: {written}")
        if truth.is_file():
            for line in task.score_on_test(config, truth, workspace):
                log(line)
    log(as_text(leaderboard(config.data.folder, workspace)))


def _runs_of(config: RunConfig | BlendConfig | TableConfig) -> tuple[RunConfig, ...]:
    """All runs that a config names, known before anything is trained."""
    if isinstance(config, RunConfig):
        return (config,)
    return config.members if isinstance(config, BlendConfig) else config.runs


def _check_classes(config: AnyConfig, runs: tuple[RunConfig, ...], workspace: Workspace) -> None:
    """Refuse, before anything is trained, classes that are not there, and blends whose runs do not know all."""
    competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
    for run in runs:
        with_classes(competition, run.classes)
    blends = [config] if isinstance(config, BlendConfig) else []
    if isinstance(config, TableConfig):
        blends = [row.blend for row in config.models if row.blend]
    for blended in blends:
        task_class(blended.task).check_blend(blended, competition)
