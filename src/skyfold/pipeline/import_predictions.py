"""Import predictions of another framework as a run: its maps are blended, post-processed and scored like own ones.

What cannot be known of them is said: whether they were made with these folds, unless a table of folds is given that
agrees, and which data they were trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from skyfold.competition import build
from skyfold.config.data import DataConfig
from skyfold.config.errors import explain
from skyfold.config.run import RunConfig
from skyfold.config.training import IMPORTED, ModelConfig
from skyfold.data.dataset import Dataset
from skyfold.data.foreign_predictions import read_ids
from skyfold.errors import ConfigError, DataLayoutError, listing, shortened
from skyfold.files import digest, file_digest
from skyfold.metrics.forecast_sums import FILE as SUMS
from skyfold.progress import Progress, note
from skyfold.store.contents import FILE as CONTENTS_FILE
from skyfold.store.fingerprint import NOT_APPLICABLE, Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.locks import held
from skyfold.store.rows import Shape, release_pages, row_shape
from skyfold.store.runs import TEST_FOLDS, RunInfo, begin_run, open_rows, read_info, require_kind
from skyfold.tables import read_rows
from skyfold.tasks import build_task, task_class
from skyfold.tasks.task import Task
from skyfold.types import ArraySequence, JsonDict, LazyArrays, Samples
from skyfold.workspace import Workspace

# What an import replaces in the folder of a run.
REPLACED = ("oof", "test", TEST_FOLDS, "pseudo_labels", "threshold_sweep", "rows.csv", SUMS, CONTENTS_FILE)


@dataclass(frozen=True)
class Foreign:
    """Files of predictions, see `foreign_predictions`.

    oof, test  of the two parts; several of the test part: one of each fold, in the order of the numbers in `folds`
    ids        CSV file with the ids of the rows of arrays, of both parts; None: they are in the order of the data
    folds      CSV file with the columns id and fold that they were made with; None: not known
    """

    oof: Path
    test: Sequence[Path] = ()
    ids: Path | None = None
    folds: Path | None = None


def import_predictions(
    name: str, data: DataConfig, foreign: Foreign, workspace: Workspace, *, task: str | None = None
) -> tuple[Path, list[str]]:
    """Store the predictions as the run `name`, maps resampled bilinearly to the competition's grid, and score it.

    Those of the test part by each fold are stored by fold, and their mean as the run's. task: of the run; None: that of
    the competition. Returns the run's folder, and its scores in lines for people. A run that was imported before under
    this name is replaced.

    Every prediction is checked before anything is written: DataLayoutError names the file and the sample where one is
    missing or no probability, or where the folds are others; ConfigError where no run can have this name or task, where
    the folder holds something else, and where it is not known which file is of which fold.
    """
    config = _config(name, data, task, workspace)
    folder = workspace.run(data.folder, name)
    with held(writes=[folder]):
        require_kind(folder, IMPORTED)
        dataset = task_class(config.task).open_targets(data, workspace)
        parts, of_task = _parts(foreign, dataset), build_task(config, dataset.competition)
        if "test" not in parts and dataset.test is not None:
            note(f"no predictions of the test part are imported; a blend of '{name}' cannot be submitted. Give --test.")
        maps = {part: _checked(own, foreign.ids, dataset, of_task) for part, own in parts.items()}
        source = {part: [_source(path) for path in own.files] for part, own in parts.items()}
        if foreign.ids is not None:
            source["ids"] = [_source(foreign.ids)]
        begun = RunInfo(
            name=name,
            kind=IMPORTED,
            task=config.task,
            classes=dataset.competition.classes,
            unit=dataset.competition.unit,
            config={**config.stored(), IMPORTED: {**source, "folds": "declared" if foreign.folds else "unknown"}},
            fingerprint=Fingerprint(
                folds=dataset.folds.hash(),
                fit=digest(*map(str, source.values())),
                rows=config.hash(),
                blend=NOT_APPLICABLE,
                threads=NOT_APPLICABLE,
            ),
        )
        info = begin_run(folder, begun, restart=True, discard=REPLACED)
        if len(by_fold := maps.get("test", [])) > 1:
            for fold, own in enumerate(by_fold):
                _write(folder, f"{TEST_FOLDS}/fold{fold}", info, of_task, parts["test"], own)
            maps["test"] = [_mean([by_fold[fold] for fold in dataset.folds.of_test])]
        for part, [own] in maps.items():
            _write(folder, part, info, of_task, parts[part], own)
        dataset.contents.record(folder)
    lines = of_task.report_run(config, workspace)
    _note_poor_score(folder, dataset, of_task)
    return folder, lines


def _config(name: str, data: DataConfig, task: str | None, workspace: Workspace) -> RunConfig:
    of_data = build(data.competition, data.options, workspace.existing_data(data.folder)).task
    try:
        config = RunConfig(name=name, data=data, task=task or of_data, model=ModelConfig(family=IMPORTED))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(RunConfig, error))) from None
    if of_data != task_class(config.task).TARGETS:
        raise ConfigError(
            f"--task: {config.task} is not for competition '{data.competition}', which is for {of_data}. Leave it off."
        )
    return config


@dataclass(frozen=True)
class _Part:
    """What is imported of a part of the data: predictions of the samples `rows`; several files: one of each fold."""

    samples: Samples
    rows: np.ndarray
    files: Sequence[Path]


def _parts(foreign: Foreign, dataset: Dataset) -> dict[str, _Part]:
    name_of = None if foreign.folds is None else _require_folds(foreign.folds, dataset.folds)
    parts = {"oof": _Part(dataset.train, np.flatnonzero(dataset.folds.fold >= 0), [foreign.oof])}
    if foreign.test:
        if dataset.test is None:
            raise DataLayoutError(f"{foreign.test[0]}: the data have no test part. Leave --test off.")
        files = foreign.test if len(foreign.test) == 1 else _files_by_fold(foreign, name_of, dataset.folds.k)
        parts["test"] = _Part(dataset.test, np.arange(len(dataset.test)), files)
    return parts


def _files_by_fold(foreign: Foreign, name_of: Mapping[int, str] | None, k: int) -> list[Path]:
    """Files of the test part in the order of the folds. name_of: what `foreign.folds` calls each fold."""
    if name_of is None:
        raise ConfigError(
            f"--test: {len(foreign.test)} files, one of each fold, but the folds are not known. Give their table with "
            "--folds FILE."
        )
    if len(foreign.test) != k:
        raise ConfigError(
            f"--test: {len(foreign.test)} files, expected {k}, one of each fold; or one file, the mean over the folds."
        )
    if others := [name for name in name_of.values() if not name.isdecimal()]:
        raise ConfigError(
            f"{foreign.folds}: fold '{others[0]}' has no number, so that the order of the files of --test is not known."
            " Number the folds."
        )
    if len({str(_source(path)["sha256"]) for path in foreign.test}) < k:
        raise ConfigError("--test: two files hold the same. Give the predictions of each fold's own models.")
    ranked = sorted(name_of, key=lambda fold: int(name_of[fold]))
    return [foreign.test[ranked.index(fold)] for fold in range(k)]


def _checked(part: _Part, ids_file: Path | None, dataset: Dataset, task: Task) -> list[ArraySequence]:
    """The predictions in each file, which are read once to be checked."""
    ids, listed = part.samples.ids[part.rows], None
    if ids_file is not None:
        own_ids = set(part.samples.ids.tolist())
        of_others = {name for samples in dataset.samples.values() for name in samples.ids.tolist()} - own_ids
        listed = [name for name in read_ids(ids_file) if name not in of_others]
        if unknown := [f"'{name}'" for name in listed if name not in own_ids]:
            raise DataLayoutError(f"{ids_file}: ids that the data do not have\n{listing(unknown)}")
    maps = [task.read_foreign(path, ids, listed) for path in part.files]
    shapes: list[tuple[int, ...]] = []
    for path, own in zip(part.files, maps, strict=True):
        most = 0
        with Progress(f"checking {path.name}", len(ids), "predictions") as progress:
            for index in range(len(ids)):
                values = own[index]
                most = max(most, int(values.max()) if values.dtype == np.uint8 else 255)
                if path == part.files[0]:
                    shapes.append(values.shape)
                elif values.shape != shapes[index]:
                    raise DataLayoutError(
                        f"{path}, '{ids[index]}': {values.shape}, in {part.files[0]} {shapes[index]}. Write the maps "
                        "of all folds with one size."
                    )
                progress.advance()
        if most == 1:
            raise DataLayoutError(
                f"{path}: bytes of 0 and 1 only, expected 255 x the probability. Write masks as bool, or as 0 and 255."
            )
    return maps


def _mean(maps: Sequence[ArraySequence]) -> ArraySequence:
    """float32, over the folds."""
    return LazyArrays(len(maps[0]), lambda i: np.mean([_as_float(own[i]) for own in maps], axis=0))


def _write(folder: Path, part: str, info: RunInfo, task: Task, of: _Part, maps: ArraySequence) -> None:
    shape = task.row_shape(of.samples)
    store = open_rows(folder, part, info, ids=of.samples.ids, shape=shape, dtype=task.dtype)
    with Progress(f"importing {part}", len(of.rows), "predictions") as progress:
        for place, row in enumerate(of.rows):
            values = as_row(maps[place], task, of.samples, row, row_shape(store.values, row))
            store.write(of.rows[place : place + 1], values[np.newaxis])
            release_pages(store.values)
            progress.advance()
    store.flush()


def as_row(values: np.ndarray, task: Task, samples: Samples, row: int, shape: Shape) -> np.ndarray:
    """The prediction of sample `row` as it is stored, in `shape`: maps of another size are resampled bilinearly.

    values: as `Task.read_foreign` gives them.
    """
    if values.dtype == np.dtype(task.dtype) and values.shape == shape:
        return values
    return np.asarray(task.to_rows(_as_float(values)[np.newaxis], samples, np.array([row]))[0])


def _note_poor_score(folder: Path, dataset: Dataset, task: Task) -> None:
    """Say where a run scores no better than predictions that take no model, and what may be the reason."""
    metric, info = dataset.competition.metric, read_info(folder)
    sign = 1 if metric.greater_is_better else -1
    known = {name: score for name, score in task.baselines(dataset).items() if math.isfinite(score)}
    if not known:
        return
    best = max(known, key=lambda name: sign * known[name])
    scores = {metric.name: -sign * math.inf, **info.scores}
    score = scores.get("cv_cross_fitted", scores[metric.name])
    if sign * score > sign * known[best]:
        return
    causes = ["rows in another order than their ids", "values of another scale"]
    if len(info.classes) > 1:
        causes.append(f"classes in another order than {shortened(info.classes)}")
    note(
        f"'{info.name}' scores {score:.4f} out of fold, no better than {best} ({known[best]:.4f}): likely causes are "
        f"{', '.join(causes[:-1])} or {causes[-1]}."
    )


def _as_float(values: np.ndarray) -> np.ndarray:
    """float32 of bytes, 255 x the probability; other values as they are."""
    return values / np.float32(255) if values.dtype == np.uint8 else values


def _require_folds(path: Path, folds: Folds) -> dict[int, str]:
    """What the table calls each fold; DataLayoutError unless it divides the samples as `folds`."""
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
    return seen


def _source(path: Path) -> JsonDict:
    """Name and SHA-256 of a file; of a folder a digest of its files."""
    if not path.is_dir():
        return {"file": path.name, "sha256": file_digest(path)}
    files = sorted(file for file in path.iterdir() if file.is_file())
    return {"file": path.name, "sha256": digest(*(file.name + file_digest(file) for file in files))}
