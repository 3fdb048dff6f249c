"""How a mask becomes run-length text and back, in the dialects contests use.

A run is a start and a length. Dialects differ in the number of the first pixel, in the order in which pixels are
counted, in whether a start counts from the mask's first pixel or from the end of the run before, and in how an empty
mask is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.types import IntPair

DIGITS_AND_SPACES = b"0123456789 \t\r\n"
WHOLE_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class Dialect:
    """How runs are written.

    first_index    the number of the first pixel, 0 or 1 (with relative starts: what is added to every start)
    order          "column": top to bottom, then left to right; "row": left to right, then top to bottom
    starts         "absolute": counted from the first pixel; "relative": from the end of the run before
    empty          the text written for an empty mask
    also_empty     other texts that are read as an empty mask; a missing value and the empty text always are
    """

    first_index: Literal[0, 1] = 1
    order: Literal["column", "row"] = "column"
    starts: Literal["absolute", "relative"] = "absolute"
    empty: str = ""
    also_empty: tuple[str, ...] = ()

    def reads_as_empty(self, text: object) -> bool:
        """True for None, NaN, blank text, and what the dialect writes for an empty mask."""
        if text is None or (isinstance(text, float) and np.isnan(text)):
            return True
        return isinstance(text, str) and text.strip() in {"", self.empty, *self.also_empty}


KAGGLE = Dialect()
KAGGLE_MINUS_ONE = Dialect(empty="-1")
KAGGLE_DASH = Dialect(empty="-", also_empty=("-1",))
KAGGLE_ONE_ZERO = Dialect(empty="1 0")
ROW_MAJOR = Dialect(order="row")
SIIM = Dialect(first_index=0, starts="relative", empty="-1")
DIALECTS = {
    "kaggle": KAGGLE,
    "kaggle_minus_one": KAGGLE_MINUS_ONE,
    "kaggle_dash": KAGGLE_DASH,
    "kaggle_one_zero": KAGGLE_ONE_ZERO,
    "row_major": ROW_MAJOR,
    "siim": SIIM,
}


def encode(mask: np.ndarray, dialect: Dialect = KAGGLE) -> str:
    """The runs of one mask as text.

    mask: bool (H, W); TypeError for any other dtype, since a probability is not a mask yet.

    >>> encode(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool))
    '3 3'
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise TypeError(f"expected a bool mask (H, W), got {mask.dtype} {mask.shape}; compare with a threshold first")
    starts, ends = _runs(mask.ravel(order="F" if dialect.order == "column" else "C"))
    if not len(starts):
        return dialect.empty
    tokens = np.empty((len(starts), 2), dtype=np.int64)
    tokens[:, 0] = starts + dialect.first_index
    tokens[:, 1] = ends - starts
    if dialect.starts == "relative":
        tokens[1:, 0] -= ends[:-1]
    return " ".join(map(str, tokens.ravel().tolist()))


