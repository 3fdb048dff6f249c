"""How masks are written and read as COCO run lengths, plain or compressed, as pycocotools does.

Counts alternate between background and mask, background first (0 where the mask begins with the first pixel), down the
columns. Compressed, each count from the fourth on is the difference to the one two before it, and every number is
written in groups of five bits, lowest first: character 48 + group, + 32 where more groups follow; the top bit of the
last group is the sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import InvalidSubmission
from skyfold.rle.mask_runs import masks_of, runs_of
from skyfold.rle.run_lists import RunLists, position_dtype
from skyfold.types import JsonDict

FIRST_CHARACTER, LAST_CHARACTER = 48, 48 + 63
LONGEST_COUNT = 12  # characters of five bits each: a larger number would leave int64
TOO_LONG, NO_CHARACTER, CUT_OFF = -1, -2, -3


def encode_coco(mask: np.ndarray, *, compressed: bool = True) -> JsonDict:
    """The mask, bool (H, W), as {"size": [H, W], "counts": text or list of numbers}; TypeError for other arrays.

    >>> encode_coco(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool), compressed=False)
    {'size': [2, 3], 'counts': [2, 3, 1]}
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise TypeError(f"expected a bool mask (H, W), got {mask.dtype} {mask.shape}; compare with a threshold first")
    runs = runs_of(mask[np.newaxis])
    borders = np.zeros(2 * len(runs.starts) + 2, dtype=np.int64)
    borders[1:-1:2], borders[2:-1:2], borders[-1] = runs.starts, runs.ends, mask.size
    counts = np.diff(borders)
    if len(counts) > 1 and counts[-1] == 0:  # the mask goes on to the last pixel
        counts = counts[:-1]
    return {"size": list(mask.shape), "counts": _compress(counts) if compressed else counts.tolist()}


def decode_coco(coded: Mapping[str, Any], *, row: str = "") -> np.ndarray:
    """The mask that {"size": [H, W], "counts": text, bytes or numbers} describes, bool (H, W).

    InvalidSubmission names `row` and what is wrong: no size, a character of no count, text that was cut off, counts
    that are negative or do not add up to H x W.
    """
    height, width = _size_of(coded, row)
    counts = counts_of(coded.get("counts"), row)
    if len(counts) and counts.min() < 0:
        place = int(np.flatnonzero(counts < 0)[0])
        raise InvalidSubmission(f"row '{row}': count {place + 1} is {counts[place]}, below 0. Encode the mask again.")
    if sum(counts.tolist()) != height * width:
        raise InvalidSubmission(
            f"row '{row}': the counts add up to {sum(counts.tolist())} pixels, a mask of {height}x{width} has "
            f"{height * width}. Was it encoded at another size, or cut off?"
        )
    borders = np.cumsum(counts)
    ends = borders[1::2]
    starts = borders[0::2][: len(ends)]
    some = ends > starts
    kind = position_dtype((height, width))
    offsets = np.array([0, some.sum()])
    mask: np.ndarray = masks_of(RunLists(starts[some].astype(kind), ends[some].astype(kind), offsets, (height, width)))
    return mask[0, ..., 0]


def _size_of(coded: Mapping[str, Any], row: str) -> tuple[int, int]:
    size = coded.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(s, int) and s >= 0 for s in size):
        raise InvalidSubmission(f"row '{row}': expected \"size\": [rows, columns], got {size!r}.")
    return size[0], size[1]


def counts_of(counts: Any, row: str = "") -> np.ndarray:
    """Counts as numbers, int64, from text, bytes or numbers; InvalidSubmission for what has no such form."""
    if isinstance(counts, str):
        counts = counts.encode("utf-8", errors="replace")
    if not isinstance(counts, bytes):
        if not isinstance(counts, list | tuple | np.ndarray) or not all(
            isinstance(count, int | np.integer) and abs(int(count)) < 1 << 62 for count in counts
        ):
            raise InvalidSubmission(f"row '{row}': expected counts as text or whole numbers, got {counts!r:.60}.")
        return np.array(counts, dtype=np.int64)
    text = np.frombuffer(counts, dtype=np.uint8)
    numbers = np.empty(len(text), dtype=np.int64)
    found, place = _read_counts(text, numbers)
    if found == CUT_OFF:
        raise InvalidSubmission(f"row '{row}': the counts end within a number. Were they cut off? Write them again.")
    if found == TOO_LONG:
        raise InvalidSubmission(f"row '{row}': the number at character {place + 1} is too large for any mask.")
    if found == NO_CHARACTER:
        raise InvalidSubmission(
            f"row '{row}': character {place + 1} is {chr(text[place])!r}, which no compressed count has ('0' to 'o')."
        )
    return numbers[:found]


def _compress(counts: np.ndarray) -> str:
    text = np.empty(len(counts) * LONGEST_COUNT + LONGEST_COUNT, dtype=np.uint8)
    return text[: _write_counts(counts, text)].tobytes().decode("ascii")


@compiled
def _write_counts(counts, text):  # type: ignore[no-untyped-def]
    at = 0
    for place in range(len(counts)):
        number = counts[place]
        if place > 2:
            number -= counts[place - 2]
        more = True
        while more:
            group = number & 31
            number >>= 5
            more = number != (-1 if group & 16 else 0)
            text[at] = FIRST_CHARACTER + group + (32 if more else 0)
            at += 1
    return at


@compiled
def _read_counts(text, counts):  # type: ignore[no-untyped-def]
    """Fill `counts`; returns how many, or what is wrong (below 0), and the character at which reading stopped."""
    at = found = 0
    while at < len(text):
        begin = at
        number = np.int64(0)
        more = True
        while more:
            if at == len(text):
                return CUT_OFF, at
            if text[at] < FIRST_CHARACTER or text[at] > LAST_CHARACTER:
                return NO_CHARACTER, at
            if at - begin == LONGEST_COUNT:
                return TOO_LONG, begin
            bits = np.int64(text[at]) - FIRST_CHARACTER
            number |= (bits & 31) << (5 * (at - begin))
            at += 1
            more = bits & 32 != 0
        if bits & 16:  # negative: ones above the bits that were written
            number |= np.int64(-1) << (5 * (at - begin))
        if found > 2:
            number += counts[found - 2]
        counts[found] = number
        found += 1
    return found, at
