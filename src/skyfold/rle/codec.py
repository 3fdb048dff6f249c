"""Run-length encoding (RLE) of masks as text, in the dialects of the competitions.

A mask is written as `start length` of each of its segments. A compiled loop reads the texts; those that it cannot read
are checked token by token, then normalized or refused by row and token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.rle.segments import Segments, position_dtype, require_masks
from skyfold.types import IntPair

SEGMENTS = re.compile(r"(\d+\s+0*[1-9]\d*\s*)+")
FEWEST_OVER, OVER_TO_EDGE = 10, 4  # segments over the edge that are no chance: so many, and so many times those at it
WHOLE_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class Dialect:
    """How a competition writes segments.

    first_index    number of the first pixel (with relative starts: what is added to every start)
    order          "column": top to bottom, then left to right; "row": left to right, then top to bottom
    starts         "absolute": counted from the first pixel; "relative": from the end of the segment before
    empty          text of an empty mask; ValueError where it could be a segment
    also_empty     other texts that are read as an empty mask; a missing value is read as ""
    """

    name: str
    first_index: Literal[0, 1] = 1
    order: Literal["column", "row"] = "column"
    starts: Literal["absolute", "relative"] = "absolute"
    empty: str = ""
    also_empty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.empty, *self.also_empty):
            if SEGMENTS.fullmatch(text):
                raise ValueError(f"dialect {self.name}: {text!r} cannot mark an empty mask, since it is a segment too.")

    def reads_as_empty(self, text: object) -> bool:
        """Whether `text` stands for an empty mask; None and NaN as blank text."""
        if text is None or (isinstance(text, float) and np.isnan(text)):
            text = ""
        return isinstance(text, str) and text.strip() in {self.empty, *self.also_empty}


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("kaggle"),
        Dialect("kaggle_minus_one", empty="-1", also_empty=("",)),
        Dialect("kaggle_dash", empty="-"),
        Dialect("kaggle_one_zero", empty="1 0", also_empty=("",)),
        Dialect("row_major", order="row"),
        Dialect("siim", first_index=0, starts="relative", empty="-1", also_empty=("",)),
    )
}
KAGGLE = DIALECTS["kaggle"]


def encode(mask: np.ndarray, dialect: Dialect = KAGGLE) -> str:
    """Text of a mask, bool (H, W); TypeError for any other dtype, since a probability is not a mask yet.

    >>> encode(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool))
    '3 3'
    """
    require_masks(mask, "(H, W)")
    return encode_many(mask[np.newaxis], dialect)[0]


def encode_many(masks: np.ndarray, dialect: Dialect = KAGGLE) -> list[str]:
    """Texts of masks, bool (n, H, W), or (n, H, W, K) for n * K texts, those of one image together."""
    return texts_of(Segments.from_masks(masks, dialect.order), dialect)


def texts_of(segments: Segments, dialect: Dialect = KAGGLE) -> list[str]:
    """Text of each mask: the inverse of `parse`. ValueError for segments in another order than that of `dialect`."""
    from skyfold.rle import _kernels

    if segments.order != dialect.order:
        raise ValueError(f"dialect {dialect.name} counts pixels by {dialect.order}, these segments by {segments.order}")
    digits = len(str(segments.shape[0] * segments.shape[1]))
    text = np.empty(len(segments.starts) * 2 * (digits + 1) + len(segments), dtype=np.uint8)
    size = _kernels.write_lines(
        segments.starts, segments.ends, segments.offsets, dialect.first_index, dialect.starts == "relative", text
    )
    texts = text[:size].tobytes().decode("ascii").split("\n")[:-1]
    return [each or dialect.empty for each in texts]


def decode(text: object, shape: IntPair, dialect: Dialect = KAGGLE, *, row: str = "") -> np.ndarray:
    """Mask that `text` describes, bool (H, W) of the given `shape`; InvalidSubmission as `parse_all`, naming `row`.

    >>> decode("3 3", (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    mask: np.ndarray = decode_many([text], shape, dialect, rows=[row])[0]
    return mask


def decode_many(
    texts: Sequence[object],
    shape: IntPair,
    dialect: Dialect = KAGGLE,
    *,
    rows: Sequence[str] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Masks of the texts, bool (n, H, W); InvalidSubmission and `rows` as `parse`.

    out: C-ordered bool (n, H, W) to be filled and returned, so that a loop over many texts can reuse its memory.
    """
    segments = parse(texts, shape, dialect, rows=rows)
    return segments.to_masks(out=None if out is None else out[..., np.newaxis])[..., 0]


def parse(
    texts: Sequence[object], shape: IntPair, dialect: Dialect = KAGGLE, *, rows: Sequence[str] | None = None
) -> Segments:
    """Segments of every text; InvalidSubmission for the first that `parse_all` refuses. rows: as `parse_all`."""
    segments, refused = parse_all(texts, shape, dialect, rows=rows)
    if refused:
        raise InvalidSubmission(next(iter(refused.values())))
    return segments


def parse_all(
    texts: Sequence[object], shape: IntPair, dialect: Dialect = KAGGLE, *, rows: Sequence[str] | None = None
) -> tuple[Segments, dict[int, str]]:
    """Segments of every text, none where it is refused; and the refusals, by position.

    Refused, by row and token: anything but whole numbers, an odd number of them, a start before the first pixel, a
    length below 1, segments out of order, overlapping, or past the last pixel. Segments that touch are accepted.
    rows: (n,) labels for error messages; the positions where None.
    """
    known = [text if isinstance(text, str) and text.isascii() and "\n" not in text else "?" for text in texts]
    lines = parse_lines(_as_lines(known), shape, dialect)
    refused, again = {}, False
    for place in np.flatnonzero(~lines.plain).tolist():
        known[place] = ""
        if dialect.reads_as_empty(texts[place]):
            continue
        try:
            known[place] = _normalized(texts[place], shape, dialect, str(place) if rows is None else rows[place])
            again = True
        except InvalidSubmission as error:
            refused[place] = str(error)
    return (parse_lines(_as_lines(known), shape, dialect) if again else lines).segments, refused


def counts_from_zero(
    texts: Sequence[object], segments: Segments, refused: Mapping[int, str], dialect: Dialect = KAGGLE
) -> str:
    """Says so where a table of `texts` seems to number the first pixel 0 in a dialect that numbers it 1; else ''.

    segments, refused: of `parse_all`. Refusals that all go away with 0 are a proof. Without any it is a guess: segments
    that begin with the last pixel of a column and go on in the next would begin at the edge, one pixel later.
    """
    remedy = "The table seems to count from 0, run-length text here counts from 1: add 1 to every start"
    if dialect.first_index == 0:
        return ""
    if refused:
        again = [texts[place] for place in refused]
        if parse_all(again, segments.shape, replace(dialect, first_index=0))[1]:
            return ""
        return f"{len(refused)} masks are right only if the first pixel has the number 0. {remedy}."
    side = segments.shape[0] if segments.order == "column" else segments.shape[1]
    place = segments.starts % side
    over = np.count_nonzero((place == side - 1) & (segments.ends - segments.starts > 1))
    if over < FEWEST_OVER or over <= OVER_TO_EDGE * np.count_nonzero(place == 0):
        return ""
    return f"{over} segments begin with the last pixel of a {dialect.order} and go on in the next. {remedy}, if so."


@dataclass(frozen=True)
class Lines:
    """Lines `key,text`: segments of each text; bounds, int64 (n, 3), of key, comma and end in bytes.

    plain: bool (n,), False and no segments where a text is invalid or holds more than digits and blanks.
    """

    segments: Segments
    bounds: np.ndarray
    plain: np.ndarray


def parse_lines(text: bytes, shape: IntPair, dialect: Dialect) -> Lines:
    """Lines of a table; InvalidSubmission where one has no comma. Empty lines are skipped."""
    from skyfold.rle import _kernels

    most, dtype = text.count(b"\n") + 1, position_dtype(shape)
    starts, ends = np.empty(len(text) // 4 + 1, dtype), np.empty(len(text) // 4 + 1, dtype)
    offsets, bounds, plain = np.empty(most + 1, np.int64), np.empty((most, 3), np.int64), np.empty(most, np.bool_)
    n = _kernels.read_lines(
        np.frombuffer(text, np.uint8),
        dialect.first_index,
        dialect.starts == "relative",
        shape[0] * shape[1],
        starts,
        ends,
        offsets,
        bounds,
        plain,
    )
    if n == _kernels.NO_TABLE:
        raise InvalidSubmission("a line has no comma; expected 'key,start length start length ...'.")
    found = offsets[n]
    if not dialect.reads_as_empty(""):
        plain[:n] &= np.diff(offsets[: n + 1]) > 0
    return Lines(Segments(starts[:found], ends[:found], offsets[: n + 1], shape, dialect.order), bounds[:n], plain[:n])


def _as_lines(texts: list[str]) -> bytes:
    return "".join(f",{text}\n" for text in texts).encode("ascii")


def _normalized(text: object, shape: IntPair, dialect: Dialect, row: str) -> str:
    """`text` without unusual blanks and leading zeros, for the compiled loop; InvalidSubmission as `parse_all`."""
    if not isinstance(text, str):
        raise InvalidSubmission(f"row '{row}': expected run-length text, got {text!r}. Read the column as text.")
    tokens, size, first = text.split(), shape[0] * shape[1], dialect.first_index
    if not tokens:
        raise InvalidSubmission(f"row '{row}': no text. Write {dialect.empty!r} for an empty mask.")
    for position, token in enumerate(tokens, start=1):
        if not WHOLE_NUMBER.fullmatch(token):
            raise InvalidSubmission(
                f"row '{row}': token {position} is {token[:40]!r}, not a whole number. Write the mask as pairs "
                "'start length', separated by spaces."
            )
    if len(tokens) % 2:
        raise InvalidSubmission(
            f"row '{row}': {len(tokens)} number{'s' if len(tokens) > 1 else ''}, but segments are pairs 'start "
            f"length'; the last start, {tokens[-1]}, has no length. Was the line cut off? Encode the mask again."
        )
    numbers = np.array(tokens, dtype=np.float64)  # of any number of digits
    written, lengths = numbers.reshape(-1, 2).T
    steps = written - first + lengths
    ends = np.cumsum(steps) if dialect.starts == "relative" else steps
    starts, reach = ends - lengths, np.append(0, ends[:-1])
    wrong = np.stack([written < first, lengths < 1, ends > size, starts < reach])
    if wrong.any():
        place = int(wrong.any(axis=0).argmax())
        pairs = [f"'{start} {length}'" for start, length in zip(tokens[0::2], tokens[1::2], strict=True)]
        here = f"the segment {pairs[place]} at token {2 * place + 1}"
        order = "starts before" if place and starts[place] < starts[place - 1] else "overlaps"
        problems = (
            f"token {2 * place + 1} is a {'negative' if written[place] < 0 else '0'} start; the first pixel has the "
            f"number {first}. Shift the starts.",
            f"token {2 * place + 2} is a {'negative' if lengths[place] < 0 else '0'} length; every segment has at "
            "least 1 pixel. Leave the segment out.",
            f"{here} ends past the last of {size} pixels. Was the mask encoded at another size? Resize it to the "
            "submission's size first.",
            f"{here} {order} the segment {pairs[place - 1]} ahead of it. Sort the segments by start and join those "
            "that overlap.",
        )
        raise InvalidSubmission(f"row '{row}': {problems[wrong[:, place].argmax()]}")
    return " ".join(f"{number:.0f}" for number in numbers)
