"""How a table of run-length text that has nothing unusual is read at the speed of its bytes.

Most submissions are plain: a header, lines `key,runs`, no quotes. Those are read here in one pass, on several threads.
Whatever is unusual or wrong is left to the CSV reader and the close look at each row, which word what is wrong; so
nothing may be accepted here that they would refuse, or read in another way.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.rle.mask_runs import address_of, in_parts
from skyfold.rle.rle import Dialect
from skyfold.rle.run_lists import RunLists, joined, position_dtype
from skyfold.types import IntPair

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PIXELS_A_BYTE = 64  # what reading one byte of text takes, in pixels decoded: decides how many threads are worth while


@dataclass(frozen=True)
class KeyedRuns:
    """What a table holds: keys (n,), and the runs of the n masks beside them."""

    keys: list[str]
    runs: RunLists


def read_plain(path: Path, columns: tuple[str, str], shape: IntPair, dialect: Dialect) -> KeyedRuns | None:
    """The rows of the table at `path` in their order, blank lines left out; None for whatever is not plain and right.

    Plain: the header is exactly the two `columns`, no quotes stand anywhere, lines end in newline or return and
    newline; the text of each mask is valid in `dialect` at `shape`, written in digits and blanks, or means empty.
    """
    from skyfold.rle._text_kernels import PADDING

    text = _bytes_of(path, len(PADDING))
    if text is None or text.find(b'"') >= 0 or _has_lone_return(text):
        return None
    begin = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0
    stop = len(text) - len(PADDING)
    first_line_end = text.find(b"\n", begin)
    if first_line_end < 0 or text[begin:first_line_end].removesuffix(b"\r") != ",".join(columns).encode():
        return None
    begin = first_line_end + 1

    def part_of(part: slice) -> KeyedRuns | None:
        """Parts are cut anywhere; a line belongs to the part that holds the byte before its first."""
        first, last = (_line_after(text, begin, place, stop) for place in (part.start, part.stop))
        return _read_part(text, first, last, shape, dialect)

    parts = in_parts(part_of, stop - begin, PIXELS_A_BYTE) if stop > begin else []
    read = [part for part in parts if part is not None]
    if len(read) < len(parts) or not any(part.keys for part in read):
        return None
    return KeyedRuns([key for part in read for key in part.keys], joined([part.runs for part in read]))


def _bytes_of(path: Path, padding: int) -> bytearray | None:
    try:
        if path.suffix == ".gz":
            return bytearray(gzip.decompress(path.read_bytes()) + b" " * padding)
        with path.open("rb") as file:
            size = path.stat().st_size
            text = bytearray(size + padding)
            return text if file.readinto(memoryview(text)[:size]) == size else None
    except (OSError, EOFError, zlib.error):
        return None


def _has_lone_return(text: bytearray) -> bool:
    """Whether a return ends a line without a newline, as the CSV reader takes it."""
    return text.find(b"\r") >= 0 and text.count(b"\r") != text.count(b"\r\n")


def _line_after(text: bytearray, begin: int, place: int, stop: int) -> int:
    """Where the first line begins whose start is at `begin + place` or later."""
    if place == 0:
        return begin
    newline = text.find(b"\n", begin + place - 1, stop)
    return stop if newline < 0 else newline + 1


def _read_part(text: bytearray, first: int, stop: int, shape: IntPair, dialect: Dialect) -> KeyedRuns | None:
    """The lines of text[first:stop], which begin and end with a line."""
    from skyfold.rle import _text_kernels

    most, kind = (stop - first) // 4 + 1, position_dtype(shape)
    starts, ends = np.empty(most, kind), np.empty(most, kind)
    content = np.frombuffer(text, dtype=np.uint8)
    lines = _text_kernels.newlines(content[first:stop]) + 1
    offsets, bounds, odd = np.empty(lines + 1, np.int64), np.empty((lines, 3), np.int64), np.empty(lines, np.bool_)
    address = address_of(content)
    rows = _text_kernels.read_lines(
        address + first,
        address + stop,
        dialect.first_index,
        dialect.starts == "relative",
        shape[0] * shape[1],
        starts,
        ends,
        offsets,
        bounds,
        odd,
    )
    if rows == _text_kernels.REFUSED:
        return None
    bounds += first
    try:
        keys = [text[begin:comma].decode("utf-8") for begin, comma in bounds[:rows, :2].tolist()]
        for row in np.flatnonzero(odd[:rows]).tolist():
            if not dialect.reads_as_empty(text[bounds[row, 1] + 1 : bounds[row, 2]].decode("utf-8")):
                return None
    except UnicodeDecodeError:
        return None
    count = offsets[rows]
    return KeyedRuns(keys, RunLists(starts[:count], ends[:count], offsets[: rows + 1], shape, dialect.order))