def decode(text: object, shape: IntPair, dialect: Dialect = KAGGLE, *, row: str = "") -> np.ndarray:
    """The mask that `text` describes, bool (H, W) of the given `shape`.

    InvalidSubmission as `parse`, naming `row`.

    >>> decode("3 3", (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    height, width = shape
    starts, ends = parse(text, height * width, dialect, row=row)
    steps = np.zeros(height * width + 1, dtype=np.int8)
    steps[starts] += 1  # starts differ from one another, and so do ends: runs are sorted and do not overlap
    steps[ends] -= 1
    flat = np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)
    if dialect.order == "row":
        return flat.reshape(height, width)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def encode_many(masks: np.ndarray, dialect: Dialect = KAGGLE) -> list[str]:
    """`encode` of every mask of `masks`, bool (n, H, W)."""
    return [encode(mask, dialect) for mask in masks]


def decode_many(
    texts: Sequence[object], shape: IntPair, dialect: Dialect = KAGGLE, *, rows: Sequence[str] | None = None
) -> np.ndarray:
    """`decode` of every text, bool (n, H, W). rows: (n,) labels for error messages, the positions where None."""
    labels = [str(i) for i in range(len(texts))] if rows is None else rows
    masks = np.empty((len(texts), *shape), dtype=np.bool_)
    for mask, text, label in zip(masks, texts, labels, strict=True):
        mask[...] = decode(text, shape, dialect, row=label)
    return masks


def parse(text: object, size: int, dialect: Dialect = KAGGLE, *, row: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The runs of `text` as positions in a mask of `size` pixels: starts and ends, int64, 0-based, end excluded.

    Runs that touch are accepted. InvalidSubmission names `row` and token where the text has something other than whole
    numbers, an odd number of them, a start before the first pixel, a length below 1, runs out of order or overlapping,
    or a run past the last pixel.
    """
    nothing = np.empty(0, dtype=np.int64)
    if dialect.reads_as_empty(text):
        return nothing, nothing
    if not isinstance(text, str):
        raise InvalidSubmission(f"row '{row}': expected run-length text, got {text!r}. Read the column as text.")
    tokens = _whole_numbers(text, row)
    if len(tokens) % 2:
        raise InvalidSubmission(
            f"row '{row}': {len(tokens)} number{'s' if len(tokens) > 1 else ''}, but runs are pairs 'start length'; "
            f"the last start, {text.split()[-1]}, has no length. Was the line cut off? Encode the mask again."
        )
    written, lengths = tokens[0::2], tokens[1::2]
    too_short = lengths < 1
    too_early = written < dialect.first_index
    too_far = (written > size) | (lengths > size)  # also keeps the sums below from overflowing
    bad = np.flatnonzero(too_short | too_early | too_far)
    if len(bad):
        run = int(bad[0])
        if too_short[run] or too_early[run]:
            raise InvalidSubmission(_bad_number(row, run, written, lengths, dialect))
        raise InvalidSubmission(_past_end(row, run, text, size))
    starts = written - dialect.first_index
    if dialect.starts == "relative":
        starts = np.cumsum(starts) + np.cumsum(lengths) - lengths
    ends = starts + lengths
    out_of_order = np.flatnonzero(starts[1:] < ends[:-1])
    if len(out_of_order):
        raise InvalidSubmission(_bad_order(row, int(out_of_order[0]) + 1, written, lengths))
    if ends[-1] > size:
        run = int(np.flatnonzero(ends > size)[0])
        raise InvalidSubmission(_past_end(row, run, text, size))
    return starts, ends


def _runs(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padded = np.zeros(len(flat) + 2, dtype=np.bool_)  # so that runs at either border begin and end like all others
    padded[1:-1] = flat
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return changes[0::2], changes[1::2]


def _whole_numbers(text: str, row: str) -> np.ndarray:
    if text.encode("utf-8", errors="replace").translate(None, DIGITS_AND_SPACES):
        for position, token in enumerate(text.split(), start=1):
            if not WHOLE_NUMBER.fullmatch(token):
                raise InvalidSubmission(
                    f"row '{row}': token {position} is {token[:40]!r}, not a whole number. Write the mask as pairs "
                    "'start length', separated by spaces."
                )
        text = " ".join(text.split())
    return np.fromstring(text, dtype=np.int64, sep=" ")  # a number beyond int64 becomes the largest one


def _bad_number(row: str, run: int, written: np.ndarray, lengths: np.ndarray, dialect: Dialect) -> str:
    if written[run] < dialect.first_index:
        found = "negative" if written[run] < 0 else "0"
        where = f"row '{row}': token {2 * run + 1}"
        return f"{where} is a {found} start; the first pixel has the number {dialect.first_index}. Shift the starts."
    found = "negative" if lengths[run] < 0 else "0"
    return f"row '{row}': token {2 * run + 2} is a {found} length; every run has at least 1 pixel. Leave the run out."


def _bad_order(row: str, run: int, written: np.ndarray, lengths: np.ndarray) -> str:
    before, this = (f"'{written[i]} {lengths[i]}'" for i in (run - 1, run))
    kind = "starts before" if written[run] < written[run - 1] else "overlaps"
    return (
        f"row '{row}': the run {this} at token {2 * run + 1} {kind} the run {before} ahead of it. Sort the "
        "runs by start and join those that overlap."
    )


def _past_end(row: str, run: int, text: str, size: int) -> str:
    as_written = " ".join(text.split()[2 * run : 2 * run + 2])  # a number may be larger than int64 holds
    return (
        f"row '{row}': the run '{as_written}' at token {2 * run + 1} ends past the last of "
        f"{size} pixels. Was the mask encoded at another size? Resize it to the submission's size first."
    )
