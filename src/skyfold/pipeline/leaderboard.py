"""The local leaderboard of a data set: every run, blend and forecast with its scores, best first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from skyfold.data.dataset import Dataset
from skyfold.errors import DamagedFile, DataLayoutError, SkyfoldError
from skyfold.pipeline.outdated import outdated_run
from skyfold.pipeline.public_scores import public_scores
from skyfold.reports.leaderboard import (
    Entry,
    each_baseline_once,
    unreadable,
    unreadable_submissions,
    with_public_scores,
)
from skyfold.reports.mixed_fits import mixed_fits
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_info
from skyfold.tasks import task_class
from skyfold.workspace import Workspace


def leaderboard(name: str, workspace: Workspace, at_hand: dict[str, Dataset | None] | None = None) -> Sequence[Entry]:
    """Entries of data set `name`, best first, then the baselines, each once.

    name: of the data set; at_hand: data that are open already, by their settings; those that are opened are added.
    DataLayoutError where nothing was trained yet. An entry that cannot be read is listed last,
    with the error as its kind; one of other folds than folds.csv says so.
    """
    folder = workspace.oof(name)
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not runs:
        others = sorted({path.parents[1].name for path in workspace.oof(".").glob("*/*/run.json")})
        there = f" Data sets with runs: {', '.join(others)}." if others else ""
        raise DataLayoutError(
            f"{folder}: no runs here. Train one with skyfold train CONFIG, or name another data set.{there}"
        )
    entries: list[Entry] = []
    damaged = unreadable_submissions(workspace.submissions(name))
    at_hand = {} if at_hand is None else at_hand
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
            if info.name != run.name:
                own = [replace(entry, kind=f"{entry.kind}, in the folder '{run.name}'") for entry in own]
            why = outdated_run(run, info, workspace, at_hand)
            own = [replace(entry, kind=f"{entry.kind}, outdated: {why}") if why else entry for entry in own]
            with suppress(DamagedFile):  # named where the fit is used
                mixed = mixed_fits(info.name, run / "models")
                own = [replace(entry, remark="\n".join(filter(None, (entry.remark, mixed)))) for entry in own]
            entries += [replace(entry, folder=run) for entry in own]
        except SkyfoldError as error:
            damaged.append(unreadable(run.name, error))
    ranked = [*sorted(each_baseline_once(entries), key=lambda entry: entry.rank), *damaged]
    try:
        return with_public_scores(ranked, public_scores(name, workspace))
    except SkyfoldError as error:
        return [*ranked, unreadable("submitted", error)]
