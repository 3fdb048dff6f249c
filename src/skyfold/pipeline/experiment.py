"""Trains every model of a table, and searches where a row names a study; each is skipped where its work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.pipeline import train
from skyfold.pipeline.experiment_table import as_text, best_of_study, experiment_table
from skyfold.tasks import task_class
from skyfold.workspace import Workspace


def run_table(config: TableConfig, path: Path, workspace: Workspace, log: Callable[[str], None]) -> None:
    """Search, train, score and blend the models in the order of the table's rows, and say the table.

    The folds must be there. A process killed at any moment goes on with the same call.
    """
    from skyfold.tuning.tune import tune

    done: set[str] = set()

    def trained(run: RunConfig) -> None:
        if run.name in done:
            return
        result = train.train(run, workspace)
        if result.complete:
            task_class(run.task).report_run(run, workspace)
        done.add(run.name)

    for row in config.models:
        log(f"model {row.model}")
        for run in row.runs:
            trained(run)
        if row.blend is not None:
            task = task_class(row.blend.task)
            for line in task.blend_lines(task.blend(row.blend, workspace)):
                log(line)
        if row.study is not None:
            assert row.trials is not None
            tune(path.parent / row.study, workspace, trials=row.trials)
            best = best_of_study(config, path.parent / row.study, workspace)
            if not best.is_file():
                raise ConfigError(f"{path}: no trial of {row.study} is complete. Look at {best.parent}.")
            trained(load_run(best))
    log(as_text(experiment_table(config, path, workspace)))
