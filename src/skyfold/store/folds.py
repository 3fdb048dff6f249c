"""Cross-validation folds: stratified group k-fold, or years forward in time, and the folds.csv that holds them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.config.data import DataConfig
from skyfold.errors import ConfigError, DataLayoutError, UnfitFolds, listing, shortened
from skyfold.files import digest, write_csv
from skyfold.store.excluded import read_excluded
from skyfold.store.records import FoldsRecord, read_record, write_record
from skyfold.tables import read_rows
from skyfold.types import Samples, Split
from skyfold.workspace import Workspace

COLUMNS = ["id", "fold", "group"]
TIME_COLUMNS = ["time", "trained_before"]
GROWN_COLUMNS = ["added"]
EXCLUDED_COLUMNS = ["excluded"]
REMEDY = "Take it from a backup, or delete it and run `skyfold prepare` again."


@dataclass(frozen=True)
class Folds:
    """The fold of each sample, k-fold or by years.

    ids             (n,) str, unique
    fold            (n,) int64 in 0..k-1; -1: never validated, only trained on
    groups          (n,) int64 or str; samples of one group are in one fold
    times           (n,) datetime64, where folds follow each other in time; else None
    trained_before  (k,) datetime64 beside `times`: fold f is fitted on samples before trained_before[f]
    added           (n,) int64: 0 of the samples that the folds were made of, 1, 2, ... of those that came later; None:
                    none came later
    excluded        (n,) bool: samples that keep their fold and are predicted by it, but that nothing is trained, chosen
                    or scored on; None: there are none
    """

    ids: np.ndarray
    fold: np.ndarray
    groups: np.ndarray
    times: np.ndarray | None = None
    trained_before: np.ndarray | None = None
    added: np.ndarray | None = None
    excluded: np.ndarray | None = None

    @property
    def k(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def of_test(self) -> range:
        """Folds whose networks predict the test part: all; where they follow each other in time the last one, which has
        seen all that the others have."""
        return range(self.k) if self.times is None else range(self.k - 1, self.k)

    @property
    def used(self) -> np.ndarray:
        """Samples that are not excluded: bool (n,)."""
        return np.ones(len(self.ids), dtype=bool) if self.excluded is None else ~self.excluded

    @property
    def scored(self) -> np.ndarray:
        """Rows that a fold validates and that are not excluded: int64, ascending."""
        return np.flatnonzero((self.fold >= 0) & self.used)

    def split(self, fold: int) -> Split:
        """Rows to validate on, those of `fold`, and to fit on: all others, or all before `trained_before[fold]`; none
        that is excluded."""
        if self.times is None or self.trained_before is None:
            fitted_on = self.fold != fold
        else:
            fitted_on = self.times < self.trained_before[fold]
        return Split(train=np.flatnonzero(fitted_on & self.used), valid=np.flatnonzero((self.fold == fold) & self.used))

    @property
    def later(self) -> frozenset[str]:
        """Ids of the samples that came later than the folds were made."""
        return frozenset() if self.added is None else frozenset(self.ids[self.added > 0].tolist())

    def rows_of(self, fold: int) -> Iterator[np.ndarray]:
        """Rows that `fold` validates, those that came together by themselves: what was predicted stays as it is."""
        rows = np.flatnonzero(self.fold == fold)
        for number in np.unique(self.added[rows]) if self.added is not None else [None]:
            yield rows if self.added is None else rows[self.added[rows] == number]

    def as_made(self) -> Folds:
        """The folds as they were made, without the samples that came later."""
        if self.added is None:
            return self
        rows = np.flatnonzero(self.added == 0)
        excluded = None if self.excluded is None else self.excluded[rows]
        first = Folds(self.ids[rows], self.fold[rows], self.groups[rows], excluded=excluded)
        if self.times is None or self.trained_before is None:
            return first
        return replace(first, times=self.times[rows], trained_before=self.trained_before[: first.k])

    def hash(self) -> str:
        """Digest of the fold of each sample, of what it is fitted on and of what is excluded; it does not depend on the
        order of rows.

        Samples that came later change neither, so that what was fitted before is still of these folds.
        """
        if self.added is not None:
            return self.as_made().hash()
        order = np.argsort(self.ids)
        lines = [f"{i}\t{fold}" for i, fold in zip(self.ids[order], self.fold[order], strict=True)]
        if self.times is not None and self.trained_before is not None:
            lines += [str(time) for time in (*self.times[order], *self.trained_before)]
        if not self.used.all():
            lines += [f"excluded {i}" for i in self.ids[order][~self.used[order]]]
        return digest("\n".join(lines))


def make_folds(*, ids: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: int, seed: int) -> Folds:
    """Stratified group k-fold: folds of equal size in which every label is about equally frequent.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with groups in the place of samples: the rarest
    label that is left goes first, its largest groups first, each to the fold that lacks most of what the group holds
    (all its labels, since a group often has every one) among the folds that have room for it. Without groups the sizes
    differ by at most one. The result depends on ids, not on their order.

    ids (n,) str; labels (n, L) bool, L may be 0; groups (n,). ConfigError where there are fewer groups than folds.
    """
    order = np.argsort(ids)
    counts, member_of = _count_by_group(labels[order], groups[order], np.random.default_rng(seed))
    if k > len(counts):
        raise ConfigError(f"{k} folds were asked for; groups: {len(counts)}. Set folds.k lower.")
    fold = np.empty(len(ids), dtype=np.int64)
    fold[order] = _assign(counts, k)[member_of]
    return Folds(ids=ids, fold=fold, groups=groups)


def folds_of_years(
    *, ids: np.ndarray, times: np.ndarray, years: tuple[int, int], gap: np.timedelta64, years_per_fold: int = 1
) -> Folds:
    """Forward-chaining folds, one for each of `years`, first to last, or for each `years_per_fold` of them.

    ids (n,) str; times (n,) datetime64. Fold f is fitted on the samples at least `gap` (more than 0) before its first
    one; there may be none, for forecasts that are not fitted. Samples of other years are never validated (fold -1).
    Samples of one time are a group. ConfigError where a year has no sample.
    """
    _, moment_of = np.unique(times, return_inverse=True)
    year_of = times.astype("datetime64[Y]").astype(np.int64) + 1970
    first, last = years
    for year in range(first, last + 1):
        if year not in year_of:
            raise ConfigError(f"data.folds.years: no sample is of {year}. Validate years that the data hold.")
    fold = np.where((year_of >= first) & (year_of <= last), (year_of - first) // years_per_fold, -1)
    one_unit = np.ones((), dtype=(times[:1] - times[:1]).dtype)[()]
    starts = [times[fold == f].min() for f in range(fold.max() + 1)]
    trained_before = [start - gap + one_unit for start in starts]  # "at least" counts the edge in
    return Folds(ids=ids, fold=fold, groups=moment_of, times=times, trained_before=np.array(trained_before))


def grow_in_time(folds: Folds, made: Folds) -> Folds:
    """Add the samples that came later to folds that follow each other in time.

    made: the folds of all samples. UnfitFolds where a sample that was there before would be in another fold.
    """
    rows = rows_of_ids(made.ids, folds.ids)
    assert folds.trained_before is not None
    assert made.trained_before is not None
    moved = np.flatnonzero(made.fold[rows] != folds.fold)
    if len(moved):
        name, before, now = folds.ids[moved[0]], folds.fold[moved[0]], made.fold[rows[moved[0]]]
        raise UnfitFolds(
            f"data.folds: with them '{name}' moves from fold {before} to {now}. Leave what is validated as it is; only "
            "the last of `years` may be later, for samples that were added."
        )
    if made.trained_before[: folds.k].astype(str).tolist() != folds.trained_before.astype(str).tolist():
        raise UnfitFolds("data.folds: samples that were added lie before those that a fold validates. Take them out.")
    return replace(made, added=_added(folds, made.ids), excluded=_excluded(folds, made.ids))


def grow_by_groups(folds: Folds, ids: np.ndarray, groups: np.ndarray) -> Folds:
    """Add the samples that came later to k folds: to the fold of their group, a new group to the smallest fold.

    ids (n,), groups (n,): of all samples. UnfitFolds where a sample that was added joins groups of several folds.
    """
    rows = rows_of_ids(ids, folds.ids)
    fold, named = np.full(len(ids), -2), np.array([""] * len(ids), dtype=object)
    fold[rows], named[rows] = folds.fold, folds.groups.astype(str)
    for group in dict.fromkeys(groups[fold == -2].tolist()):
        own = np.flatnonzero(groups == group)
        before = own[fold[own] != -2]
        if len(others := np.unique(fold[before])) > 1:
            first, last = (ids[before[fold[before] == number][0]] for number in others[[0, -1]])
            new = ids[own[fold[own] == -2][0]]
            raise UnfitFolds(
                f"'{new}' belongs to '{first}' and to '{last}', which are in folds {others[0]} and {others[-1]}: "
                "either would be validated by what it was fitted on. Take it out."
            )
        sizes = [int((fold == number).sum()) for number in range(folds.k)]
        number, name = (fold[before[0]], named[before[0]]) if len(before) else (int(np.argmin(sizes)), str(ids[own[0]]))
        fold[own], named[own] = number, name
    grown = Folds(ids, fold.astype(np.int64), named.astype(str), added=_added(folds, ids))
    return replace(grown, excluded=_excluded(folds, ids))


def rows_of_ids(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The row in `ids` (n,) of each of `wanted` (m,), all of which are there: int64 (m,)."""
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    return np.array([row_of[name] for name in wanted.tolist()], dtype=np.int64)


