"""Read tables that people bring: CSV files as text, with what spreadsheets and other systems do to them.

Blanks around names and fields are left out, letters with accents are brought to one form (NFC); what cannot be mended
without a guess is refused by file and line.
"""

from __future__ import annotations

import csv
import gzip
import sys
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from skyfold.errors import InvalidSubmission, SkyfoldError
from skyfold.files import require_file

PACKED = {b"\x1f\x8b": ("gzip", ".gz"), b"PK": ("zip", ".zip")}  # first bytes of a packed file: kind, suffix
UTF16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST_CELL = 32_767  # characters that a spreadsheet keeps of a cell; the rest is gone
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@contextmanager
def open_csv(path: Path, refuse: type[SkyfoldError] = InvalidSubmission) -> Iterator[IO[str]]:
    """The text of a CSV file, plain or .gz; `refuse` where it is missing, a folder, a pipe, packed or not UTF-8."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    packed = [path.name + ending for _, ending in PACKED.values() if path.with_name(path.name + ending).is_file()]
    if packed and not path.exists():
        raise refuse(f"{path}: no such file. There is {packed[0]}: unpack it.")
    require_file(path, "a CSV file", refuse)
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except PermissionError:
        raise refuse(f"{path}: may not be read. Change its permissions.") from None
    except (csv.Error, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        with path.open("rb") as raw:
            start = raw.read(2)
        if path.suffix != ".gz" and (packed_as := PACKED.get(start)):
            raise refuse(f"{path}: packed with {packed_as[0]}: unpack it.") from None
        if isinstance(error, UnicodeDecodeError):
            raise refuse(f"{path}: not a readable CSV file: {_not_utf8(path, start)}") from None
        raise refuse(f"{path}: not a readable CSV file ({error}). Write it again.") from None


def read_rows(
    path: Path, columns: Sequence[str] = (), *, refuse: type[SkyfoldError] = InvalidSubmission, cut: bool = False
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header of a CSV file, plain or .gz, and its rows with the number of the line each ends in, all text.

    Read by Python's reader, since pandas fills a line that was cut off with empty fields: masks that nobody predicted.
    `refuse` where the file is missing, is no CSV, has no header, lacks one of `columns`, has a column twice, has a line
    with more or fewer fields than the header, or, unless `cut`, a field as long as spreadsheets leave of a longer one.
    """
    csv.field_size_limit(sys.maxsize)  # a mask of many segments is longer than the usual limit of a field
    with open_csv(path, refuse) as file:
        reader = csv.reader(file, strict=True)
        lines = [(reader.line_num, fields) for fields in reader if fields]
    if not lines:
        raise refuse(f"{path}: the file is empty. Write it again.")
    header = [plain(name) for name in lines[0][1]]
    if problem := header_problem(header, columns):
        raise refuse(f"{path}: {problem}")
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise refuse(
                f"{path}: line {line} ('{fields[0][:40]}'): expected {len(header)} fields as in the header, got "
                f"{len(fields)}. Was the file cut off? Write it again."
            )
        if not cut and LONGEST_CELL in map(len, fields):
            name = header[[len(field) for field in fields].index(LONGEST_CELL)]
            raise refuse(
                f"{path}: line {line} ('{fields[0][:40]}'): column '{name}' has {LONGEST_CELL:,} characters, where "
                "spreadsheets cut a cell off. Take the table as it was before it was saved there; if this cell is "
                "whole, add a blank at its end."
            )
    return header, [(line, [plain(field) for field in fields]) for line, fields in lines[1:]]


def header_problem(header: Sequence[str], columns: Sequence[str]) -> str:
    """What is wrong with the `header` of a table that needs `columns`, with the remedy; '' where nothing is."""
    if problem := parted_otherwise(header):
        return problem
    missing = [column for column in columns if column not in header]
    text = ",".join(header)
    if missing and len(missing) == len(columns):
        return f"line 1 is {text[:60]!r}; expected the header {','.join(columns)}."
    if missing:
        return f"column '{missing[0]}' is missing; the header is {text}. Name the columns so."
    if doubled := [name for name, count in Counter(header).items() if count > 1]:
        return f"column '{doubled[0]}' is there {list(header).count(doubled[0])} times; keep one."
    return ""


def parted_otherwise(header: Sequence[str]) -> str:
    """Says so where a `header` that has no commas has other separators; else ''."""
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            return f"the header is parted by {name}: line 1 is {header[0][:60]!r}. Save the table with commas."
    return ""


def plain(text: str) -> str:
    """`text` without blanks around it, in the form NFC, in which a letter and its accent are one character.

    >>> plain(" e\u0301t\u00e9 ") == "\u00e9t\u00e9"
    True
    """
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text.strip())


def _not_utf8(path: Path, start: bytes) -> str:
    """Where the text of a file is no UTF-8, and how to save it."""
    remedy = "Save it as UTF-8: in a spreadsheet as 'CSV UTF-8', elsewhere with `iconv -f ENCODING -t UTF-8`"
    if start in UTF16:
        return f"the text is UTF-16, expected UTF-8. {remedy}, here with ENCODING UTF-16."
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with suppress(OSError, EOFError, zlib.error), opened(path, "rb") as file:  # damaged further on, too
        for line, text in enumerate(file, start=1):
            try:
                text.decode("utf-8")
            except UnicodeDecodeError as error:
                return (
                    f"line {line} is not UTF-8 text (byte {text[error.start]:#04x}). {remedy}, where ENCODING is that "
                    "of the program that wrote it, for instance CP949 (Korean), CP932 (Japanese) or CP1252 (Western)."
                )
    return f"not UTF-8 text. {remedy}."
