"""Submission tables of run-length text: reading, writing, and the checks of a competition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, OtherRows, SkyfoldError, listing, shortened
from skyfold.files import write_atomic
from skyfold.progress import note
from skyfold.rle.codec import KAGGLE, Dialect, counts_from_zero, encode, parse_all, texts_of
from skyfold.rle.segments import MasksOfSizes, SegmentMasks, Segments
from skyfold.submission.plain_table import read_plain
from skyfold.tables import plain, read_rows
from skyfold.types import ArraySequence, IntPair, SubmissionFormat

OVERLAP = "objects overlap, what they share counts once"
EMPTY_BESIDE = "an empty row beside other rows counts for nothing, remove one of them"


@dataclass(frozen=True)
class RleTable(SubmissionFormat):
    """Masks as run-length text: one row per image and class, or per object, with the key `<id>_<class>`.

    classes       (K,) names in the order of the last mask axis
    shape         (H, W) of the masks
    sizes         (H, W) of the masks of each id, where they differ; `shape` is then of no account
    bare_ids      the key is the id only, for a single class
    class_column  the class stands in this column, the key is the id only
    objects       several rows may have one key, those of objects, whose masks are joined when they are read; written is
                  a row for each 8-connected component, one of empty text where there is none
    """

    classes: tuple[str, ...]
    shape: IntPair
    key_column: str = "Image_Label"
    rle_column: str = "EncodedPixels"
    dialect: Dialect = KAGGLE
    bare_ids: bool = False
    class_column: str | None = None
    sizes: Mapping[str, IntPair] | None = None
    objects: bool = False

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bare_ids and len(self.classes) != 1:
            raise ValueError(f"bare ids: one class has them, not {len(self.classes)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: keys, classes where they have a column, run-length text."""
        return *self._key_columns, self.rle_column

    @property
    def _key_columns(self) -> tuple[str, ...]:
        return (self.key_column,) if self.class_column is None else (self.key_column, self.class_column)

    def size_of(self, name: str) -> IntPair:
        """(H, W) of the masks of the image `name`; InvalidSubmission where it is not known."""
        if self.sizes is None:
            return self.shape
        if name not in self.sizes:
            raise InvalidSubmission(f"the size of '{name}' is not known: no image, or row of the sizes, has this id.")
        return self.sizes[name]

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write a CSV completely, or leave what is there.

        InvalidSubmission where the file, read again, has other fields: what a CSV writer quotes or a reader trims.
        """
        write_atomic(path, partial(self._write_csv, table))

    def _write_csv(self, table: pd.DataFrame, path: Path) -> None:
        table.to_csv(path, index=False, lineterminator="\n")
        if read_table(path, self.columns, cut=True).to_numpy().tolist() != table.astype(str).to_numpy().tolist():
            raise InvalidSubmission(f"{path}: an id or label does not survive being written as CSV. Rename it.")

    def read(self, path: Path) -> pd.DataFrame:
        """The table at `path`, all text; InvalidSubmission as `read_table`."""
        return read_table(path, self.columns)

    def read_masks(
        self, path: Path, ids: np.ndarray | None = None, *, others: bool = True
    ) -> tuple[np.ndarray, ArraySequence]:
        """Ids and masks, as `decode`, in the table at `path`; only those of `ids`, and in their order, where given.

        Every row is checked. InvalidSubmission names the file and lists what is wrong with it; other columns are
        ignored, which is said, and so are rows of other ids, unless `others` is False: OtherRows. Objects that overlap,
        and empty rows beside them, are named.
        """
        if self.sizes is not None or self.class_column is not None or self.objects:
            return self._of_closely_read(path, ids, others)
        table = read_plain(path, (self.key_column, self.rle_column), self.shape, self.dialect)
        if table is None:
            return self._of_closely_read(path, ids, others)
        found = self._ids(table.keys)
        own = self._keys(found)
        if table.keys != own and (problems := self._key_problems(table.keys, own)):
            raise InvalidSubmission(self._not_a_table(path, problems))
        if counted := counts_from_zero([], table.segments, {}, self.dialect):
            note(f"{path}: {counted}")
        segments, keys = table.segments, own if ids is None else self._keys(ids)
        if keys != table.keys:
            with _named(path):
                self._refuse_others(table.keys, found, None if others else ids)
                rows = [row for own in self._rows_of(table.keys, keys) for row in own]
                segments = segments.take(np.array(rows, dtype=np.int64))
        return np.array(found, dtype=str) if ids is None else ids, SegmentMasks(segments, len(self.classes))

    def _of_closely_read(self, path: Path, ids: np.ndarray | None, others: bool) -> tuple[np.ndarray, ArraySequence]:
        """Rows of any CSV file, as `read_masks`."""
        table = self.read(path)
        if unread := [column for column in table.columns if column not in self.columns]:
            note(f"{path}: not read: column {shortened(unread)}.")
            table = table[list(self.columns)]
        if problems := self.problems(table, None):
            raise InvalidSubmission(self._not_a_table(path, problems))
        keys = self._table_keys(table)
        found = np.array(self._ids(keys), dtype=str) if ids is None else ids
        with _named(path):
            self._refuse_others(keys, self._ids(keys), None if others else ids)
            masks, _, contradictions = self._parsed(table[self.rle_column].tolist(), keys, found)
        for text, names in contradictions.items():
            note(f"{path}: {text}: {shortened(names)}.")
        segments = [part.segments for part in masks.parts]
        if counted := next(filter(None, (counts_from_zero([], one, {}, self.dialect) for one in segments)), ""):
            note(f"{path}: {counted}")
        return found, masks if self.sizes is not None else masks.parts[0]

    def _refuse_others(self, keys: list[str], found: Sequence[str], ids: np.ndarray | None) -> None:
        """OtherRows where ids were `found` in a table with these `keys` that are not among `ids`; None: any may be."""
        if ids is not None and not set(found) <= set(ids.tolist()):
            problems = key_problems(keys, self._keys(ids), ordered=False, several=self.objects)
            missing_first = sorted(problems, key=lambda problem: not problem.startswith("no row"))
            raise OtherRows(f"rows of masks:\n{listing(missing_first)}")

    def _not_a_table(self, path: Path, problems: list[str]) -> str:
        of = f"of {self.shape[0]}x{self.shape[1]} pixels" if self.sizes is None else "of the sizes given"
        return f"{path}: not a table of masks {of}\n{listing(problems)}"

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """Table of masks, rows in the order of ids, then classes. ids (n,) str; values[i] bool (H, W, K).

        InvalidSubmission on masks of another shape or dtype, or not as many as ids.
        """
        if len(values) != len(ids):
            raise InvalidSubmission(f"{len(ids)} ids but {len(values)} masks; give one mask for each id.")
        texts: list[list[str]] = []  # of each key
        for i, name in enumerate(ids):
            masks, expected = values[i], (*self.size_of(str(name)), len(self.classes))
            if masks.shape != expected or masks.dtype != np.bool_:
                raise InvalidSubmission(
                    f"masks of '{name}': expected bool {expected}, got {masks.dtype} {masks.shape}. Apply the "
                    "post-processing and resize to the submission's size first."
                )
            if self.objects:
                texts += [self._texts_of_objects(masks[..., k]) for k in range(len(self.classes))]
            else:
                segments = Segments.from_masks(masks[np.newaxis], self.dialect.order)
                texts += [[text] for text in texts_of(segments, self.dialect)]
        if self.class_column is None:
            keys = {self.key_column: self._keys(ids)}
        else:
            keys = {
                self.key_column: [str(name) for name in ids for _ in self.classes],
                self.class_column: list(self.classes) * len(ids),
            }
        rows = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
        columns = {column: [names[row] for row in rows] for column, names in keys.items()}
        return pd.DataFrame({**columns, self.rle_column: [text for own in texts for text in own]}, dtype=object)

    def _texts_of_objects(self, mask: np.ndarray) -> list[str]:
        """Texts of the components of a mask, bool (H, W)."""
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        texts = [encode(labels == label, self.dialect) for label in range(1, count)]
        return texts or [self.dialect.empty]

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> ArraySequence:
        """The masks of `ids`, bool (H, W, K) each, drawn when indexed.

        InvalidSubmission for keys that are missing or doubled, and for run-length text of these ids.
        """
        masks, refused, _ = self._parsed(table[self.rle_column].tolist(), self._table_keys(table), ids)
        if refused:
            raise InvalidSubmission(next(iter(refused.values())))
        return masks if self.sizes is not None else masks.parts[0]

    def _parsed(
        self, texts: Sequence[str], keys: Sequence[str], ids: Sequence[str] | np.ndarray
    ) -> tuple[MasksOfSizes, dict[int, str], dict[str, list[str]]]:
        """Masks of `ids`, those of one size read together, from rows of these `keys`; the refusals, by row; and keys of
        objects that contradict each other, by what is wrong with them."""
        of_size: dict[IntPair, list[int]] = {} if len(ids) else {self.shape: []}
        for i, name in enumerate(ids):
            of_size.setdefault(self.size_of(str(name)), []).append(i)
        rows_of = self._rows_of(keys, self._keys(ids))
        refused: dict[int, str] = {}
        contradictions: dict[str, list[str]] = {}
        parts: list[SegmentMasks] = []
        place = [(0, 0)] * len(ids)
        for size, own in of_size.items():
            each = [rows_of[i * len(self.classes) + k] for i in own for k in range(len(self.classes))]
            rows = [row for some in each for row in some]
            segments, wrong = parse_all(
                [texts[row] for row in rows], size, self.dialect, rows=[keys[row] for row in rows]
            )
            if self.objects:
                group = np.repeat(np.arange(len(each)), list(map(len, each)))
                areas, segments = segments.areas(), segments.union(group, len(each))
                overlapping = np.bincount(group, areas, len(each)) > segments.areas()
                beside = np.bincount(group, areas == 0, len(each)) * (np.bincount(group, minlength=len(each)) > 1)
                for text, found in ((OVERLAP, overlapping), (EMPTY_BESIDE, beside)):
                    if found.any():
                        names = [f"'{keys[each[i][0]]}'" for i in np.flatnonzero(found)]
                        contradictions[text] = contradictions.get(text, []) + names
            refused |= {rows[i]: message for i, message in wrong.items()}
            for index, i in enumerate(own):
                place[i] = len(parts), index
            parts.append(SegmentMasks(segments, len(self.classes)))
        return MasksOfSizes(parts, place), dict(sorted(refused.items())), contradictions

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]:
        """All that is wrong with `table`, one message each, naming the line and the remedy; [] where nothing is.

        sample: the competition's own table, whose keys and order are expected; it must have no problems itself.
        Without it every image of the table must have each class once, or, of objects, in one row or more.
        """
        columns = [str(column) for column in table.columns]
        if sorted(columns) != sorted(self.columns):
            return [f"the columns are {', '.join(columns)}; expected {', '.join(self.columns)}."]
        if not len(table):
            return ["the table has no rows, only a header. Write it again."]
        keys = self._table_keys(table)
        if sample is None:
            problems = self._key_problems(keys, self._keys(self._ids(keys)))
        else:
            problems = key_problems(keys, [*dict.fromkeys(self._table_keys(sample))], several=self.objects)
        return problems + self._text_problems(table[self.rle_column].tolist(), keys)

    def ids_of(self, table: pd.DataFrame) -> list[str]:
        """Ids in `table`, each once, in the order of its rows."""
        return self._ids(self._table_keys(table))

    def _text_problems(self, texts: list[str], keys: list[str]) -> list[str]:
        """What is wrong with the run-length texts of rows with these keys."""
        by_size: dict[IntPair, list[int]] = {}
        problems = []
        for row, name in enumerate(self._id_of_each(keys)):
            if not name and self.sizes is not None:  # a key that is refused by itself
                continue
            try:
                by_size.setdefault(self.size_of(name), []).append(row)
            except InvalidSubmission as error:
                problems.append(f"line {row + 2}: {error}")
        wrong: dict[int, str] = {}
        for size, rows in by_size.items():
            own = [texts[row] for row in rows]
            segments, refused = parse_all(own, size, self.dialect, rows=[keys[row] for row in rows])
            if refused and (counted := counts_from_zero(own, segments, refused, self.dialect)):
                problems.insert(0, counted)
            wrong |= {rows[place]: message for place, message in refused.items()}
        return problems + [f"line {row + 2}: {message}" for row, message in sorted(wrong.items())]

    def _table_keys(self, table: pd.DataFrame) -> list[str]:
        columns = [map(str, table[column]) for column in self._key_columns]
        return ["_".join(parts) for parts in zip(*columns, strict=True)]

    def _keys(self, ids: Sequence[str] | np.ndarray) -> list[str]:
        """Keys of the rows of `ids`, image by image, class by class."""
        return list(map(str, ids)) if self.bare_ids else [f"{name}_{label}" for name in ids for label in self.classes]

    def _ids(self, keys: list[str]) -> list[str]:
        """Ids in `keys`, each once; keys that end in no class are left out."""
        return list(dict.fromkeys(name for name in self._id_of_each(keys) if name))

    def _id_of_each(self, keys: list[str]) -> list[str]:
        """Id of each key, "" where it ends in no class; the longest class wins, one may end in the name of another."""
        if self.bare_ids:
            return keys
        endings = sorted((f"_{label}" for label in self.classes), key=len, reverse=True)
        known = tuple(endings)
        return [
            key[: -len(next(ending for ending in endings if key.endswith(ending)))] if key.endswith(known) else ""
            for key in keys
        ]

    def _key_problems(self, keys: list[str], expected: list[str]) -> list[str]:
        """Problems of keys where no sample says which images there are."""
        kind = "<id>" if self.bare_ids else f"<id>_<class>, class one of {', '.join(self.classes)}"
        return key_problems(keys, expected, ordered=False, several=self.objects, remedy=f"Keys are {kind}.")

    def _rows_of(self, keys: Sequence[str], expected: list[str]) -> list[list[int]]:
        """Rows of each `expected` key, one each but for objects; InvalidSubmission where one is missing or doubled."""
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        if (len(rows) < len(keys) and not self.objects) or not rows.keys() >= set(expected):
            problems = key_problems(keys, expected, ordered=False, others=True, several=self.objects)
            raise InvalidSubmission(f"rows of masks:\n{listing(problems)}")
        return [rows[key] for key in expected]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in an InvalidSubmission that is raised inside."""
    try:
        yield
    except InvalidSubmission as error:
        raise type(error)(f"{path}: {error}") from None