def _added(folds: Folds, ids: np.ndarray) -> np.ndarray:
    before = np.zeros(len(folds.ids), dtype=np.int64) if folds.added is None else folds.added
    added = np.full(len(ids), before.max() + 1)
    added[rows_of_ids(ids, folds.ids)] = before
    return added


def _excluded(folds: Folds, ids: np.ndarray) -> np.ndarray | None:
    return None if folds.excluded is None else np.isin(ids, folds.ids[folds.excluded])


def save_folds(data: DataConfig, folds: Folds, workspace: Workspace, groups: np.ndarray | None = None) -> None:
    """Write folds.csv, and beside it, as folds.json, the settings it was made with and a digest of the `groups` (n,) of
    the samples."""
    path = workspace.folds(data.folder)
    groups_digest = _groups_digest(folds.ids, groups)
    write_record(path.with_suffix(".json"), {**data.folds.model_dump(mode="json"), "groups": groups_digest})
    write_folds(path, folds)


def load_folds(data: DataConfig, samples: Samples, workspace: Workspace) -> Folds:
    """Read folds.csv of a data set whose training samples are `samples`.

    UnfitFolds where the file lists other samples (the first one is named), has another number of folds than the
    config, parts samples of one group, excludes others than `data.exclude`, or was made with other groups or settings.
    A file without folds.json, brought along from elsewhere, may have any settings besides.
    """
    path = workspace.folds(data.folder)
    folds = read_folds(path)
    remedy = (
        f"or give this data set a name of its own (data.name); or delete {path.parent}: all in it was made with these "
        "folds and has to be made again."
    )
    if new := samples_added(folds, samples.ids):
        raise UnfitFolds(
            f"{path}: {len(new)} samples of the data are not in the file: {shortened(new)}. Add them: skyfold prepare "
            "keeps the folds of the others and all that was fitted. Or take them out of the data."
        )
    if difference := id_difference(folds.ids, samples.ids, ("the file", "the data")):
        raise UnfitFolds(f"{path}: {difference}. Bring the data back to what it was; {remedy}")
    if parted := _parted_groups(folds, samples):
        raise UnfitFolds(
            f"{path}: groups of the data are parted, so that folds are validated by what they were fitted on. Were the "
            f"groups changed after the folds were made? Bring them back; {remedy}\n{listing(parted)}"
        )
    about, settings = path.with_suffix(".json"), data.folds.model_dump(mode="json")
    made_with: Mapping[str, object] = settings
    if about.is_file():
        made_with = read_record(about, FoldsRecord, remedy="Delete it; folds.csv stays as it is.")
    changed = [key for key, value in settings.items() if made_with.get(key, value) != value]
    if changed:
        before, now = (", ".join(f"{key} = {of.get(key)}" for key in changed) for of in (made_with, settings))
        raise UnfitFolds(f"{path}: made with {before}; the config has {now}. Set it back; {remedy}")
    if made_with.get("groups", found := _groups_digest(samples.ids, samples.groups)) != found:
        raise UnfitFolds(f"{path}: made with other groups than the data have now. Bring them back; {remedy}")
    if data.exclude is not None:
        excluded = read_excluded(workspace.root / data.exclude, folds.ids)
        if len(others := folds.ids[excluded == folds.used]):
            raise UnfitFolds(
                f"{path}: {data.exclude} lists other samples than were excluded: {shortened(others.tolist())}. Note "
                "them: skyfold prepare. What was trained before has to be trained again, with --restart."
            )
    years, wanted = data.folds.years, data.folds.k
    if years is not None:
        wanted = (years[1] - years[0]) // data.folds.years_per_fold + 1
    if folds.k != wanted:
        key = "k" if years is None else "years"
        raise UnfitFolds(
            f"{path}: {folds.k} fold{'s' * (folds.k > 1)}, but data.folds.{key} of the config asks for {wanted}. Bring "
            f"the file back, or set data.folds.{key} to what it holds; {remedy}"
        )
    return folds


