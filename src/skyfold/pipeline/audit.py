"""Audit a data set before training: copies across folds and parts, groups across folds, a test part unlike training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import build
from skyfold.config.data import DataConfig
from skyfold.data.duplicates import files_of_samples, identical_samples
from skyfold.data.images import Resizable
from skyfold.data.name_groups import guessed_groups
from skyfold.data.near_copies import BYTES, Copy, coarse_structure, near_copies
from skyfold.data.thumbnails import Thumbnails, look_at
from skyfold.errors import ConfigError, shortened
from skyfold.files import write_csv
from skyfold.metrics.adversarial import Apart, told_apart
from skyfold.store.folds import load_folds
from skyfold.types import JsonDict, Samples
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """kind: what it is about; text: a sentence for people; leak: whether scores can be too good because of it."""

    kind: str
    text: str
    leak: bool
    figures: JsonDict


@dataclass(frozen=True)
class Audit:
    """findings: the leaks first; table: CSV of the copies that were found."""

    findings: Sequence[Finding]
    table: Path

    def lines(self) -> list[str]:
        """For people."""
        return [f"{'LEAK' if one.leak else 'ok'}: {one.text}" for one in self.findings]

    def told(self) -> list[JsonDict]:
        """For --json."""
        return [asdict(one) for one in self.findings]


def audit(data: DataConfig, workspace: Workspace) -> Audit:
    """Look for leaks in the images of `data`; writes `oof/<data>/audit/copies.csv`.

    Folds are looked at where folds.csv is there. ConfigError where samples are no images.
    """
    folder = workspace.existing_data(data.folder)
    competition = build(data.competition, data.options, folder)
    train = competition.load(folder, "train")
    test = competition.load(folder, "test") if "test" in competition.parts else None
    if not isinstance(train.inputs, Resizable):
        raise ConfigError(f"skyfold audit looks at images; the samples of '{data.competition}' are none.")
    fold = None
    if workspace.folds(data.folder).is_file():
        known = load_folds(data, train, workspace)
        fold = np.where(known.used, known.fold, -1)
    seen = look_at(train.inputs)
    of_test = look_at(test.inputs) if test is not None and isinstance(test.inputs, Resizable) else None
    copies, table = copies_among(train, test, seen, of_test), workspace.oof(data.folder) / "audit" / "copies.csv"
    ids = [*train.ids.tolist(), *(test.ids.tolist() if of_test is not None and test is not None else ())]
    folds = ["" if fold is None else str(number) for number in (np.zeros(len(train), int) if fold is None else fold)]
    folds += ["test"] * (len(ids) - len(train))
    rows = [
        (ids[c.first], folds[c.first], ids[c.second], folds[c.second], c.view, f"{c.similarity:.4f}") for c in copies
    ]
    write_csv(table, [("first", "fold", "second", "fold of second", "view", "similarity"), *rows])
    findings = [*_of_copies(copies, ids, len(train), fold, train)]
    if fold is not None:
        findings += _of_groups(train, seen, fold)
        findings.append(_of_folds(train, seen, fold))
    if of_test is not None:
        findings.append(_of_test(train, seen, of_test))
    return Audit(sorted(findings, key=lambda one: not one.leak), table)


def copies_among(
    train: Samples, test: Samples | None, seen: Thumbnails, of_test: Thumbnails | None = None
) -> list[Copy]:
    """Copies among the training images and, numbered after them, the test images."""
    assert isinstance(train.inputs, Resizable)
    files, grey = files_of_samples(train.inputs), seen.grey
    if of_test is not None and test is not None and isinstance(test.inputs, Resizable):
        files, grey = files + files_of_samples(test.inputs), np.concatenate([grey, of_test.grey])
    found = {(one.first, one.second): one for one in near_copies(grey)}
    for rows in identical_samples(files):
        first, *others = sorted(rows)
        found |= {(first, row): Copy(first, row, BYTES, 1.0) for row in others}
    return [found[pair] for pair in sorted(found)]


def _of_copies(
    copies: Sequence[Copy], ids: Sequence[str], known: int, fold: np.ndarray | None, train: Samples
) -> list[Finding]:
    within = [one for one in copies if one.second < known]
    across = [one for one in copies if one.first < known <= one.second]
    findings = []
    if fold is not None:
        apart = [
            one for one in within if fold[one.first] != fold[one.second] and -1 not in fold[[one.first, one.second]]
        ]
        text = _pairs(within, "near-identical training images")
        text += f", {len(apart)} of them in different folds{_named(apart, ids)}."
        remedy = " Name them as one group in the data set's table, or leave one of them out."
        findings.append(
            Finding("copies between folds", text + (remedy if apart else ""), bool(apart), {"pairs": len(apart)})
        )
    else:
        text = f"{_pairs(within, 'near-identical training images')}{_named(within, ids)}."
        findings.append(Finding("copies", text, False, {"pairs": len(within)}))
    if len(ids) > known:
        text = f"{_pairs(across, 'near-identical training and test images')}{_named(across, ids)}."
        findings.append(Finding("copies in the test part", text, bool(across), {"pairs": len(across)}))
    unlike = [one for one in within if _other_masks(one, train)]
    if unlike:
        text = f"{_pairs(unlike, 'copies whose masks differ')}{_named(unlike, ids)}."
        findings.append(Finding("copies with different masks", text, False, {"pairs": len(unlike)}))
    return findings


def _pairs(copies: Sequence[Copy], what: str) -> str:
    return f"{len(copies)} pair{'s' * (len(copies) != 1)} of {what}"


def _other_masks(one: Copy, train: Samples) -> bool:
    """Whether the masks of two copies that are laid alike differ in more than 1 % of the pixels."""
    if train.targets is None or not one.laid_alike:
        return False
    first, second = (train.targets[row].astype(bool) for row in (one.first, one.second))
    return first.shape == second.shape and float((first != second).mean()) > 0.01


def _named(copies: Sequence[Copy], ids: Sequence[str]) -> str:
    names = [
        f"'{ids[one.first]}' and '{ids[one.second]}'{'' if one.view == 'as it is' else f' ({one.view})'}"
        for one in copies
    ]
    return f": {shortened(names)}" if names else ""


def _of_groups(train: Samples, seen: Thumbnails, fold: np.ndarray) -> list[Finding]:
    """What names tell of groups, where the contest tells of none."""
    if train.groups is not None:
        return []
    found = guessed_groups(train.ids.tolist(), coarse_structure(seen.grey))
    if found is None:
        return [Finding("groups", "names of samples tell of no groups that images bear out.", False, {})]
    split = [name for name in np.unique(found.groups) if len(set(fold[found.groups == name]) - {-1}) > 1]
    text = (
        f"names tell of {len(np.unique(found.groups))} groups ({found.part}), within which images are more alike "
        f"(correlation {found.alike:+.2f}); {len(split)} of them lie in several folds"
        f"{': ' + shortened(split) if split else ''}."
    )
    if split:
        text += " Name the groups in the data set's table, so that each is kept in one fold."
    return [
        Finding("groups", text, bool(split), {"groups": len(np.unique(found.groups)), "in_several_folds": len(split)})
    ]


def _of_folds(train: Samples, seen: Thumbnails, fold: np.ndarray) -> Finding:
    used = fold >= 0
    found = {
        int(one): told_apart(seen.features[used], fold[used] == one, seen.names, groups=_groups(train, used))
        for one in np.unique(fold[used])
    }
    known = {one: apart for one, apart in found.items() if apart is not None}
    if not known:
        return Finding("folds told apart", "folds have too few groups to be told apart.", False, {})
    worst = max(known, key=lambda one: known[one].low)
    text = f"fold {worst}, of all the most unlike the others, is told apart with {_auc(known[worst])}."
    return Finding("folds told apart", text, False, {str(one): asdict(apart) for one, apart in known.items()})


def _of_test(train: Samples, seen: Thumbnails, of_test: Thumbnails) -> Finding:
    features = np.concatenate([seen.features, of_test.features])
    labels = np.arange(len(features)) >= len(train)
    groups = None
    if train.groups is not None:
        groups = np.concatenate([train.groups.astype(str), [f"test {i}" for i in range(len(of_test.features))]])
    found = told_apart(features, labels, seen.names, groups=groups)
    if found is None:
        return Finding("test told apart", "too few groups to tell the test part from training.", False, {})
    text = f"the test part is told from training with {_auc(found)}"
    if found.low > 0.5:
        text += ": cross-validation says less of it. Validate on the training samples that are most like it"
    return Finding("test told apart", f"{text}.", False, asdict(found))


def _groups(train: Samples, used: np.ndarray) -> np.ndarray | None:
    return None if train.groups is None else train.groups[used]


def _auc(found: Apart) -> str:
    by = ", ".join(f"{name} {value:.2f}" for name, value in found.by)
    return f"AUC {found.auc:.2f} ({found.low:.2f} to {found.high:.2f}; by chance 0.50), by itself {by}"
