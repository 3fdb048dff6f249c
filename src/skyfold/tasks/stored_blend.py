"""Blends on disk: rows like those of a run, and `blend.json` with members, weights, choices and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.progress import Progress
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.rows import release_pages
from skyfold.store.runs import RunInfo, StoredRun, begin_run, open_rows, read_info, read_made_blend, read_run
from skyfold.tasks._fit_combination import FittedCombination
from skyfold.types import JsonDict
from skyfold.workspace import Workspace


def read_member(config: RunConfig, folds: Folds, workspace: Workspace) -> StoredRun:
    """The finished run of `config`; OofMismatch where the one that is stored was trained with another config."""
    run = read_run(workspace.run(config.data.folder, config.name), folds)
    if run.info.fingerprint.rows != config.hash():
        raise OofMismatch(
            f"run '{config.name}' was trained with another config than its file has now. Train it again with "
            "skyfold train --restart, or take back what was changed."
        )
    return run


def read_blend(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """Contents of `blend.json`.

    ConfigError where the blend has not run with this config, OofMismatch where a run of it was trained again since.
    """
    path = workspace.run(config.data.folder, config.name) / "blend.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not there yet. Run `skyfold blend` on the config first.")
    result = read_made_blend(path.parent)
    if result["config"] != config_json(config):
        raise ConfigError(f"{path}: made with another version of this config. Run `skyfold blend` again.")
    for run in result["runs"]:  # one that is not stored any more is not needed: the blend has rows of its own
        folder, made_of = path.parent.with_name(run["name"]), Fingerprint.from_json(run["fingerprint"], str(path))
        if (folder / "run.json").is_file() and read_info(folder).fingerprint.different(made_of):
            raise OofMismatch(
                f"run '{run['name']}' was trained anew, with another config, since '{config.name}' was blended. Run "
                "`skyfold blend` again."
            )
    return result


@dataclass(frozen=True)
class Blend:
    """A stored blend, its members, and what was fitted to combine them; gate: the classifier, if any."""

    config: BlendConfig
    dataset: Dataset
    runs: Sequence[StoredRun]
    gate: StoredRun | None
    fitted: FittedCombination
    stored: StoredRun


def store_blend(
    config: BlendConfig, fitted: FittedCombination, runs: Sequence[StoredRun], dataset: Dataset, workspace: Workspace
) -> StoredRun:
    """Store the rows of a blend like those of a run, of both parts.

    ConfigError where the folder holds something other than a blend.
    """
    folder = workspace.run(config.data.folder, config.name)
    if (folder / "run.json").is_file() and read_info(folder).kind != "blend":
        raise ConfigError(f"{folder}: holds the run '{config.name}'. Give the blend a name of its own.")
    members = [f"{run.info.name} {run.info.fingerprint.digest()}" for run in runs]
    combination, what = fitted.whole, [config.combine, str(config.weights)]
    if fitted.by_fold or config.merge:
        what.append(combination.hash())
    begun = RunInfo(
        name=config.name,
        kind="blend",
        task=runs[0].info.task,
        classes=dataset.competition.classes,
        unit=runs[0].info.unit,
        config=config_json(config),
        fingerprint=Fingerprint(folds=dataset.folds.hash(), blend=digest(*what, *members)),
    )
    info = begin_run(folder, begun, restart=True)
    parts = {"oof": [run.oof for run in runs], "test": [run.test for run in runs if run.test is not None]}
    for part, predictions in parts.items():
        if not predictions:
            continue
        first = predictions[0]
        arrays = [one.values for one in predictions]
        shape = (*first.values.shape[1:-1], combination.classes(arrays))
        rows = open_rows(folder, part, info, ids=first.ids, shape=shape, dtype=first.values.dtype.str)
        if np.array_equal(rows.complete, first.has_prediction):
            continue
        with Progress(f"blending {part}", len(first.ids), "rows") as progress:
            for chunk, values in combination.rows(arrays, np.flatnonzero(first.has_prediction)):
                rows.write(chunk, values)
                release_pages(rows.values)
                progress.advance(len(chunk))
        rows.flush()
    return read_run(folder, dataset.folds)


def made_of(run: StoredRun) -> JsonDict:
    """Name and fingerprint of a member, for `blend.json`."""
    return {"name": run.info.name, "fingerprint": run.info.fingerprint.to_json()}


def config_json(config: BlendConfig) -> JsonDict:
    """The config as `blend.json` and `run.json` hold it."""
    values: JsonDict = config.model_dump(mode="json", exclude={"data": {"sample"}})
    return values