def samples_added(folds: Folds, ids: np.ndarray) -> list[str]:
    """Those of `ids` (n,) that are not in `folds`, where all of the folds are among them; [] where any is missing."""
    known = set(folds.ids.tolist())
    return [name for name in ids.tolist() if name not in known] if known <= set(ids.tolist()) else []


def _parted_groups(folds: Folds, samples: Samples) -> list[str]:
    """Groups of `samples` that are in several folds, with the first rows that show it."""
    if samples.groups is None:
        return []
    first: dict[object, int] = {}
    parted: dict[object, str] = {}
    for row, group in enumerate(samples.groups.tolist()):
        here, there = folds.fold[row], folds.fold[first.setdefault(group, row)]
        if here != there:
            one, other = samples.ids[first[group]], samples.ids[row]
            parted.setdefault(group, f"group '{group}': '{one}' is in fold {there}, '{other}' in fold {here}")
    return list(parted.values())


def _groups_digest(ids: np.ndarray, groups: np.ndarray | None) -> str:
    """Changes with the samples that belong together, whatever their groups are called; '' where none do."""
    if groups is None:
        return ""
    members: dict[object, list[str]] = {}
    for name, group in sorted(zip(ids.tolist(), groups.tolist(), strict=True)):
        members.setdefault(group, []).append(name)
    return digest(*("\n".join(names) for names in sorted(members.values())))


