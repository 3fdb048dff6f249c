"""Whether runs, blends and submissions still fit what they were made from, in words."""

from __future__ import annotations

import json
from pathlib import Path

from skyfold.config.data import DataConfig
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import SkyfoldError
from skyfold.files import file_digest
from skyfold.progress import note
from skyfold.store.contents import read_contents
from skyfold.store.records import SidecarRecord, read_record
from skyfold.store.runs import RunInfo, read_info, read_made_blend
from skyfold.tasks.scored_with import scored_by
from skyfold.tasks.stored_blend import AGAIN, require_members
from skyfold.types import JsonDict
from skyfold.workspace import Workspace


def outdated_run(folder: Path, info: RunInfo, workspace: Workspace, at_hand: dict[str, Dataset | None]) -> str:
    """What has changed since the run or blend in `folder` was made; '' where nothing has, or where it is not known,
    which a note says where the data cannot be read.

    at_hand: the data, by their settings; data that are opened here are added.
    """
    if (folder / "blend.json").is_file():
        try:
            require_members(folder, info.name, read_made_blend(folder))
        except SkyfoldError as error:
            return str(error).removesuffix(f". {AGAIN}")
    made_from = read_contents(folder)
    if made_from is None or "data" not in info.config:
        return ""
    now = data_of(info, workspace, at_hand)
    if now is None:
        return ""
    if info.scores.get("metric") and not scored_by(info, now.competition):
        return f"metric '{now.competition.metric.name}' or its code changed since it was scored"
    changes = made_from.changes(now.contents)
    return changes[0] if changes else ""


def data_of(info: RunInfo, workspace: Workspace, at_hand: dict[str, Dataset | None]) -> Dataset | None:
    """The data set of the config of `info`, as they are now; None where they cannot be read, which a note says.

    at_hand: as of `outdated_run`.
    """
    return data_at_hand(info.config["data"], workspace, at_hand)


def data_at_hand(config: JsonDict, workspace: Workspace, at_hand: dict[str, Dataset | None]) -> Dataset | None:
    """As `data_of`, of the block `data` of a config."""
    key = json.dumps(config, sort_keys=True)
    if key not in at_hand:
        try:
            at_hand[key] = open_dataset(DataConfig.model_validate(config), workspace)
        except (SkyfoldError, ValueError, OSError) as error:  # the files are elsewhere, or broken
            if None not in at_hand.values():  # of other settings of the same data the reason is the same
                note(f"whether the data changed since is not known, they cannot be read: {error}")
            at_hand[key] = None
    return at_hand[key]


def outdated_submission(path: Path, workspace: Workspace) -> str:
    """What has changed since skyfold wrote the table `path`; '' where nothing has, or where it did not write it."""
    sidecar = path.with_suffix(".json")
    if not (path.is_file() and sidecar.is_file()):
        return ""
    try:
        about = read_record(sidecar, SidecarRecord, remedy="Write the submission again with `skyfold submit`.")
        if about["sha256"] != file_digest(path):
            return f"{path.name} is not as skyfold wrote it"
        if not isinstance(about.get("blend"), str):  # of a forecast
            return ""
        beside = path.resolve().parent
        folder = workspace.run(beside.name, about["blend"])
        if beside != workspace.submissions(beside.name) or not (folder / "blend.json").is_file():
            return ""
        blend = read_made_blend(folder)
        now = {**blend, "selection": blend["selection"].get(about.get("stage"))}
        if any(about.get(part) != now.get(part) for part in ("fingerprint", "weights", "selection")):
            return f"'{folder.name}' was blended again since {path.name} was submitted"
        return outdated_run(folder, read_info(folder), workspace, {})
    except SkyfoldError as error:
        return str(error)
