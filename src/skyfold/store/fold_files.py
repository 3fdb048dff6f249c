"""The folds.csv of a data set, and whether it belongs to the samples and settings at hand."""

from __future__ import annotations

import numpy as np

from skyfold.config.data import DataConfig
from skyfold.errors import DamagedFile, DataLayoutError
from skyfold.files import read_json, write_json
from skyfold.store.folds import Folds, read_folds, write_folds
from skyfold.workspace import Workspace


def load_folds(data: DataConfig, ids: np.ndarray, workspace: Workspace) -> Folds:
    """Read the folds; DataLayoutError where they are of other samples (the first is named) or of other settings."""
    path = workspace.folds(data.folder)
    folds = read_folds(path)
    remedy = (
        f"or give this data set a name of its own (data.name); or delete {path.parent}: all in it was made with these "
        "folds and has to be made again."
    )
    if not np.array_equal(folds.ids, ids):
        lost = [name for name in folds.ids.tolist() if name not in set(ids.tolist())]
        new = [name for name in ids.tolist() if name not in set(folds.ids.tolist())]
        what = (
            f"'{lost[0]}' is not in the data" if lost else f"'{new[0]}' is not in the file" if new else "order differs"
        )
        raise DataLayoutError(
            f"{path}: {len(folds.ids)} ids, the data has {len(ids)}; {what}. "
            f"Bring the data back to what it was; {remedy}"
        )
    made_with, settings = _made_with(data, workspace), data.folds.model_dump(mode="json")
    changed = [key for key, value in settings.items() if made_with is not None and made_with.get(key) != value]
    if made_with is not None and changed:
        said = ", ".join(f"{key} = {made_with.get(key)}" for key in changed)
        wanted = ", ".join(f"{key} = {settings[key]}" for key in changed)
        raise DataLayoutError(f"{path}: made with {said}; the config says {wanted}. Set it back; {remedy}")
    return folds


def save_folds(data: DataConfig, folds: Folds, workspace: Workspace) -> None:
    """Write folds.csv, and beside it the settings it was made with."""
    path = workspace.folds(data.folder)
    write_json(path.with_suffix(".json"), data.folds.model_dump(mode="json"))
    write_folds(path, folds)


def _made_with(data: DataConfig, workspace: Workspace) -> dict[str, object] | None:
    """None where folds.csv was brought along without its settings."""
    path = workspace.folds(data.folder).with_suffix(".json")
    if not path.is_file():
        return None
    settings: dict[str, object] = read_json(path)
    if not isinstance(settings, dict):
        raise DamagedFile(f"{path}: not what was written there. Delete it; folds.csv stays as it is.")
    return settings