def id_difference(ids: np.ndarray, others: np.ndarray, names: tuple[str, str]) -> str:
    """How two lists of ids differ, in words; '' where they are the same, in the same order.

    ids (n,), others (m,) str; names: what to call the two.

    >>> id_difference(np.array(["a", "b"]), np.array(["a", "c"]), ("unet", "folds.csv"))
    "unet has 2 ids, folds.csv has 2; 'b' is not in folds.csv"
    """
    if np.array_equal(ids, others):
        return ""
    detail = "their order differs"
    for found, known, name in ((others, ids, names[0]), (ids, others, names[1])):
        if len(lacking := np.setdiff1d(found, known)):
            detail = f"'{lacking[0]}' is not in {name}"
    return f"{names[0]} has {len(ids)} ids, {names[1]} has {len(others)}; {detail}"


def write_folds(path: Path, folds: Folds) -> None:
    """Write a CSV with the columns id, fold, group, where time counts also time, trained_before, where samples came
    later added, and where some are excluded excluded, 1 of those."""
    header, columns = [*COLUMNS], [folds.ids, folds.fold, folds.groups]
    if folds.times is not None and folds.trained_before is not None:
        trained_before = folds.trained_before.astype(str)[folds.fold]
        header, columns = (
            [*header, *TIME_COLUMNS],
            [*columns, folds.times, np.where(folds.fold >= 0, trained_before, "")],
        )
    if folds.added is not None:
        header, columns = [*header, *GROWN_COLUMNS], [*columns, folds.added]
    if folds.excluded is not None:
        header, columns = [*header, *EXCLUDED_COLUMNS], [*columns, folds.excluded.astype(int)]
    write_csv(path, [header, *zip(*columns, strict=True)])


