"""Fast reader of plain tables of run-length text; all others are left to the CSV reader.

Most submissions are plain: a header, lines `key,text`, no quotes. Unusual or invalid tables are left to the CSV reader,
which names what is wrong; nothing may be accepted here that it would refuse or read differently.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from skyfold.errors import InvalidSubmission
from skyfold.rle.codec import Dialect, parse_lines
from skyfold.rle.segments import Segments
from skyfold.tables import LONGEST_CELL, plain
from skyfold.types import IntPair

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class KeyedSegments:
    """Rows of a table: keys (n,), and the segments of the n masks beside them."""

    keys: list[str]
    segments: Segments


def read_plain(path: Path, columns: tuple[str, str], shape: IntPair, dialect: Dialect) -> KeyedSegments | None:
    """Rows of the table at `path` in their order, without blank lines; None where it is not plain or not valid.

    Plain: the header is exactly the two `columns`, there are no quotes, lines end in newline or return and newline; the
    text of each mask is valid in `dialect` at `shape`, written in digits and blanks, or means empty.
    """
    try:
        if not path.is_file():  # a pipe would be read, and be empty for the CSV reader
            return None
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header, text = file.readline(), file.read()
    except (OSError, EOFError, zlib.error):
        return None
    if header.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n") != ",".join(columns).encode():
        return None
    if b'"' in text or (b"\r" in text and text.count(b"\r") != text.count(b"\r\n")):
        return None
    try:
        lines = parse_lines(text, shape, dialect)
        keys = [text[begin:comma].decode("utf-8") for begin, comma, _ in lines.bounds.tolist()]
        unusual = [text[comma + 1 : end].decode("utf-8") for _, comma, end in lines.bounds[~lines.plain].tolist()]
    except (InvalidSubmission, UnicodeDecodeError):
        return None
    if keys != list(map(plain, keys)) or (lines.bounds[:, 2] - lines.bounds[:, 1] == LONGEST_CELL + 1).any():
        return None
    valid = keys and all(map(dialect.reads_as_empty, unusual))
    return KeyedSegments(keys, lines.segments) if valid else None
