"""How run-length text becomes runs and runs become text: compiled loops over the bytes.

They take plain text alone: digits and blanks, and runs that are in order and inside the mask. Whatever else they meet
is told to the caller by its row, and read again by code that can word what is wrong with it.
"""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled
from skyfold.rle._machine_words import byte_at, eight_bytes_at, lowest_bit, other_than_digits_at

BLANK, TAB, NEWLINE, RETURN, COMMA, ZERO, NINE = 32, 9, 10, 13, 44, 48, 57
PADDING = " " * 32  # bytes that may be read behind a text
DIGITS_AT_ONCE = np.uint64(8)
NUMBERS_SEEN = np.uint64(16)  # bytes looked at for two numbers
NO_MORE = np.uint64(1) << NUMBERS_SEEN  # stands for a byte behind these
LONGEST_NUMBER = 18  # digits that int64 always holds
NO_NUMBER = -1
REFUSED = -1


@compiled
def read_texts(first, stop, first_index, relative, size, starts, ends, offsets, odd):  # type: ignore[no-untyped-def]
    """Runs of lines of text, each ended by a newline, as positions from 0; returns how many lines are odd.

    first, stop: addresses of the text and of its end, behind which PADDING follows. starts, ends need room for a run in
    every four bytes. offsets (n + 1,) as in `RunLists`; odd (n,) becomes true where a line is not plain, and then it
    has no runs.
    """
    at = first
    found = odd_ones = 0
    for row in range(len(odd)):
        offsets[row] = found
        behind, count = _read_runs(at, stop, first_index, relative, size, starts, ends, found)
        odd[row] = behind == REFUSED or byte_at(behind) != NEWLINE
        if odd[row]:
            odd_ones += 1
            at = _line_end(at, stop)
        else:
            found = count
            at = behind
        at += 1
    offsets[len(odd)] = found
    return odd_ones


@compiled
def read_lines(first, stop, first_index, relative, size, starts, ends, offsets, bounds, odd):  # type: ignore[no-untyped-def]
    """Runs of lines `key,runs`, as `read_texts`; returns how many there are, REFUSED where one has no comma.

    bounds (n, 3): where key, comma and line end of each line are, counted from `first`; lines may end in return and
    newline, empty ones are skipped. What follows the comma of an odd line may be anything, more commas too.
    """
    at = first
    found = rows = 0
    while at < stop:
        if _ends_line(at, stop):
            at = _line_end(at, stop) + 1
            continue
        key = at
        while at < stop and byte_at(at) != COMMA and byte_at(at) != NEWLINE:
            at += 1
        if at == stop or byte_at(at) == NEWLINE:
            return REFUSED
        bounds[rows, 0] = key - first
        bounds[rows, 1] = at - first
        offsets[rows] = found
        begin = at + 1
        at, count = _read_runs(begin, stop, first_index, relative, size, starts, ends, found)
        odd[rows] = at == REFUSED or not _ends_line(at, stop)
        if odd[rows]:
            at = _line_end(begin, stop)
        else:
            found = count
        bounds[rows, 2] = at - first
        rows += 1
    offsets[rows] = found
    return rows


@compiled
def newlines(text):  # type: ignore[no-untyped-def]
    """How many there are in uint8 (n,); several times faster than `bytes.count`."""
    count = 0
    for place in range(len(text)):
        count += text[place] == NEWLINE
    return count


@compiled
def _ends_line(at, stop):  # type: ignore[no-untyped-def]
    """Whether a newline, return and newline, or the end is here."""
    if at < stop and byte_at(at) == RETURN:
        at += 1
    return at == stop or byte_at(at) == NEWLINE


@compiled
def _line_end(at, stop):  # type: ignore[no-untyped-def]
    while at < stop and byte_at(at) != NEWLINE:
        at += 1
    return at