def read_folds(path: Path) -> Folds:
    """Read what `write_folds` wrote; UnfitFolds names the rows that are wrong."""
    if not path.exists():
        raise DataLayoutError(f"{path}: no such file. Write it with `skyfold prepare`.")
    try:
        header, lines = read_rows(path, refuse=UnfitFolds)
    except UnfitFolds as error:
        raise UnfitFolds(f"{error} Otherwise: {REMEDY}") from None
    excludes = header[-1:] == EXCLUDED_COLUMNS
    if excludes:
        flags = [fields[-1] for _, fields in lines]
        header, lines = header[:-1], [(line, fields[:-1]) for line, fields in lines]
        if wrong := next((line for (line, _), flag in zip(lines, flags, strict=True) if flag not in ("0", "1")), None):
            raise UnfitFolds(f"{path}: line {wrong}: expected excluded to be 0 or 1. {REMEDY}")
    grown = header[-1:] == GROWN_COLUMNS
    if header[: len(header) - grown] not in (COLUMNS, COLUMNS + TIME_COLUMNS):
        raise UnfitFolds(f"{path}: expected the columns {','.join(COLUMNS)}, got {','.join(header)[:60]!r}. {REMEDY}")
    timed, rows = TIME_COLUMNS[0] in header, [fields for _, fields in lines]
    if problems := _problems(lines, timed=timed, grown=grown):
        raise UnfitFolds(f"{path}: mend these rows. Otherwise: {REMEDY}\n{listing(problems)}")
    table = np.array(rows, dtype=str)
    folds = Folds(ids=table[:, 0], fold=table[:, 1].astype(np.int64), groups=table[:, 2])
    if grown:
        folds = replace(folds, added=table[:, -1].astype(np.int64))
    if excludes:
        folds = replace(folds, excluded=np.array(flags) == "1")
    if not timed:
        return folds
    firsts = [np.flatnonzero(folds.fold == f)[0] for f in range(folds.k)]
    times, trained_before = table[:, 3].astype("datetime64"), table[firsts, 4].astype("datetime64")
    return replace(folds, times=times, trained_before=trained_before)


