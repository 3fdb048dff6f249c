"""Trains every model of a table, and searches where a row names a study; each is skipped where its work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skyfold.config import TableConfig, load_run
from skyfold.errors import ConfigError
from skyfold.leaderboard.experiment_table import as_text, experiment_table, run_file
from skyfold.pipeline.blend import open_context, score_run
from skyfold.workspace import Workspace


def run_table(config: TableConfig, path: Path, workspace: Workspace, say: Callable[[str], None]) -> None:
    """Search, train and score the models in the order of the table's rows, and say the table.

    The folds must be there. A process killed at any moment goes on with the same call.
    """
    from skyfold.training.run_folds import train
    from skyfold.tuning.tune import tune

    for row in config.models:
        say(f"model {row.model}")
        if row.study is not None:
            assert row.trials is not None
            tune(path.parent / row.study, workspace, trials=row.trials)
        file = run_file(config, row, path, workspace)
        if not file.is_file():
            raise ConfigError(f"{path}: no trial of {row.study} is complete. Look at {file.parent}.")
        run = load_run(file)
        trained = train(run, workspace)
        if trained.complete:
            score_run(trained.folder, open_context(config.data, workspace))
    say(as_text(experiment_table(config, path, workspace)))
