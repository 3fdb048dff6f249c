"""Submission tables of run-length text: reading, writing, and the checks of a competition."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.files import write_atomic
from skyfold.plugins import nearest
from skyfold.rle.codec import KAGGLE, Dialect, encode_many, parse, parse_all
from skyfold.rle.segments import SegmentMasks
from skyfold.submission.plain_table import KeyedSegments, read_plain
from skyfold.types import ArraySequence, IntPair

PACKED = {b"\x1f\x8b": ("gzip", ".gz"), b"PK": ("zip", ".zip")}  # first bytes of a packed file: kind, suffix


@dataclass(frozen=True)
class RleTable:
    """One row an image and class: the key `<id>_<class>` and the mask as run-length text.

    classes: (K,) names in the order of the last mask axis; shape: (H, W) of the masks; bare_ids: of a single class, the
    key is the id alone. Keeps `SubmissionFormat`.
    """

    classes: tuple[str, ...]
    shape: IntPair
    key_column: str = "Image_Label"
    rle_column: str = "EncodedPixels"
    dialect: Dialect = KAGGLE
    bare_ids: bool = False

    def __post_init__(self) -> None:
        if self.bare_ids and len(self.classes) != 1:
            raise ValueError(f"bare ids: one class has them, not {len(self.classes)}")

    @property
    def endings(self) -> list[str]:
        """What follows the id in the keys of each class."""
        return [""] if self.bare_ids else [f"_{label}" for label in self.classes]

    @property
    def columns(self) -> tuple[str, str]:
        return self.key_column, self.rle_column

    exact: ClassVar[bool] = True

    def check_sample(self, path: Path, ids: np.ndarray) -> None:
        """Its rows are compared with those that are written; nothing is known of it before."""

    def with_header_of(self, table: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        return table

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write a CSV completely, and read it again: what a CSV writer quotes or a reader trims must not change a
        field.

        InvalidSubmission where it does; what is there is left.
        """
        write_atomic(path, partial(self._write_csv, table))

    def _write_csv(self, table: pd.DataFrame, path: Path) -> None:
        table.to_csv(path, index=False, lineterminator="\n")
        if self.read(path).to_numpy().tolist() != table.astype(str).to_numpy().tolist():
            raise InvalidSubmission(f"{path}: an id or label does not survive being written as CSV. Rename it.")

    def read(self, path: Path) -> pd.DataFrame:
        """The table at `path`, all text; InvalidSubmission as `read_table`."""
        return read_table(path, self.columns)

    def read_masks(self, path: Path, ids: np.ndarray | None = None) -> tuple[np.ndarray, SegmentMasks]:
        """Ids and masks, as `decode`, in the table at `path`; only those of `ids`, and in their order, where given.

        Every row is checked. InvalidSubmission names the file and lists what is wrong with it; rows of other ids are
        ignored.
        """
        table = read_plain(path, self.columns, self.shape, self.dialect) or self._read_closely(path)
        sorted_ids = self._sorted_ids(table.keys)
        if sorted_ids is None and (problems := self._key_problems(table.keys, self._known_keys(table.keys))):
            raise InvalidSubmission(self._not_a_table(path, problems))
        found = self._ids_of(table.keys) if sorted_ids is None else sorted_ids
        wanted = found if ids is None else ids
        if sorted_ids is not None and np.array_equal(found, wanted):
            return wanted, SegmentMasks(table.segments, len(self.classes))
        try:
            return wanted, SegmentMasks(table.segments.take(self._places(table.keys, wanted)), len(self.classes))
        except InvalidSubmission as error:
            raise InvalidSubmission(f"{path}: {error}") from None

    def _read_closely(self, path: Path) -> KeyedSegments:
        """Rows of any CSV file; InvalidSubmission as `read_masks`."""
        table = self.read(path)
        if problems := self.problems(table, None):
            raise InvalidSubmission(self._not_a_table(path, problems))
        texts = table[self.rle_column].tolist()
        return KeyedSegments(table[self.key_column].tolist(), parse(texts, self.shape, self.dialect))

    def _not_a_table(self, path: Path, problems: list[str]) -> str:
        return f"{path}: not a table of masks of {self.shape[0]}x{self.shape[1]} pixels\n{listing(problems)}"

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """ids (n,) str; values[i] bool (H, W, K). Rows in the order of ids, then classes."""
        expected = (*self.shape, len(self.classes))
        if len(values) != len(ids):
            raise InvalidSubmission(f"{len(ids)} ids but {len(values)} masks; give one mask for each id.")
        texts: list[str] = []
        for i, name in enumerate(ids):
            masks = values[i]
            if masks.shape != expected or masks.dtype != np.bool_:
                raise InvalidSubmission(
                    f"masks of '{name}': expected bool {expected}, got {masks.dtype} {masks.shape}. Apply the "
                    "post-processing and resize to the submission's size first."
                )
            texts += encode_many(masks[np.newaxis], self.dialect)
        return pd.DataFrame({self.key_column: list(self._keys(ids)), self.rle_column: texts}, dtype=object)

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> SegmentMasks:
        """The masks of `ids`, bool (H, W, K) each, drawn when indexed.

        InvalidSubmission for columns or keys that are missing or doubled, and for run-length text of these ids.
        """
        problems = self._column_problems(table)
        if problems:
            raise InvalidSubmission(problems[0])
        keys = table[self.key_column]
        doubled = keys[keys.duplicated()]
        if len(doubled):
            raise InvalidSubmission(f"row '{doubled.iloc[0]}' is there twice; keep one of them.")
        places = self._places(keys.tolist(), ids)
        texts = table[self.rle_column].to_numpy(dtype=object)[places]
        return SegmentMasks(parse(texts, self.shape, self.dialect, rows=list(self._keys(ids))), len(self.classes))

    def _places(self, keys: list[str], ids: np.ndarray) -> np.ndarray:
        """Where the rows of `ids` are, image by image, class by class; InvalidSubmission names one that is missing."""
        place = dict(zip(keys, range(len(keys)), strict=True))
        wanted = list(self._keys(ids))
        missing = [key for key in wanted if key not in place]
        if missing:
            close = {_simplified(str(key)): key for key in keys}.get(_simplified(missing[0]))
            others = f" and {len(missing) - 1} more are missing" if len(missing) > 1 else " is missing"
            raise InvalidSubmission(
                f"row '{missing[0]}'{others}{f' (there is {close!r})' if close else ''}; every image needs a row for "
                f"each class: {', '.join(self.classes)}."
            )
        return np.fromiter((place[key] for key in wanted), dtype=np.int64, count=len(wanted))

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]:
        """All that is wrong with `table`, one message each, naming the row and the remedy; [] where nothing is.

        sample: the contest's own table, whose keys and order are wanted; it must have no problems itself. Without it
        every image of the table must have each class once.
        """
        problems = self._column_problems(table)
        if problems:
            return problems
        if not len(table):
            return ["it holds no rows, the header alone. Write it again."]
        keys = [str(key) for key in table[self.key_column]]
        known = self._known_keys(keys) if sample is None else list(map(str, sample[self.key_column]))
        problems += self._key_problems(keys, known)
        if not problems and sample is not None:
            problems += _order_problems(keys, known)
        _, refused = parse_all(table[self.rle_column].tolist(), self.shape, self.dialect, rows=keys)
        return problems + [f"line {place + 2}: {message}" for place, message in refused.items()]

    def ids(self, table: pd.DataFrame) -> np.ndarray:
        """The ids of the table's keys, (n,) str, in the order in which they first come.

        InvalidSubmission for a key that ends in none of the classes.
        """
        return self._ids_of([str(key) for key in table[self.key_column]])

    def _ids_of(self, keys: list[str]) -> np.ndarray:
        names: dict[str, None] = {}
        for key in keys:
            name = self._id_of(key)
            if name is None:
                raise InvalidSubmission(self._unknown_class(key))
            names[name] = None
        return np.array(list(names), dtype=str)

    def _sorted_ids(self, keys: list[str]) -> np.ndarray | None:
        """The ids where every image has its rows together, in the order of the classes, and nothing else is there.

        None otherwise, and where one class ends in another's name, so that a key may be read in two ways.
        """
        endings = self.endings
        if any(a != b and a.endswith(b) for a in endings for b in endings):
            return None
        names = [key[: len(key) - len(endings[0])] for key in keys[:: len(endings)]]
        as_sorted = [name + ending for name in names for ending in endings]
        return np.array(names, dtype=str) if as_sorted == keys and len(set(names)) == len(names) else None

    def key(self, name: str, label: str) -> str:
        return name if self.bare_ids else f"{name}_{label}"

    def _keys(self, ids: np.ndarray) -> Iterator[str]:
        return (self.key(name, label) for name in ids for label in self.classes)

    def _id_of(self, key: str) -> str | None:
        """The id in `key`; the longest class wins, since one class may end in the name of another."""
        endings = [ending for ending in self.endings if key.endswith(ending)]
        return key[: len(key) - max(map(len, endings))] if endings else None

    def _known_keys(self, keys: list[str]) -> list[str]:
        found = dict.fromkeys(self._id_of(key) for key in keys)
        return [self.key(name, label) for name in found if name is not None for label in self.classes]

    def _column_problems(self, table: pd.DataFrame) -> list[str]:
        found = [str(column) for column in table.columns]
        problems = []
        for column in dict.fromkeys(found):
            if found.count(column) > 1:
                problems.append(f"column '{column}' is there {found.count(column)} times; keep one.")
            if column not in self.columns:
                hint = nearest(column, list(self.columns))
                problems.append(
                    f"column '{column}' is not known{hint}; leave it out. Columns: {', '.join(self.columns)}."
                )
        missing = [column for column in self.columns if column not in found]
        return problems + [f"column '{column}' is missing; the table has {', '.join(found)}." for column in missing]

    def _key_problems(self, keys: list[str], known: list[str]) -> list[str]:
        lines: dict[str, int] = {}
        expected, nearby = set(known), {_simplified(key): key for key in known}
        problems = []
        for line, key in enumerate(keys, start=2):  # line 1 is the header
            if key in lines:
                problems.append(f"line {line}: row '{key}' is there already, in line {lines[key]}; keep one of them.")
                continue
            lines[key] = line
            if key in expected:
                continue
            if self._id_of(key) is None:
                problems.append(f"line {line}: {self._unknown_class(key)}")
                continue
            close = nearby.get(_simplified(key))
            hint = (
                f"; did you mean '{close}'?" if close else ". Leave it out, or download the sample again if it was cut."
            )
            problems.append(f"line {line}: row '{key}' is not in the sample submission{hint}")
        missing = [key for key in known if key not in lines]
        return problems + [f"row '{key}' is missing; add it, with an empty mask if need be." for key in missing]

    def _unknown_class(self, key: str) -> str:
        label = key.rpartition("_")[2]
        hint = nearest(label, list(self.classes))
        return (
            f"row '{key}': class '{label}' is not known{hint}. Classes: {', '.join(self.classes)}; key: <id>_<class>."
        )


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file, plain or .gz, with every field as text: an id 'NA' stays 'NA', '007' stays '007', empty stays ''.

    InvalidSubmission where the file is missing, is no CSV, has no header, lacks one of `columns`, has a column twice,
    or has a line with more or fewer fields than the header.
    """
    lines = _csv_lines(path)
    if not lines:
        raise InvalidSubmission(f"{path}: the file is empty. Write it again.")
    header = lines[0][1]
    missing = [column for column in columns if column not in header]
    if missing and len(missing) == len(columns):
        raise InvalidSubmission(
            f"{path}: line 1 is {','.join(header)[:60]!r}; expected the header {','.join(columns)}."
        )
    if missing:
        raise InvalidSubmission(f"{path}: column '{missing[0]}' is missing; the header is {','.join(header)}.")
    doubled = [name for name in header if header.count(name) > 1] if len(set(header)) < len(header) else []
    if doubled:
        raise InvalidSubmission(f"{path}: column '{doubled[0]}' is there {header.count(doubled[0])} times; keep one.")
    rows = []
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise InvalidSubmission(
                f"{path}: line {line} ('{fields[0][:40]}'): expected {len(header)} fields as in the header, got "
                f"{len(fields)}. Was the file cut off? Write it again."
            )
        rows.append(fields)
    return pd.DataFrame(rows, columns=header, dtype=object)


def _csv_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank.

    Python's reader, since pandas fills a line that was cut off with empty fields: masks that nobody made.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    limit = csv.field_size_limit(sys.maxsize)  # a mask of many segments is longer than the usual limit of a field
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, fields) for fields in reader if fields]
    except FileNotFoundError:
        packed = [path.name + suffix for _, suffix in PACKED.values() if path.with_name(path.name + suffix).is_file()]
        remedy = f" There is {packed[0]}: unpack it." if packed else ""
        raise InvalidSubmission(f"{path}: no such file.{remedy}") from None
    except IsADirectoryError:
        raise InvalidSubmission(f"{path}: a folder, expected a CSV file.") from None
    except PermissionError:
        raise InvalidSubmission(f"{path}: may not be read. Change its permissions.") from None
    except (csv.Error, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        if path.suffix != ".gz" and (packed_as := PACKED.get(path.read_bytes()[:2])):
            raise InvalidSubmission(f"{path}: packed with {packed_as[0]}: unpack it.") from None
        raise InvalidSubmission(f"{path}: not a readable CSV file ({error}). Write it again.") from None
    finally:
        csv.field_size_limit(limit)


def _order_problems(keys: list[str], known: list[str]) -> list[str]:
    for line, (key, wanted) in enumerate(zip(keys, known, strict=True), start=2):
        if key != wanted:
            return [
                f"line {line}: row '{key}' where the sample submission has '{wanted}'. Sort the rows as the sample."
            ]
    return []


def _simplified(key: str) -> str:
    """Equal for keys that differ by what is lost most often: blanks, capitals, leading zeros, an image's suffix."""
    name, _, label = key.strip().casefold().rpartition("_")
    for suffix in (".jpg", ".jpeg", ".png", ".tif", ".tiff"):
        name = name.removesuffix(suffix)
    return f"{name.strip().lstrip('0')}_{label}"
