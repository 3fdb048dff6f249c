"""The local leaderboard of a data set: every run, blend and forecast with its scores, best first."""

from __future__ import annotations

from collections.abc import Sequence

from skyfold.errors import DataLayoutError, SkyfoldError
from skyfold.reports.leaderboard import Entry, unreadable, unreadable_submissions
from skyfold.store.runs import read_info
from skyfold.tasks import task_class
from skyfold.workspace import Workspace


def leaderboard(name: str, workspace: Workspace) -> Sequence[Entry]:
    """Entries of data set `name`, best first, then the baselines.

    name: of the data set. DataLayoutError where nothing was trained yet. An entry that cannot be read is listed last,
    with the error as its kind.
    """
    folder = workspace.oof(name)
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not runs:
        raise DataLayoutError(f"{folder}: no runs here. Train one with skyfold train CONFIG, or name another data set.")
    entries: list[Entry] = []
    damaged = unreadable_submissions(workspace.submissions(name))
    for run in runs:
        try:
            info = read_info(run)
            entries += task_class(info.task).entries(run, info, workspace.submissions(name))
        except SkyfoldError as error:
            damaged.append(unreadable(run.name, error))
    return [*sorted(entries, key=lambda entry: entry.rank), *damaged]
