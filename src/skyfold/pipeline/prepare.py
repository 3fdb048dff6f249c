"""Check a contest's files, and decide once which sample belongs to which fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.data import DataConfig
from skyfold.data.duplicates import duplicate_groups
from skyfold.data.images import Resizable
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.progress import Progress
from skyfold.store.folds import Folds, folds_of_years, load_folds, make_folds, save_folds
from skyfold.types import Samples
from skyfold.workspace import Workspace


def prepare(data: DataConfig, workspace: Workspace, *, sample: bool = False) -> list[str]:
    """Check the files of `data`, writing a procedural sample first where `sample` asks for one; write folds.csv.

    Returns lines that say what was found. DataLayoutError lists everything that is wrong with the files. A folds.csv
    that is there is kept, so that runs made with it stay comparable.
    """
    folder = workspace.data(data.folder)
    if sample:
        _write_sample(data, folder)
    if not folder.is_dir():
        raise DataLayoutError(
            f"{folder}: no such folder. Put the contest's files there, name their folder with --data, "
            "or write a small procedural sample: skyfold prepare CONFIG --sample."
        )
    competition = build(data.competition, data.options, folder)
    lines = [competition.check(folder)]
    folds, note = _folds(data, competition, competition.load(folder, "train"), workspace)
    lines.append(note)
    lines.append("samples per fold: " + ", ".join(f"{k}: {(folds.fold == k).sum()}" for k in range(folds.k)))
    return lines


def _write_sample(data: DataConfig, folder: Path) -> None:
    competition = build(data.competition, data.options)
    if competition.write_sample is None:
        raise ConfigError(f"competition '{data.competition}' has no procedural sample.")
    if folder.exists():
        raise DataLayoutError(
            f"{folder}: already there; a sample is never written over files. Delete the folder first."
        )
    competition.write_sample(folder, **(data.sample or {}))


def _folds(data: DataConfig, competition: Competition, samples: Samples, workspace: Workspace) -> tuple[Folds, str]:
    path = workspace.folds(data.folder)
    if path.is_file():
        return load_folds(data, samples.ids, workspace), f"{path}: kept"
    if data.folds.years is not None:
        return _folds_of_years(data, competition, samples, workspace)
    if competition.horizon is not None:
        raise ConfigError(
            f"data.folds.years: say which years of '{data.competition}' are validated, as years: [2005, 2014]; its "
            "samples follow each other in time, and k folds would learn from what came later."
        )
    groups = np.arange(len(samples)) if samples.groups is None else samples.groups
    note = ""
    if isinstance(samples.inputs, Resizable) and data.folds.phash_max_distance >= 0:
        before = len(np.unique(groups))
        groups = duplicate_groups(samples.inputs, bits=data.folds.phash_max_distance, groups=groups)
        merged = before - len(np.unique(groups))
        note = f" ({merged} identical or near-identical images share a fold with their twin)" if merged else ""
    folds = make_folds(
        ids=samples.ids,
        labels=presence_labels(samples, len(competition.classes)),
        groups=groups,
        k=data.folds.k,
        seed=data.folds.seed,
    )
    save_folds(data, folds, workspace)
    return folds, f"{path}: {folds.k} folds of {len(folds.ids)} samples{note}"


def _folds_of_years(
    data: DataConfig, competition: Competition, samples: Samples, workspace: Workspace
) -> tuple[Folds, str]:
    assert data.folds.years is not None
    if samples.times is None or competition.horizon is None:
        raise ConfigError(f"data.folds.years: the samples of '{data.competition}' have no time. Give k instead.")
    folds = folds_of_years(
        ids=samples.ids,
        times=samples.times,
        years=data.folds.years,
        gap=competition.horizon,
        years_per_fold=data.folds.years_per_fold,
    )
    save_folds(data, folds, workspace)
    first, last = data.folds.years
    never = int((folds.fold < 0).sum())
    return folds, (
        f"{workspace.folds(data.folder)}: {folds.k} folds, the years {first} to {last}, each fitted on what was known "
        f"before it; {never} of {len(folds.ids)} samples are of other years and never validated"
    )


def presence_labels(samples: Samples, classes: int) -> np.ndarray:
    """Whether class k stands in sample i at all: bool (n, K), read from the targets."""
    labels = np.zeros((len(samples), classes), dtype=bool)
    if samples.targets is None:
        return labels
    with Progress("reading targets", len(samples), "samples") as progress:
        for i in range(len(samples)):
            target = samples.targets[i].astype(bool)
            if samples.valid is not None:
                target = target & samples.valid[i][..., None]
            labels[i] = target.reshape(-1, classes).any(axis=0)
            progress.advance()
    return labels
