"""Check a competition's files, and assign every sample to a fold."""

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
    """Check the files of `data` and write folds.csv; an existing folds.csv is kept, so that runs stay comparable.

    sample: write a procedural sample first. Returns lines on what was found. DataLayoutError lists everything that is
    wrong with the files, ConfigError what the folds ask for and the samples lack.
    """
    folder, path = workspace.data(data.folder), workspace.folds(data.folder)
    if sample:
        _write_sample(data, folder)
    if not folder.is_dir():
        raise DataLayoutError(
            f"{folder}: no such folder. Put the competition's files there, name their folder with --data, "
            "or write a small procedural sample: skyfold prepare CONFIG --sample."
        )
    competition = build(data.competition, data.options, folder)
    found, samples = competition.check(folder), competition.load(folder, "train")
    if path.is_file():
        folds, note = load_folds(data, samples, workspace), "kept"
    else:
        folds, note = (_k_folds if data.folds.years is None else _folds_of_years)(data, competition, samples)
        save_folds(data, folds, workspace, samples.groups)
    sizes = ", ".join(f"{k}: {(folds.fold == k).sum()}" for k in range(folds.k))
    return [found, f"{path}: {note}", f"samples per fold: {sizes}"]


def _write_sample(data: DataConfig, folder: Path) -> None:
    competition = build(data.competition, data.options)
    if competition.write_sample is None:
        raise ConfigError(f"competition '{data.competition}' has no procedural sample.")
    if folder.exists():
        raise DataLayoutError(
            f"{folder}: already there; a sample is never written over files. Delete the folder first."
        )
    competition.write_sample(folder, **(data.sample or {}))


def _k_folds(data: DataConfig, competition: Competition, samples: Samples) -> tuple[Folds, str]:
    """Stratified folds and a note on them; near-identical images share a fold."""
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
    labels = _presence_labels(samples, len(competition.classes))
    folds = make_folds(ids=samples.ids, labels=labels, groups=groups, k=data.folds.k, seed=data.folds.seed)
    return folds, f"{folds.k} folds of {len(folds.ids)} samples{note}"


def _folds_of_years(data: DataConfig, competition: Competition, samples: Samples) -> tuple[Folds, str]:
    """Folds forward in time and a note on them."""
    years = data.folds.years
    assert years is not None
    if samples.times is None or competition.horizon is None:
        raise ConfigError(f"data.folds.years: the samples of '{data.competition}' have no time. Give k instead.")
    gap, width = competition.horizon, data.folds.years_per_fold
    folds = folds_of_years(ids=samples.ids, times=samples.times, years=years, gap=gap, years_per_fold=width)
    return folds, (
        f"{folds.k} folds, the years {years[0]} to {years[1]}, each fitted on what was known before it; "
        f"{(folds.fold < 0).sum()} of {len(folds.ids)} samples are of other years and never validated"
    )


def _presence_labels(samples: Samples, classes: int) -> np.ndarray:
    """bool (n, K): whether class k occurs in sample i, read from the targets."""
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
