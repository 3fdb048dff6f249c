"""Import predictions of another framework as a run: its maps are blended, post-processed and scored like own ones.

What cannot be known of them is said: whether they were made with these folds, unless a table of folds is given that
agrees, and which data they were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from skyfold.config.data import DataConfig
from skyfold.config.errors import explain
from skyfold.config.run import RunConfig
from skyfold.config.training import IMPORTED, ModelConfig
from skyfold.data.dataset import Dataset
from skyfold.data.foreign_predictions import read_ids, read_predictions
from skyfold.errors import ConfigError, DataLayoutError, listing
from skyfold.files import digest, file_digest
from skyfold.progress import Progress, note
from skyfold.store.contents import FILE as CONTENTS_FILE
from skyfold.store.fingerprint import NOT_APPLICABLE, Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.locks import held
from skyfold.store.rows import release_pages, row_shape
from skyfold.store.runs import RunInfo, begin_run, open_rows, require_kind
from skyfold.tables import read_rows
from skyfold.tasks import build_task, task_class
from skyfold.tasks.task import Task
from skyfold.types import ArraySequence, JsonDict, Samples
from skyfold.workspace import Workspace

TASK = "segmentation"


@dataclass(frozen=True)
class Foreign:
    """Files of predictions. oof, test: see `foreign_predictions`, test None: there are none; ids: CSV file with the ids
    of the rows of arrays, of both parts; folds: CSV file with the columns id and fold that they were made with."""

    oof: Path
    test: Path | None = None
    ids: Path | None = None
    folds: Path | None = None


def import_predictions(name: str, data: DataConfig, foreign: Foreign, workspace: Workspace) -> tuple[Path, list[str]]:
    """Store the maps as the run `name`, resampled bilinearly to the competition's grid, and score it.

    Returns its folder, and its scores in lines for people. A run that was imported before under this name is replaced.
    Every map is checked before anything is written: DataLayoutError names the file and the sample where one is missing
    or no probability, or where the folds are others; ConfigError where no run can have this name, or the folder
    holds something else.
    """
    try:
        config = RunConfig(name=name, data=data, model=ModelConfig(family=IMPORTED))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(RunConfig, error))) from None
    folder = workspace.run(data.folder, name)
    with held(writes=[folder]):
        require_kind(folder, IMPORTED)
        dataset = task_class(TASK).open_targets(data, workspace)
        declared = foreign.folds is not None and _require_folds(foreign.folds, dataset.folds)
        rows = {"oof": np.flatnonzero(dataset.folds.fold >= 0)}
        samples = {"oof": dataset.train}
        if foreign.test is not None and dataset.test is not None:
            samples["test"], rows["test"] = dataset.test, np.arange(len(dataset.test))
        elif foreign.test is not None:
            raise DataLayoutError(f"{foreign.test}: '{data.folder}' has no test part. Leave --test off.")
        elif dataset.test is not None:
            note(f"no predictions of the test part are imported; a blend of '{name}' cannot be submitted. Give --test.")
        maps = _checked(foreign, samples, rows, dataset)
        source = {part: _source(path) for part, path in (("oof", foreign.oof), ("test", foreign.test)) if path}
        about = {**source, "folds": "declared" if declared else "unknown"}
        begun = RunInfo(
            name=name,
            kind=IMPORTED,
            task=TASK,
            classes=dataset.competition.classes,
            unit=dataset.competition.unit,
            config={**config.stored(), "imported": about},
            fingerprint=Fingerprint(
                folds=dataset.folds.hash(),
                fit=digest(*map(str, source.values())),
                rows=config.hash(),
                blend=NOT_APPLICABLE,
                threads=NOT_APPLICABLE,
            ),
        )
        info = begin_run(folder, begun, restart=True, discard=("oof", "test", "threshold_sweep", CONTENTS_FILE))
        kind = build_task(config, dataset.competition)
        for part, own in maps.items():
            _write(folder, part, info, kind, samples[part], rows[part], own)
        dataset.contents.record(folder)
    return folder, task_class(TASK).report_run(config, workspace)


def _checked(
    foreign: Foreign, samples: dict[str, Samples], rows: dict[str, np.ndarray], dataset: Dataset
) -> dict[str, ArraySequence]:
    """The maps of both parts, each read once to be checked."""
    listed = None if foreign.ids is None else read_ids(foreign.ids)
    maps = {}
    for part, path in (("oof", foreign.oof), ("test", foreign.test)):
        if path is None:
            continue
        ids, own = samples[part].ids[rows[part]], None
        if listed is not None:
            of_other = set().union(*(each.ids.tolist() for name, each in samples.items() if name != part))
            own = [name for name in listed if name not in of_other]
            if unknown := [f"'{name}'" for name in own if name not in set(samples[part].ids.tolist())]:
                raise DataLayoutError(f"{foreign.ids}: ids that the data do not have\n{listing(unknown)}")
        maps[part] = read_predictions(path, ids, dataset.competition, own)
        most = 0
        with Progress(f"checking {path.name}", len(ids), "maps") as progress:
            for index in range(len(ids)):
                values = maps[part][index]
                most = max(most, int(values.max()) if values.dtype == np.uint8 else 255)
                progress.advance()
        if most == 1:
            raise DataLayoutError(
                f"{path}: bytes of 0 and 1 only, expected 255 x the probability. Write masks as bool, or as 0 and 255."
            )
    return maps


def _write(
    folder: Path, part: str, info: RunInfo, task: Task, samples: Samples, rows: np.ndarray, maps: ArraySequence
) -> None:
    store = open_rows(folder, part, info, ids=samples.ids, shape=task.row_shape(samples), dtype=task.dtype)
    with Progress(f"importing {part}", len(rows), "maps") as progress:
        for place, row in enumerate(rows):
            values = maps[place]
            if values.dtype != store.values.dtype or values.shape != row_shape(store.values, row):
                scale = np.float32(255 if values.dtype == np.uint8 else 1)
                values = task.to_rows(values[np.newaxis] / scale, samples, rows[place : place + 1])[0]
            store.write(rows[place : place + 1], values[np.newaxis])
            release_pages(store.values)
            progress.advance()
    store.flush()


def _require_folds(path: Path, folds: Folds) -> bool:
    """DataLayoutError unless the table divides the samples as `folds`, whatever numbers it gives to them."""
    header, lines = read_rows(path, ("id", "fold"), refuse=DataLayoutError)
    theirs = {fields[header.index("id")]: fields[header.index("fold")] for _, fields in lines}
    wrong, seen, taken = [], dict[int, str](), dict[str, int]()
    for name, fold in zip(folds.ids.tolist(), folds.fold.tolist(), strict=True):
        if fold < 0:
            continue
        other = theirs.get(name)
        if other is None:
            wrong.append(f"no row for '{name}'")
        elif seen.setdefault(fold, other) != other or taken.setdefault(other, fold) != fold:
            wrong.append(f"'{name}' is in fold {other}, others of fold {fold} of folds.csv in {seen[fold]}")
    if wrong:
        raise DataLayoutError(
            f"{path}: not the folds of folds.csv, so that out-of-fold predictions would have seen what they are scored "
            f"on. Train with the column fold of folds.csv.\n{listing(wrong)}"
        )
    return True


def _source(path: Path) -> JsonDict:
    """Name and digest of a file, or of all files in a folder."""
    files: Sequence[Path] = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return {"file": path.name, "sha256": digest(*(file.name + file_digest(file) for file in files))}
