"""Blends on disk: rows like those of a run, and `blend.json` with members, weights, choices and scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.config.blend import BlendConfig
from skyfold.config.merging import dotted
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, OofMismatch, SkyfoldError, shortened
from skyfold.files import digest
from skyfold.progress import note
from skyfold.store.contents import FILE as CONTENTS_FILE
from skyfold.store.contents import Contents, require_run_of, require_unchanged
from skyfold.store.fingerprint import VERSION, Fingerprint
from skyfold.store.rows import rows_checksum
from skyfold.store.runs import (
    RunInfo,
    StoredRun,
    begin_run,
    current_fingerprint,
    open_rows,
    read_info,
    read_made_blend,
    read_run,
)
from skyfold.tasks._fit_combination import FittedCombination
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

AGAIN = "Run `skyfold blend` again."


def read_member(config: RunConfig, dataset: Dataset, workspace: Workspace) -> StoredRun:
    """The finished run of `config`; OofMismatch where the one that is stored was trained with another config, or on
    other data than `dataset` holds."""
    run = read_run(workspace.run(config.data.folder, config.name), dataset.folds)
    if current_fingerprint(run.info).different(Fingerprint(rows=config.hash())):
        made, again = "trained", "Train it again with skyfold train --restart"
        if config.imported:
            made, again = "imported", f"Import it again with skyfold import {config.name}"
        raise OofMismatch(
            f"run '{config.name}' was {made} with another config than its file has now. {again}, or take back what was "
            "changed."
        )
    require_run_of(dataset.contents, run.folder, config.name, imported=config.imported)
    return run


def read_blend(config: BlendConfig, workspace: Workspace, now: Contents | None = None) -> JsonDict:
    """What `blend.json` holds.

    now: what the data hold. ConfigError where the blend has not run with this config; OofMismatch where the data have
    changed or a run of it was trained again since, or where its rows are not those that were scored.
    """
    path = workspace.run(config.data.folder, config.name) / "blend.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not there yet. Run `skyfold blend` on the config first.")
    result = read_made_blend(path.parent)
    if result["config"] != config_json(config):
        raise ConfigError(f"{path}: made with another version of this config. Run `skyfold blend` again.")
    blended = {run["name"]: Fingerprint.from_json(run["fingerprint"], str(path)) for run in of_members(result)}
    for member in config.members:
        made, folder = blended.get(member.name), path.parent.with_name(member.name)
        if made is not None and made.version < VERSION and (folder / "run.json").is_file():
            made = current_fingerprint(read_info(folder))
        if made is None or made.different(Fingerprint(rows=member.hash())):
            again = "import the run again" if member.imported else "train the run again with skyfold train --restart"
            raise OofMismatch(
                f"the config of run '{member.name}' has changed since '{config.name}' was blended. Take back what was "
                f"changed, or {again}, then: {AGAIN}"
            )
    if now is not None:
        imported = [member.name for member in config.members if member.imported]
        runs = f"Train its runs on these data{', import ' + shortened(imported) + ' again' if imported else ''}"
        remedy = f"{runs}, then: {AGAIN}"
        require_unchanged(path.parent, now, since=f"'{config.name}' was blended", remedy=remedy)
    require_members(path.parent, config.name, result)
    return result


def note_unknown_folds(runs: Sequence[StoredRun]) -> None:
    """Say which of the members of a blend were imported without their folds."""
    for run in runs:
        if run.info.config.get("imported", {}).get("folds") == "unknown":
            note(
                f"run '{run.info.name}' was imported without its folds: if it was trained on other ones, its scores "
                "and those of the blend are too good. Import it again with --folds FILE."
            )


def note_replaced(folder: Path, config: BlendConfig) -> None:
    """Say what differs where the blend in `folder` was made with another config: two files may share a name."""
    if not (folder / "blend.json").is_file():
        return
    with suppress(SkyfoldError):  # damaged, and made again now
        before, now = dotted(read_made_blend(folder)["config"]), dotted(config_json(config))
        changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if changed:
            note(
                f"'{config.name}' was blended with another config, and is replaced (changed: {shortened(changed)}). "
                "Give one of two blends another name."
            )


def of_members(result: JsonDict) -> list[JsonDict]:
    """What `blend.json` records of the runs of a blend and of its gate."""
    return [*result["runs"], *([result["gate"]] if result["gate"] else [])]


def require_members(folder: Path, name: str, result: JsonDict) -> None:
    """OofMismatch where a run of the blend in `folder` was trained again since, or its rows are not those that were
    scored; result: its `blend.json`."""
    for run in of_members(result):  # one that is not stored any more is not needed: the blend has its own rows
        member, where = folder.with_name(run["name"]), str(folder / "blend.json")
        if not (member / "run.json").is_file():
            continue
        now, then = rows_of(member), Fingerprint.from_json(run["fingerprint"], where)
        if read_info(member).fingerprint.different(then) or now != run.get("rows", now):
            how = "imported" if read_info(member).kind == "imported" else "trained"
            raise OofMismatch(f"run '{run['name']}' was {how} anew since '{name}' was blended. {AGAIN}")
    now = rows_of(folder)
    if now != result.get("rows", now):
        raise OofMismatch(f"{folder}: its rows are not those that '{name}' was scored with. {AGAIN}")


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
    members = [f"{run.info.name} {run.info.fingerprint.digest()} {rows_of(run.folder)}" for run in runs]
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
    (folder / CONTENTS_FILE).unlink(missing_ok=True)
    dataset.contents.record(folder)
    parts = {"oof": [run.oof for run in runs], "test": [run.test for run in runs if run.test is not None]}
    for part, predictions in parts.items():
        if not predictions:
            continue
        first = predictions[0]
        arrays = [one.values for one in predictions]
        shape, dtype = combination.row_shape(arrays), first.values.dtype.str
        rows = open_rows(folder, part, info, ids=first.ids, shape=shape, dtype=dtype)
        if not np.array_equal(rows.complete, first.has_prediction):
            predicted = np.flatnonzero(first.has_prediction)
            rows.fill(combination.rows(arrays, predicted), count=len(predicted), label=f"blending {part}")
    return read_run(folder, dataset.folds)


def made_of(run: StoredRun) -> JsonDict:
    """Name, fingerprint and rows of a member, for `blend.json`."""
    return {"name": run.info.name, "fingerprint": run.info.fingerprint.to_json(), "rows": rows_of(run.folder)}


def rows_of(folder: Path) -> JsonDict:
    """Checksums of the rows that a run or blend has stored, by part."""
    stores = {part: folder / part for part in ("oof", "test")}
    return {part: rows_checksum(path) for part, path in stores.items() if (path / "rows.json").is_file()}


def config_json(config: BlendConfig) -> JsonDict:
    """The config as `blend.json` and `run.json` hold it."""
    values: JsonDict = config.model_dump(mode="json", exclude={"data": {"sample", "submissions_per_day", "exclude"}})
    return values
