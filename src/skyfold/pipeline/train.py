"""Train one run: read its data, decode them into the cache, fit every fold and store its predictions."""

from __future__ import annotations

from collections.abc import Sequence

from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.loggers import Loggers
from skyfold.models import RuleFamily, family_of
from skyfold.store.locks import held
from skyfold.tasks.open_run import check, not_trained, open_run
from skyfold.training.run_folds import RunResult, run_folds
from skyfold.workspace import Workspace


def require_imported(config: RunConfig, workspace: Workspace) -> None:
    """ConfigError where the predictions of an imported run are not there."""
    if not (workspace.run(config.data.folder, config.name) / "run.json").is_file():
        raise not_trained(config)


def train(
    config: RunConfig,
    workspace: Workspace,
    *,
    only_folds: Sequence[int] | None = None,
    restart: bool = False,
    full: bool = False,
) -> RunResult:
    """Train the run of `config`; see `run_folds`. SkyfoldError where data, folds or a plug-in is missing, or another
    process uses the run, or trains one that this one starts or learns from."""
    if config.imported:
        raise not_trained(config)
    if full and only_folds:
        raise ConfigError("--full fits all samples once every fold is fitted. Remove --fold, or --full.")
    if full and isinstance(family_of(config.model), RuleFamily):
        raise ConfigError(f"--full: model.family {config.model.family} is not trained. Remove --full.")
    folder = workspace.run(config.data.folder, config.name)
    begun = (folder / "run.json").is_file() and not restart
    check(config, begun=begun)
    if not begun:
        Loggers(config.loggers).require()
    sources = [workspace.run(config.data.folder, config.pseudo_labels.run)] if config.pseudo_labels else []
    if init := config.model.init_from:
        sources.append(workspace.run(init.data or config.data.folder, init.run))
    with held(writes=[folder], reads=sources):
        run = open_run(config, workspace)
        return run_folds(
            run.task,
            run.arrays["train"],
            run.arrays.get("test"),
            run.folds,
            folder,
            only_folds=only_folds,
            restart=restart,
            full=full,
            contents=run.contents,
        )
