"""Run-length encoding of COCO annotations, plain or compressed, as pycocotools reads and writes it.

Counts alternate between background and mask, background first (0 where the mask begins with the first pixel), down the
columns. Compressed, each count from the fourth on is the difference to the one two before it, and every number is
written in groups of five bits, lowest first: character 48 + group, + 32 where more groups follow; the top bit of the
last group is the sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.rle.segments import Segments, position_dtype, require_masks
from skyfold.types import JsonDict

FIRST_CHARACTER = 48
LONGEST_COUNT = 12  # characters of five bits each: a larger number would leave int64
GROUP_SHIFTS = 5 * np.arange(LONGEST_COUNT)


def encode_coco(mask: np.ndarray, *, compressed: bool = True) -> JsonDict:
    """Mask, bool (H, W), as {"size": [H, W], "counts": text or list of numbers}; TypeError for other arrays.

    >>> encode_coco(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool), compressed=False)
    {'size': [2, 3], 'counts': [2, 3, 1]}
    """
    require_masks(mask, "(H, W)")
    segments = Segments.from_masks(mask[np.newaxis])
    borders = np.zeros(2 * len(segments.starts) + 2, dtype=np.int64)
    borders[1:-1:2], borders[2:-1:2], borders[-1] = segments.starts, segments.ends, mask.size
    counts = np.diff(borders)
    if len(counts) > 1 and counts[-1] == 0:  # the last pixel belongs to the mask
        counts = counts[:-1]
    if not compressed:
        return {"size": list(mask.shape), "counts": counts.tolist()}
    counts[3:] -= counts[1:-2]
    rest = counts[:, np.newaxis] >> GROUP_SHIFTS
    groups = rest & 31
    more = rest >> 5 != np.where(groups & 16, -1, 0)
    written = np.column_stack([np.ones(len(counts), bool), more[:, :-1]])
    text = (FIRST_CHARACTER + groups + 32 * more)[written].astype(np.uint8).tobytes().decode("ascii")
    return {"size": list(mask.shape), "counts": text}


def decode_coco(coded: Mapping[str, Any], *, row: str = "") -> np.ndarray:
    """Mask that {"size": [H, W], "counts": text, bytes or numbers} describes, bool (H, W).

    InvalidSubmission names `row` and what is wrong: no size, a character of no count, text that was cut off, counts
    that are negative or do not add up to H x W.
    """
    size = coded.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(s, int) and s >= 0 for s in size):
        raise InvalidSubmission(f"row '{row}': expected \"size\": [rows, columns], got {size!r}.")
    shape, pixels = (size[0], size[1]), size[0] * size[1]
    counts = counts_of(coded.get("counts"), row)
    if (counts < 0).any():
        place = int(np.argmax(counts < 0))
        raise InvalidSubmission(f"row '{row}': count {place + 1} is {counts[place]}, below 0. Encode the mask again.")
    if (total := sum(counts.tolist())) != pixels:
        raise InvalidSubmission(
            f"row '{row}': the counts add up to {total} pixels, a mask of {shape[0]}x{shape[1]} has {pixels}. Was it "
            "encoded at another size, or cut off?"
        )
    ends = np.cumsum(counts).astype(position_dtype(shape))[1::2]
    lengths = counts[1::2].astype(ends.dtype)
    some = lengths > 0
    mask: np.ndarray = Segments((ends - lengths)[some], ends[some], np.array([0, some.sum()]), shape).to_masks()[
        0, ..., 0
    ]
    return mask


def counts_of(counts: Any, row: str = "") -> np.ndarray:
    """Counts as numbers, int64 (n,), from compressed text or bytes, or from numbers.

    InvalidSubmission names `row` for text that was cut off or has other characters, numbers too large, other types.
    """
    if isinstance(counts, str):
        counts = counts.encode("utf-8", errors="replace")
    if not isinstance(counts, bytes):
        if not isinstance(counts, list | tuple | np.ndarray) or not all(
            isinstance(count, int | np.integer) and abs(int(count)) < 1 << 62 for count in counts
        ):
            raise InvalidSubmission(f"row '{row}': expected counts as text or whole numbers, got {counts!r:.60}.")
        return np.array(counts, dtype=np.int64)
    bits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not len(bits):
        return bits
    wrong = np.flatnonzero((bits < 0) | (bits > 63))
    if len(wrong):
        place = wrong[0]
        raise InvalidSubmission(f"row '{row}': character {place + 1} is {chr(counts[place])!r}, not one of '0' to 'o'.")
    more = bits & 32 != 0
    begins = np.flatnonzero(np.append(True, ~more[:-1]))
    lengths = np.diff(begins, append=len(bits))
    if lengths.max() > LONGEST_COUNT:
        place = begins[lengths > LONGEST_COUNT][0]
        raise InvalidSubmission(f"row '{row}': the number at character {place + 1} is too large for any mask.")
    if more[-1]:
        raise InvalidSubmission(f"row '{row}': the counts end within a number. Were they cut off? Write them again.")
    places = np.arange(len(bits)) - np.repeat(begins, lengths)
    numbers = np.add.reduceat((bits & 31) << 5 * places, begins)
    negative = bits[begins + lengths - 1] & 16 != 0
    numbers[negative] |= -1 << 5 * lengths[negative]  # ones above the bits that were written
    for parity in (numbers[1::2], numbers[2::2]):
        np.cumsum(parity, out=parity)
    return numbers