def key_problems(
    keys: Sequence[str],
    expected: Sequence[str],
    *,
    ordered: bool = True,
    others: bool = False,
    several: bool = False,
    remedy: str = "Remove it, or download the sample again if it was cut.",
) -> list[str]:
    """Differences between the keys of a table's rows and the `expected` ones, one message each, naming the line.

    ordered: the order must agree, too; others: keys that are not expected are ignored; several: a key may stand in more
    rows than expected; remedy: for keys that are not expected.
    """
    wanted, lines = Counter(expected), dict[str, list[int]]()
    for line, key in enumerate(keys, start=2):  # line 1 is the header
        lines.setdefault(key, []).append(line)
    known, there = ({_simplified(key): key for key in own} for own in (wanted, lines))
    problems = []
    for key, found in lines.items():
        if key not in wanted:
            close = known.get(_simplified(key))
            hint = f"Did you mean '{close}'?" if close else remedy
            problems += [] if others else [f"line {found[0]}: '{key}' is not asked for. {hint}"]
        elif len(found) > wanted[key] and not several:
            problems.append(
                f"line {found[-1]}: '{key}' stands in {len(found)} rows, first in line {found[0]}, expected "
                f"{wanted[key]}. Remove one."
            )
    for key, count in wanted.items():
        if len(lines.get(key, [])) < count:
            close = there.get(_simplified(key)) if others else None
            problems.append(f"no row for '{key}'{f' (there is {close!r})' if close else ''}. Add one.")
    own = [*lines] if several else [*keys]
    if ordered and not problems and own != list(expected):
        row = next(row for row, pair in enumerate(zip(own, expected, strict=True)) if pair[0] != pair[1])
        line = lines[own[row]][0] if several else row + 2
        problems.append(f"line {line}: '{own[row]}' where '{expected[row]}' was expected. Sort as the sample does.")
    return problems


def read_table(
    path: Path, columns: Sequence[str] = (), *, refuse: type[SkyfoldError] = InvalidSubmission, cut: bool = False
) -> pd.DataFrame:
    """A CSV file as `read_rows`, with every field as text: an id 'NA' stays 'NA', '007' stays '007', empty stays ''."""
    header, rows = read_rows(path, columns, refuse=refuse, cut=cut)
    return pd.DataFrame([fields for _, fields in rows], columns=header, dtype=object)


def _simplified(key: str) -> str:
    """Equal for keys that differ by what is lost most often: blanks, capitals, leading zeros, an image's suffix."""
    name, _, label = plain(key).casefold().rpartition("_")
    for suffix in (".jpg", ".jpeg", ".png", ".tif", ".tiff"):
        name = name.removesuffix(suffix)
    return f"{name.strip().lstrip('0')}_{label}"
