"""All stages of a config in order, each skipped where its work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_config
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.run import RunConfig
from skyfold.data.class_subset import with_classes
from skyfold.errors import ConfigError
from skyfold.pipeline import check_forecasts, train
from skyfold.pipeline.experiment_table import run_table
from skyfold.pipeline.forecasts import run_forecasts
from skyfold.pipeline.jobs import train_at_once
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.submit import submit
from skyfold.reports.leaderboard import as_text
from skyfold.tasks import task_class
from skyfold.tasks.open_run import check
from skyfold.workspace import Workspace

TRUTH_FILE, TRUTH_FOLDER = "test_truth.csv", "test_truth"


def run_job(
    path: Path,
    workspace: Workspace,
    log: Callable[[str], None] = print,
    overrides: tuple[str, ...] = (),
    jobs: int = 1,
) -> None:
    """Prepare, train every run of the config at `path`, blend, submit, score and rank, as far as the config goes.

    Of an experiment: train, search and compare its models. log: called with every line of output; overrides: key=value
    texts; jobs: runs to train at the same time. ConfigError, before anything is trained, on what a config asks for and
    cannot have.
    """
    config = load_config(path, overrides)
    if isinstance(config, DatasetConfig):
        raise ConfigError(f"{path}: names no model and no runs; there is nothing to train.")
    runs, blends = parts(config)
    for run in runs:
        check(run, begun=(workspace.run(run.data.folder, run.name) / "run.json").is_file())
    if isinstance(config, ForecastConfig):
        check_forecasts.check(config)
    folder = workspace.data(config.data.folder)
    if not workspace.folds(config.data.folder).is_file():
        for line in prepare(config.data, workspace, sample=bool(config.data.sample) and not folder.exists()):
            log(line)
    competition = build(config.data.competition, config.data.options, folder)
    for run in runs:
        with_classes(competition, run.classes)
    for blended in blends:
        task_class(blended.task).check_blend(blended, competition)
    if jobs > 1:
        alone = [run for run in runs if not (run.imported or run.pseudo_labels or run.model.init_from)]
        train_at_once(alone, workspace, jobs)  # what is unfinished then is trained below
    if isinstance(config, ForecastConfig):
        run_forecasts(config, folder / TRUTH_FILE, workspace, log)
        return
    if isinstance(config, TableConfig):
        run_table(config, path, workspace, log)
        return
    for run in runs:
        if not run.imported:
            log(f"run {run.name}")
            train.train(run, workspace)
        else:
            train.require_imported(run, workspace)
    for line in _results(config, competition, workspace):
        log(line)
    log(as_text(leaderboard(config.data.folder, workspace)))


def _results(config: RunConfig | BlendConfig, competition: Competition, workspace: Workspace) -> Iterator[str]:
    """Score the run; blend, submit and score the blend, of a run that predicts masks alone; lines for people."""
    task = task_class(config.task)
    if isinstance(config, RunConfig):
        yield from task.report_run(config, workspace)
        if not task.MASKS or "test" not in competition.parts:
            return
        config = BlendConfig.of_run(config)
    yield from task.blend_lines(task.blend(config, workspace))
    yield from task.show_blend(config, workspace)
    if "test" in competition.parts:
        yield from (f"submission: {path}" for path in submit(config, workspace))
        folder = workspace.data(config.data.folder)
        for truth in (folder / TRUTH_FILE, folder / TRUTH_FOLDER):
            if truth.exists():
                yield from task.score_on_test(config, truth, workspace)


def parts(
    config: RunConfig | BlendConfig | TableConfig | ForecastConfig,
) -> tuple[tuple[RunConfig, ...], tuple[BlendConfig, ...]]:
    """The runs and the blends that a config names; of a study the run is not known yet."""
    if isinstance(config, RunConfig):
        return (config,), ()
    if isinstance(config, BlendConfig):
        return config.members, (config,)
    if isinstance(config, TableConfig):
        return config.runs, tuple(row.blend for row in config.models if row.blend)
    return tuple(config.networks.values()), ()
