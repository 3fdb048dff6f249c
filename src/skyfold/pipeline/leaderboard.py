"""The local leaderboard of a data set: every run, blend and forecast with its scores, best first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skyfold.config.data import DataConfig
from skyfold.data.dataset import open_dataset
from skyfold.errors import DataLayoutError, SkyfoldError
from skyfold.reports.leaderboard import Entry, unreadable, unreadable_submissions
from skyfold.store.contents import Contents, read_contents
from skyfold.store.folds import read_folds
from skyfold.store.runs import RunInfo, read_info, read_made_blend
from skyfold.tasks import task_class
from skyfold.tasks.stored_blend import AGAIN, require_members
from skyfold.workspace import Workspace


def leaderboard(name: str, workspace: Workspace) -> Sequence[Entry]:
    """Entries of data set `name`, best first, then the baselines.

    name: of the data set. DataLayoutError where nothing was trained yet. An entry that cannot be read is listed last,
    with the error as its kind; one of other folds than folds.csv says so.
    """
    folder = workspace.oof(name)
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not runs:
        raise DataLayoutError(f"{folder}: no runs here. Train one with skyfold train CONFIG, or name another data set.")
    entries: list[Entry] = []
    damaged = unreadable_submissions(workspace.submissions(name))
    at_hand: dict[str, Contents | None] = {}  # by the settings of the data
    folds: str | None = None
    try:
        folds = read_folds(workspace.folds(name)).hash() if workspace.folds(name).is_file() else None
    except SkyfoldError as error:
        damaged.append(unreadable("folds.csv", error))
    for run in runs:
        try:
            info = read_info(run)
            own = task_class(info.task).entries(run, info, workspace.submissions(name))
            if None not in (folds, info.fingerprint.folds) and info.fingerprint.folds != folds:
                own = [replace(entry, kind=f"{entry.kind}, of other folds than folds.csv") for entry in own]
            why = _outdated(run, info, workspace, at_hand)
            entries += [replace(entry, kind=f"{entry.kind}, outdated: {why}") if why else entry for entry in own]
        except SkyfoldError as error:
            damaged.append(unreadable(run.name, error))
    return [*sorted(entries, key=lambda entry: entry.rank), *damaged]


def _outdated(folder: Path, info: RunInfo, workspace: Workspace, at_hand: dict[str, Contents | None]) -> str:
    """What has changed since a run or blend was made, in words; '' where nothing has, or where it is not known."""
    if (folder / "blend.json").is_file():
        try:
            require_members(folder, info.name, read_made_blend(folder))
        except SkyfoldError as error:
            return str(error).removesuffix(f". {AGAIN}")
    made_from, key = read_contents(folder), json.dumps(info.config.get("data"), sort_keys=True)
    if made_from is None or "data" not in info.config:
        return ""
    if key not in at_hand:
        try:
            at_hand[key] = open_dataset(DataConfig.model_validate(info.config["data"]), workspace).contents
        except (SkyfoldError, ValueError):  # the files are elsewhere, or broken; `skyfold prepare` says so
            at_hand[key] = None
    now = at_hand[key]
    changes = made_from.changes(now) if now is not None else []
    return changes[0] if changes else ""