def _count_by_group(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Per group, in random order: samples in column 0, then samples with each label; and the group of each sample."""
    _, first, member_of = np.unique(groups, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    # By first appearance, not by name: the names of groups may depend on the order of rows.
    place[np.argsort(first)] = rng.permutation(len(first))
    member_of = place[member_of]
    counts = np.zeros((len(first), 1 + labels.shape[1]), dtype=np.int64)
    np.add.at(counts, member_of, np.column_stack([np.ones(len(labels), dtype=np.int64), labels]))
    return counts, member_of


def _assign(counts: np.ndarray, k: int) -> np.ndarray:
    """The fold of each group; counts as `_count_by_group` makes them."""
    total = counts.sum(axis=0)
    lacking = np.tile(total / k, (k, 1))
    lacking[:, 0] = total[0] // k + (np.arange(k) < total[0] % k)  # whole samples, so that single ones fit exactly
    fold = np.full(len(counts), -1, dtype=np.int64)
    while (fold < 0).any():
        left = counts[fold < 0].sum(axis=0)
        present = np.flatnonzero(left[1:]) + 1
        label = present[np.argmin(left[present])] if len(present) else 0
        waiting = np.flatnonzero((fold < 0) & (counts[:, label] > 0))
        for group in waiting[np.argsort(-counts[waiting, 0], kind="stable")]:
            unused = np.setdiff1d(np.arange(k), fold)
            open_to = unused if np.sum(fold < 0) <= len(unused) else np.arange(k)  # no fold may stay without a group
            fold[group] = _neediest(lacking, open_to, counts[group], total)
            lacking[fold[group]] -= counts[group]
    return fold


def _neediest(lacking: np.ndarray, open_to: np.ndarray, group: np.ndarray, total: np.ndarray) -> int:
    """The fold that lacks most of what `group` holds among those with room for it; where none has, the emptiest.

    Putting the group where lacking . group / total is largest lowers the sum of (lacking ** 2 / total) most.
    """
    roomy = open_to[lacking[open_to, 0] >= group[0]]
    if len(roomy) == 0:
        return int(open_to[np.argmax(lacking[open_to, 0])])
    return int(roomy[np.argmax(lacking[roomy] @ (group / np.maximum(total, 1)))])


def _is_time(text: str) -> bool:
    """
    >>> [_is_time(text) for text in ("2004-12", "2004-12-31T06", "2004-13", "NaT", "")]
    [True, True, False, False, False]
    """
    try:
        return not np.isnat(np.datetime64(text))
    except ValueError:
        return False


def _problems(lines: list[tuple[int, list[str]]], *, timed: bool, grown: bool) -> list[str]:
    """What is wrong with the rows of a folds file, given with the numbers of their lines."""
    rows = [row for _, row in lines]
    problems = ["no rows: the file holds no sample"] if not rows else []
    listed = Counter(row[0] for row in rows)
    fold_of: dict[str, tuple[int, str]] = {}  # line and fold of the first row of each group
    for line, row in lines:
        first, fold = fold_of.setdefault(row[2], (line, row[1]))
        if not row[0]:
            problems.append(f"line {line}: the id is missing")
        elif not row[2]:
            problems.append(
                f"line {line}: the group of id '{row[0]}' is missing; a sample of its own has its own group"
            )
        elif listed[row[0]] > 1:
            problems.append(f"line {line}: id '{row[0]}' is listed {listed[row[0]]} times; keep one row")
        elif not (re.fullmatch(r"-?[0-9]{1,9}", row[1]) and -1 <= int(row[1]) < len(rows)):
            allowed = f"from -1 to {len(rows) - 1}, the number of rows less 1"
            problems.append(f"line {line}: fold '{row[1]}' of id '{row[0]}' is not a whole number {allowed}")
        elif timed and (bad := [text for text in row[3 : 4 if row[1] == "-1" else 5] if not _is_time(text)]):
            problems.append(f"line {line}: '{bad[0]}' of id '{row[0]}' is not a time like 2004-12 or 2004-12-31")
        elif grown and not re.fullmatch(r"[0-9]{1,9}", row[-1]):
            problems.append(f"line {line}: added '{row[-1]}' of id '{row[0]}' is not a whole number from 0")
        elif row[1] != fold:
            problems.append(
                f"line {line}: id '{row[0]}' of group '{row[2]}' is in fold {row[1]}, line {first} of that group in "
                f"fold {fold}; put a group into one fold"
            )
    if grown and not problems and all(row[-1] != "0" for row in rows):
        problems.append("no sample was there first: `added` is 0 of those that the folds were made of")
    if not problems:
        used = {int(row[1]) for row in rows} - {-1}
        missing = sorted(set(range(max(used, default=0) + 1)) - used)
        problems += [f"fold {fold} validates no sample; number the folds from 0 without a gap" for fold in missing]
    return problems
