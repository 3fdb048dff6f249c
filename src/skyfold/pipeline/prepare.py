"""Check a competition's files, and assign every sample to a fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.data import DataConfig
from skyfold.config.forecasts import FORECASTING
from skyfold.data.duplicates import duplicate_groups, files_of_samples, identical_samples
from skyfold.data.images import Resizable
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, DataLayoutError, UnfitFolds, shortened
from skyfold.files import read_json
from skyfold.progress import Progress, note
from skyfold.store.excluded import read_excluded
from skyfold.store.folds import (
    Folds,
    folds_of_years,
    grow_by_groups,
    grow_in_time,
    load_folds,
    make_folds,
    read_folds,
    samples_added,
    save_folds,
)
from skyfold.store.locks import held
from skyfold.store.records import FoldsRecord, read_record
from skyfold.tables import plain
from skyfold.types import Samples, VolumeMetric
from skyfold.workspace import Workspace


def prepare(data: DataConfig, workspace: Workspace, *, sample: bool = False) -> list[str]:
    """Check the files of `data` and write folds.csv; an existing folds.csv is kept, so that runs stay comparable.

    sample: write a procedural sample first. Returns lines on what was found. DataLayoutError lists everything that is
    wrong with the files, ConfigError what the folds ask for and the samples lack.
    """
    if sample:
        _write_sample(data, workspace.data(data.folder))
    folder, path = workspace.existing_data(data.folder), workspace.folds(data.folder)
    competition = build(data.competition, data.options, folder)
    found, samples = competition.check(folder), competition.load(folder, "train")
    _note_other_sample(data, folder)
    _note_copies(samples, competition.load(folder, "test") if "test" in competition.parts else None)
    with held(writes=[path]):
        folds, made = _kept_or_made(data, competition, samples, workspace)
    sizes = ", ".join(f"{k}: {(folds.fold == k).sum()}" for k in range(folds.k))
    excluded = [] if folds.used.all() else [f"excluded: {shortened(folds.ids[~folds.used].tolist())}"]
    return [found, f"{path}: {made}", f"samples per fold: {sizes}", *excluded]


def _kept_or_made(
    data: DataConfig, competition: Competition, samples: Samples, workspace: Workspace
) -> tuple[Folds, str]:
    """The folds and a note on them; written where there is no folds.csv, and where samples were added since."""
    path = workspace.folds(data.folder)
    if path.is_file():
        before, made = read_folds(path), "kept"
        folds = before
        if new := samples_added(before, samples.ids):
            _require_same_settings(path, data)
            folds = _grown(before, data, competition, samples)
            made = f"kept, {len(new)} samples added: {shortened(new)}. `skyfold train` or `run` predicts them"
        folds = _with_excluded(folds, data, competition, workspace)
        if new or not np.array_equal(folds.used, before.used):
            save_folds(data, folds, workspace, samples.groups)
        return load_folds(data, samples, workspace), made
    folds, made = (_k_folds if data.folds.years is None else _folds_of_years)(data, competition, samples)
    folds = _with_excluded(folds, data, competition, workspace)
    save_folds(data, folds, workspace, samples.groups)
    return folds, made


def _with_excluded(folds: Folds, data: DataConfig, competition: Competition, workspace: Workspace) -> Folds:
    """`folds` with the samples that `data.exclude` lists excluded; as they are where it is not set.

    ConfigError as `read_excluded`, for forecasts, where a fold would validate nothing, and for slices of volumes.
    """
    if data.exclude is None:
        return folds
    path, metric = workspace.root / data.exclude, competition.metric
    if competition.task == FORECASTING:
        raise ConfigError("data.exclude: not supported for forecasts, which need the frames between. Remove it.")
    excluded = read_excluded(path, folds.ids)
    found = replace(folds, excluded=excluded if excluded.any() else None)
    if emptied := set(range(folds.k)) - set(folds.fold[found.scored].tolist()):
        raise ConfigError(f"{path}: fold {min(emptied)} would validate no sample. Exclude fewer.")
    if isinstance(metric, VolumeMetric):
        volumes = np.array([metric.volume_of(name) for name in folds.ids.tolist()])
        if len(parted := np.intersect1d(volumes[excluded], volumes[~excluded])):
            raise ConfigError(f"{path}: '{metric.name}' scores volumes. List all slices of '{parted[0]}', or none.")
    return found


def _grown(before: Folds, data: DataConfig, competition: Competition, samples: Samples) -> Folds:
    """The folds `before`, and the samples that were added since. UnfitFolds as `grow_in_time`, `grow_by_groups`."""
    if before.times is not None:
        return grow_in_time(before, _folds_of_years(data, competition, samples)[0])
    groups, _ = _joined_groups(data, samples)
    return grow_by_groups(before, samples.ids, groups)


def _require_same_settings(path: Path, data: DataConfig) -> None:
    """UnfitFolds where folds.csv was made with other settings than `data` has, but for a later last year."""
    about, settings = path.with_suffix(".json"), data.folds.model_dump(mode="json")
    made_with = (
        read_record(about, FoldsRecord, remedy="Delete it; folds.csv stays as it is.") if about.is_file() else {}
    )
    then, now = made_with.get("years"), settings["years"]
    if then and now and then[0] == now[0] and then[1] <= now[1]:
        made_with = {**made_with, "years": now}
    if changed := [key for key, value in settings.items() if made_with.get(key, value) != value]:
        raise UnfitFolds(
            f"{path}: made with {changed[0]} = {made_with[changed[0]]}; the config has {settings[changed[0]]}. Set it "
            "back, then add the samples: skyfold prepare."
        )


def _write_sample(data: DataConfig, folder: Path) -> None:
    competition = build(data.competition, data.options)
    if competition.write_sample is None:
        raise ConfigError(f"competition '{data.competition}' has no procedural sample.")
    if folder.exists():
        raise DataLayoutError(
            f"{folder}: already there; a sample is never written over files. Delete the folder first."
        )
    with held(writes=[folder]):
        competition.write_sample(folder, **(data.sample or {}))


def _note_other_sample(data: DataConfig, folder: Path) -> None:
    """Say where the procedural sample in `folder` is not the one of the config."""
    about, asked = folder / ABOUT, data.sample or {}
    stored = read_json(about) if asked and about.is_file() else None
    if isinstance(stored, dict) and (other := [key for key, value in asked.items() if stored.get(key) != value]):
        here, wanted = (", ".join(f"{key} {of.get(key)}" for key in other) for of in (stored, asked))
        note(
            f"{folder}: holds the sample of {here}, data.sample of the config asks for {wanted}. For that one delete "
            "the folder and prepare with --sample."
        )


def _note_copies(train: Samples, test: Samples | None) -> None:
    """Say which test images are training images, and which identical training images have different masks."""
    if not isinstance(train.inputs, Resizable):
        return
    ids, known, files = train.ids.tolist(), len(train), files_of_samples(train.inputs)
    if test is not None and isinstance(test.inputs, Resizable):
        ids, files = ids + test.ids.tolist(), files + files_of_samples(test.inputs)
    both, unlike = [], []
    for rows in identical_samples(files):
        learnt = [row for row in rows if row < known]
        both += [f"'{ids[row]}' is '{ids[learnt[0]]}'" for row in rows if row >= known and learnt]
        if train.targets is not None and learnt[1:]:
            first = train.targets[learnt[0]]
            others = [row for row in learnt[1:] if not np.array_equal(train.targets[row], first)]
            unlike += [f"'{ids[learnt[0]]}' and '{ids[row]}'" for row in others]
    if both:
        note(
            f"{len(both)} of {len(files) - known} test images are training images: {shortened(both)}. What is "
            "predicted of them says nothing of new images; remove them from one of the two."
        )
    if unlike:
        note(f"identical images with different masks: {shortened(unlike)}. Remove those whose mask is wrong.")


def _k_folds(data: DataConfig, competition: Competition, samples: Samples) -> tuple[Folds, str]:
    """Stratified folds and a note on them; near-identical images share a fold."""
    if competition.horizon is not None:
        raise ConfigError(
            f"data.folds.years: say which years of '{data.competition}' are validated, as years: [2005, 2014]; its "
            "samples follow each other in time, and k folds would learn from what came later."
        )
    groups, text = _joined_groups(data, samples)
    labels = _presence_labels(samples, len(competition.classes))
    folds = make_folds(ids=samples.ids, labels=labels, groups=groups, k=data.folds.k, seed=data.folds.seed)
    return folds, f"{folds.k} folds of {len(folds.ids)} samples{text}"


def _joined_groups(data: DataConfig, samples: Samples) -> tuple[np.ndarray, str]:
    """Groups (n,) of the samples, near-identical images in one, and a note on those."""
    groups = np.arange(len(samples)) if samples.groups is None else samples.groups
    if not isinstance(samples.inputs, Resizable) or data.folds.phash_max_distance < 0:
        return groups, ""
    before = len(np.unique(groups))
    groups = duplicate_groups(samples.inputs, bits=data.folds.phash_max_distance, groups=groups)
    merged = before - len(np.unique(groups))
    text = f" ({merged} identical or near-identical images share a fold with their twin)" if merged else ""
    _refuse_too_few(data, samples, groups, before)
    return _named(groups, samples.groups), text


def _refuse_too_few(data: DataConfig, samples: Samples, groups: np.ndarray, before: int) -> None:
    """ConfigError where near-identical images leave fewer groups than folds, of `before` groups.

    groups (n,): of the samples, joined.
    """
    k, bits = data.folds.k, data.folds.phash_max_distance
    names, counts = np.unique(groups, return_counts=True)
    if len(names) >= min(k, before):
        return
    largest = [f"'{name}'" for name in samples.ids[groups == names[counts.argmax()]]]
    raise ConfigError(
        f"data.folds: {k} folds were asked for, but the images form only {len(names)} group{'s' * (len(names) > 1)}. "
        f"Images whose 256-bit hashes differ in at most {bits} bits are joined, by chains of such pairs, too: "
        f"{shortened(largest)} are one group. Set data.folds.phash_max_distance below {bits}, to compare more closely, "
        "or to -1, to join none."
    )


def _named(joined: np.ndarray, names: np.ndarray | None) -> np.ndarray:
    """Groups `joined` (n,) by the names of those that they join, "north + south"; as they are where `names` (n,) are no
    text, or a table could not tell them apart."""
    if names is None or names.dtype.kind != "U":
        return joined
    members: dict[int, dict[str, None]] = {}
    for number, name in zip(joined.tolist(), names.tolist(), strict=True):
        members.setdefault(number, {})[plain(name)] = None
    labels = {number: " + ".join(own) for number, own in members.items()}
    if len(set(labels.values()) - {""}) < len(labels):
        return joined
    return np.array([labels[number] for number in joined.tolist()])


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