@compiled
def _read_runs(at, stop, first_index, relative, size, starts, ends, found):  # type: ignore[no-untyped-def]
    """Runs from `at` up to the first byte that is neither digit nor blank; returns its place and the runs so far.

    REFUSED in place of the place: a start without a length, or a run that is empty, out of order or past the end.
    """
    reach = np.int64(0)  # the end of the run before
    while True:
        if byte_at(at) == BLANK:
            at += 1
        # Nearly all runs are 'start length' with one blank between and one behind: both numbers are found at once.
        others = other_than_digits_at(at) | NO_MORE
        digits = lowest_bit(others)
        others &= others - np.uint64(1)
        both = lowest_bit(others | NO_MORE)
        more_digits = both - digits - np.uint64(1)  # wraps around to a large number where there is no second number
        one = np.uint64(1)
        short = digits - one < DIGITS_AT_ONCE and more_digits - one < DIGITS_AT_ONCE and both < NUMBERS_SEEN
        if short and byte_at(at + np.int64(digits)) == BLANK:
            start = _number_of(at, digits)
            length = _number_of(at + np.int64(digits) + 1, more_digits)
            at += np.int64(both)
        else:
            at, start = _read_number(at, stop)
            if start == NO_NUMBER:
                return at, found
            at, length = _read_number(at, stop)
        start -= first_index
        if relative:
            start += reach
        # compared without a sum, which could overflow
        if length < 1 or start < reach or start > size or length > size - start:
            return REFUSED, found
        reach = start + length
        starts[found] = start
        ends[found] = reach
        found += 1


@compiled
def _number_of(address, digits):  # type: ignore[no-untyped-def]
    """The number of 1 to 8 `digits`: in one word, pairs of digits are joined, then pairs of pairs, then those."""
    word = eight_bytes_at(address) ^ np.uint64(0x3030303030303030)
    word <<= np.uint64(64) - np.uint64(8) * digits  # zeros in front
    pairs = word * np.uint64(10) + (word >> np.uint64(8))
    fours = np.uint64(0x000000FF000000FF)
    number = (pairs & fours) * np.uint64(0x000F424000000064)
    number += ((pairs >> np.uint64(16)) & fours) * np.uint64(0x0000271000000001)
    return np.int64(number >> np.uint64(32))


@compiled
def _read_number(at, stop):  # type: ignore[no-untyped-def]
    """The number behind blanks at `at` and the place behind it; NO_NUMBER where another byte or the end comes first."""
    while at < stop and (byte_at(at) == BLANK or byte_at(at) == TAB):
        at += 1
    begin = at
    number = np.int64(0)
    while at < stop and ZERO <= byte_at(at) <= NINE:
        if at - begin == LONGEST_NUMBER:
            return begin, np.int64(NO_NUMBER)
        number = number * 10 + np.int64(byte_at(at)) - ZERO
        at += 1
    return at, number if at > begin else np.int64(NO_NUMBER)


@compiled
def write_texts(starts, ends, offsets, first_index, relative, text):  # type: ignore[no-untyped-def]
    """Fill `text` with a line for each mask, ended by a newline; returns its length."""
    at = 0
    for mask in range(len(offsets) - 1):
        origin = -first_index
        for run in range(offsets[mask], offsets[mask + 1]):
            at = _write_number(text, at, starts[run] - origin)
            at = _write_number(text, at, ends[run] - starts[run])
            if relative:
                origin = ends[run] - first_index
        if offsets[mask] == offsets[mask + 1]:
            at += 1
        text[at - 1] = NEWLINE
    return at


@compiled
def _write_number(text, at, number):  # type: ignore[no-untyped-def]
    """The digits of `number` and a blank; returns the place behind it."""
    number = np.uint64(number)
    digits = 1
    above = np.uint64(10)
    while number >= above:
        digits += 1
        above *= np.uint64(10)
    for place in range(at + digits - 1, at - 1, -1):
        tens = number // np.uint64(10)
        text[place] = ZERO + number - tens * np.uint64(10)
        number = tens
    text[at + digits] = BLANK
    return at + digits + 1
