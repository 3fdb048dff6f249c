"""Progress of the runs, blends, forecasts and studies of a project: what is done, what runs, what is left.

Read from what they write anyway: locks, records of fits, checkpoints, stored rows, the table of a study's trials.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from skyfold.config.files import load_run
from skyfold.config.training import ModelConfig
from skyfold.errors import OofMismatch, SkyfoldError
from skyfold.models import RuleFamily, family_of
from skyfold.reports.text_table import aligned
from skyfold.store.fits import FULL, WEIGHTS, HistoryRow, name_of, read_fits
from skyfold.store.folds import Folds, read_folds
from skyfold.store.locks import Holder, holders, living_holder
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo, read_info
from skyfold.training.checkpoint import read_epochs
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

RUNNING, COMPLETE, UNFINISHED = "running", "complete", "unfinished"


@dataclass(frozen=True)
class FitProgress:
    """A fit that is not finished, by its last checkpoint. name: fold and seed; epoch: trained so far; epochs: of the
    config; seconds_left: None where not known."""

    name: str
    epoch: int
    epochs: int
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """kind: run, blend, forecast, imported, study, or '' of what was not begun yet; done, total: number of `unit`s,
    total None where it is not known; fits: that are not finished; seconds_left: estimate of the training that is left,
    None where nothing is known; processes: that write it now."""

    data: str
    name: str
    kind: str
    state: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    fits: Sequence[FitProgress] = ()
    seconds_left: float | None = None
    processes: Sequence[Holder] = ()

    def told(self) -> JsonDict:
        """As `skyfold status --json` prints it."""
        return asdict(self)


def status(name: str | None, workspace: Workspace) -> list[Status]:
    """Everything that was begun on data set `name`, None: on all."""
    folders = [workspace.oof(name)] if name else sorted(workspace.oof(".").glob("*/"))
    return [one for folder in folders for one in _of_data(folder)]


def as_text(found: Sequence[Status]) -> str:
    """A table of each data set, and the processes at work below it."""
    lines: list[str] = []
    for data in dict.fromkeys(one.data for one in found):
        own = [one for one in found if one.data == data]
        rows = [(one.name, one.kind, one.state, _done(one), _now(one), _left(one)) for one in own]
        lines += [*([""] if lines else []), data, aligned([("name", "kind", "state", "done", "now", "left"), *rows])]
        lines += [f"{one.name}: {who}, since {who.since}" for one in own for who in one.processes]
    return "\n".join(lines) or "Nothing was begun yet. Train a run: skyfold train CONFIG."


def _done(one: Status) -> str:
    return "" if not one.unit else f"{one.done} of {one.total} {one.unit}" if one.total else f"{one.done} {one.unit}"


def _now(one: Status) -> str:
    fits = "; ".join(f"{fit.name}: epoch {fit.epoch} of {fit.epochs}" for fit in one.fits)
    if fits or one.state != RUNNING:
        return fits
    if not one.kind:
        return "reading data"
    return "no checkpoint yet" if one.unit == "fits" and one.done != one.total else ""


def _left(one: Status) -> str:
    return f"about {tqdm.format_interval(one.seconds_left)}" if one.seconds_left else ""


def _of_data(folder: Path) -> list[Status]:
    at_work = {name: [who for who in all_of if who.writes] for name, all_of in holders(folder).items()}
    folds = None
    with suppress(SkyfoldError):
        folds = read_folds(folder / "folds.csv")
    begun = {path.parent.name for path in folder.glob("*/run.json")}
    starting = {name for name, writers in at_work.items() if writers} - begun
    found = [Status(folder.name, name, "", RUNNING, processes=at_work[name]) for name in sorted(starting)]
    looks = {name: partial(_of_run, folder / name, folds, at_work.get(name, [])) for name in sorted(begun)}
    studies = sorted(path.parent for path in folder.glob("tuning/*/storage.txt"))
    for name, look in [*looks.items(), *((study.name, partial(_of_study, study)) for study in studies)]:
        try:
            found.append(look())
        except SkyfoldError as error:
            found.append(Status(folder.name, name, "", f"unreadable: {error}", processes=at_work.get(name, [])))
    return found


def _of_run(folder: Path, folds: Folds | None, processes: Sequence[Holder]) -> Status:
    info = read_info(folder)
    if info.kind == "run" and not _is_rule(info):
        return _of_fits(folder, info, folds, processes)
    done, total = _rows(folder, folds)
    whole = done == total
    if info.kind == "forecast":  # of some dates only, where its config says so
        whole = "seconds_a_date" in info.scores
    if info.kind == "blend":
        whole = (folder / "blend.json").is_file()
    state = RUNNING if processes else COMPLETE if whole else UNFINISHED
    return Status(folder.parent.name, folder.name, info.kind, state, done, total, "rows", processes=processes)


def _of_fits(folder: Path, info: RunInfo, folds: Folds | None, processes: Sequence[Holder]) -> Status:
    models, training = folder / "models", info.config.get("training") or {}
    records = {name: fit for name, fit in read_fits(models).items() if not name.startswith(FULL)}
    k = folds.k if folds else info.k or 0
    wanted = {f"fold{fold}_seed{seed}" for fold in range(k) for seed in info.seeds or ()}
    finished = [fit for name, fit in records.items() if name in wanted]
    epochs = most = training.get("epochs", 0)
    if training.get("patience") and finished:  # as long as the others took
        epochs = round(float(np.mean([fit["epochs"] for fit in finished])))
    began = max((datetime.fromisoformat(who.since).timestamp() for who in processes), default=math.inf)
    fits, per_epoch = _unfinished(models, epochs, most, began)
    if finished and (trained := sum(fit["epochs"] for fit in finished)):
        per_epoch = sum(fit["seconds"] for fit in finished) / trained
    waiting = len(wanted) - len(finished) - sum(not fit.name.startswith(FULL) for fit in fits)
    left = [fit.seconds_left for fit in fits] + [None if per_epoch is None else waiting * epochs * per_epoch]
    predicted, rows = _rows(folder, folds)
    whole = len(finished) == len(wanted) and predicted == rows
    return Status(
        folder.parent.name,
        folder.name,
        info.kind,
        RUNNING if processes else COMPLETE if whole else UNFINISHED,
        len(finished),
        len(wanted),
        "fits",
        fits,
        sum(filter(None, left)) if any(one is not None for one in left) else None,
        processes,
    )


def _unfinished(models: Path, expected: int, epochs: int, began: float) -> tuple[list[FitProgress], float | None]:
    """Fits with a checkpoint in the folder `models`, and seconds an epoch took in them; None where there is none.

    expected: epochs that a fit will train, at most `epochs`; began: when the process that trains did, infinite: none.
    """
    fits, rows = [], list[HistoryRow]()
    for path in sorted(models.glob("*.checkpoint.npz")):
        finished = path.with_name(path.name.replace(".checkpoint.npz", WEIGHTS)).is_file()
        if finished or not (history := read_epochs(path)):
            continue
        rows += history
        per_epoch = sum(row["seconds"] for row in history) / len(history)
        since = max(0.0, time.time() - max(began, path.stat().st_mtime))  # nothing where none trains
        left = max(0.0, (max(expected, len(history)) - len(history)) * per_epoch - since)
        fits.append(FitProgress(name_of(path), len(history), epochs, left))
    return fits, sum(row["seconds"] for row in rows) / len(rows) if rows else None


def _of_study(folder: Path) -> Status:
    workers = [who for path in sorted(folder.glob("workers/*.lock")) if (who := living_holder(path))]
    ended, total = [], None
    with suppress(FileNotFoundError), open(folder / "trials.csv", encoding="utf-8", newline="") as table:
        ended = [float(row["seconds"]) for row in csv.DictReader(table) if row["state"] in ("complete", "pruned")]
    for who in workers:
        if asked := re.search(r"--trials[ =](\d+)", who.command):
            total = int(asked[1])
    fits: list[FitProgress] = []
    for trial in sorted(path.parent for path in folder.glob("trials/*/*.checkpoint.npz")):
        epochs = load_run(trial / "config.yaml").training.epochs
        own, _ = _unfinished(trial, epochs, epochs, math.inf)
        fits += [replace(fit, name=f"trial {int(trial.name)}, {fit.name}") for fit in own]
    left = max(total - len(ended), 0) * float(np.mean(ended)) / len(workers) if total and ended else None
    state = RUNNING if workers else COMPLETE if ended and not fits else UNFINISHED
    return Status(folder.parents[1].name, folder.name, "study", state, len(ended), total, "trials", fits, left, workers)


def _is_rule(info: RunInfo) -> bool:
    return isinstance(family_of(ModelConfig.model_validate(info.config["model"])), RuleFamily)


def _rows(folder: Path, folds: Folds | None) -> tuple[int, int]:
    """Out-of-fold and test rows that are predicted, and all that will be: samples that no fold validates are not."""
    done = total = 0
    for part in ("oof", "test"):
        with suppress(OofMismatch):
            complete = np.array(RowStore.open(folder / part).complete, bool)
            if part == "oof" and folds and len(folds.fold) == len(complete):
                complete = complete[folds.fold >= 0]
            done, total = done + int(complete.sum()), total + len(complete)
    return done, total
