"""What run-length text says, token by token, and what is wrong with it in words."""

from __future__ import annotations

import re

import numpy as np

from skyfold.errors import InvalidSubmission

DIGITS_AND_SPACES = b"0123456789 \t\r\n"
WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def read_closely(
    text: object, size: int, *, first_index: int, relative: bool, row: str
) -> tuple[np.ndarray, np.ndarray]:
    """The runs of any text as positions in a mask of `size` pixels: starts and ends, int64, from 0, end excluded.

    The compiled reader takes plain text alone; this one knows all blanks there are, and says what is wrong:
    InvalidSubmission names `row` and token where the text has something other than whole numbers, an odd number of
    them, a start before the first pixel, a length below 1, runs out of order or overlapping, or a run past the last
    pixel. Runs that touch are accepted.
    """
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
    too_early = written < first_index
    too_far = (written > size) | (lengths > size)  # also keeps the sums below from overflowing
    bad = np.flatnonzero(too_short | too_early | too_far)
    if len(bad):
        run = int(bad[0])
        if too_short[run] or too_early[run]:
            raise InvalidSubmission(_bad_number(row, run, written, lengths, first_index))
        raise InvalidSubmission(_past_end(row, run, text, size))
    starts = written - first_index
    if relative:
        starts = np.cumsum(starts) + np.cumsum(lengths) - lengths
    ends = starts + lengths
    out_of_order = np.flatnonzero(starts[1:] < ends[:-1])
    if len(out_of_order):
        raise InvalidSubmission(_bad_order(row, int(out_of_order[0]) + 1, written, lengths))
    if len(ends) and ends[-1] > size:
        run = int(np.flatnonzero(ends > size)[0])
        raise InvalidSubmission(_past_end(row, run, text, size))
    return starts, ends


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


def _bad_number(row: str, run: int, written: np.ndarray, lengths: np.ndarray, first_index: int) -> str:
    if written[run] < first_index:
        found = "negative" if written[run] < 0 else "0"
        where = f"row '{row}': token {2 * run + 1}"
        return f"{where} is a {found} start; the first pixel has the number {first_index}. Shift the starts."
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
