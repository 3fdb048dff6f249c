"""Train one run: read its data, decode them into the cache, fit every fold and store its predictions."""

from __future__ import annotations

from collections.abc import Sequence

from skyfold.config.run import RunConfig
from skyfold.tasks.open_run import check, open_run
from skyfold.training.run_folds import RunResult, run_folds
from skyfold.workspace import Workspace


def train(
    config: RunConfig, workspace: Workspace, *, only_folds: Sequence[int] | None = None, restart: bool = False
) -> RunResult:
    """Train the run of `config`; see `run_folds`. SkyfoldError where data, folds or a plug-in is missing."""
    check(config)
    run = open_run(config, workspace)
    return run_folds(
        run.task,
        run.arrays["train"],
        run.arrays.get("test"),
        run.folds,
        workspace.run(config.data.folder, config.name),
        only_folds=only_folds,
        restart=restart,
        contents=run.contents,
    )
