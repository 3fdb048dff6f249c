"""How a mask becomes run-length text and back, in the dialects contests use.

A run is a start and a length. Dialects differ in the number of the first pixel, in the order in which pixels are
counted, in whether a start counts from the mask's first pixel or from the end of the run before, and in how an empty
mask is written. On the way between masks and text stand `RunLists`; the loops are compiled and load on first use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.rle.mask_runs import address_of, masks_of, runs_of
from skyfold.rle.run_lists import RunLists, position_dtype
from skyfold.rle.run_text import read_closely
from skyfold.types import IntPair

RUNS = re.compile(r"(\d+\s+0*[1-9]\d*\s*)+")


@dataclass(frozen=True)
class Dialect:
    """How runs are written.

    first_index    the number of the first pixel, 0 or 1 (with relative starts: what is added to every start)
    order          "column": top to bottom, then left to right; "row": left to right, then top to bottom
    starts         "absolute": counted from the first pixel; "relative": from the end of the run before
    empty          the text written for an empty mask; ValueError where it could be a run
    also_empty     other texts that are read as an empty mask; a missing value and the empty text always are
    """

    first_index: Literal[0, 1] = 1
    order: Literal["column", "row"] = "column"
    starts: Literal["absolute", "relative"] = "absolute"
    empty: str = ""
    also_empty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.empty, *self.also_empty):
            if RUNS.fullmatch(text):
                raise ValueError(f"dialect: {text!r} is to mean an empty mask, but is a run too.")

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


def encode(mask: np.ndarray, dialect: Dialect = KAGGLE, *, above: int | None = None) -> str:
    """The runs of one mask as text.

    mask: bool (H, W), or uint8 (H, W) where `above` is a level 0..254: the mask is then where the map lies above it.
    TypeError for any other dtype, since a probability is not a mask yet.

    >>> encode(np.array([[0, 1, 1], [0, 1, 0]], dtype=bool))
    '3 3'
    """
    _refuse_other_than(mask, 2, above)
    return written(runs_of(mask[np.newaxis], dialect.order, above=above), dialect)[0]


def decode(text: object, shape: IntPair, dialect: Dialect = KAGGLE, *, row: str = "") -> np.ndarray:
    """The mask that `text` describes, bool (H, W) of the given `shape`.

    InvalidSubmission as `parse`, naming `row`.

    >>> decode("3 3", (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    mask: np.ndarray = decode_many([text], shape, dialect, rows=[row])[0]
    return mask


def encode_many(masks: np.ndarray, dialect: Dialect = KAGGLE, *, above: int | None = None) -> list[str]:
    """`encode` of every mask of `masks`, (n, H, W).

    Planes of (H, W, n) turned to (n, H, W) by `np.moveaxis(planes, -1, 0)` are read where they lie, without a copy.
    """
    _refuse_other_than(masks, 3, above)
    return written(runs_of(masks, dialect.order, above=above), dialect)


def decode_many(
    texts: Sequence[object],
    shape: IntPair,
    dialect: Dialect = KAGGLE,
    *,
    rows: Sequence[str] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`decode` of every text, bool (n, H, W). rows: (n,) labels for error messages, the positions where None.

    out: C-ordered bool (n, H, W) to be filled and returned, so that a loop over many texts can use its memory again.
    """
    runs = parse_many(texts, shape, dialect, rows=rows)
    return masks_of(runs, out=None if out is None else out[..., np.newaxis])[..., 0]


def parse(text: object, size: int, dialect: Dialect = KAGGLE, *, row: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The runs of `text` as positions in a mask of `size` pixels: starts and ends, int64, 0-based, end excluded.

    Runs that touch are accepted. InvalidSubmission names `row` and token where the text has something other than whole
    numbers, an odd number of them, a start before the first pixel, a length below 1, runs out of order or overlapping,
    or a run past the last pixel.
    """
    runs = parse_many([text], (size, 1), dialect, rows=[row])
    return runs.starts.astype(np.int64), runs.ends.astype(np.int64)


def parse_many(
    texts: Sequence[object], shape: IntPair, dialect: Dialect = KAGGLE, *, rows: Sequence[str] | None = None
) -> RunLists:
    """The runs of every text. InvalidSubmission as `parse`, of the first that is wrong; rows: as `decode_many`."""
    runs, refused = parse_all(texts, shape, dialect, rows=rows)
    if refused:
        raise InvalidSubmission(next(iter(refused.values())))
    return runs


def parse_all(
    texts: Sequence[object], shape: IntPair, dialect: Dialect = KAGGLE, *, rows: Sequence[str] | None = None
) -> tuple[RunLists, dict[int, str]]:
    """The runs of every text, none where it is wrong; and what is wrong, by position. rows: as `decode_many`."""
    from skyfold.rle import _text_kernels

    lines = np.frombuffer(_lines(texts, _text_kernels.PADDING), dtype=np.uint8)
    most, kind = len(lines) // 4 + 1, position_dtype(shape)
    starts, ends = np.empty(most, kind), np.empty(most, kind)
    offsets, odd = np.empty(len(texts) + 1, np.int64), np.empty(len(texts), np.bool_)
    size, relative = shape[0] * shape[1], dialect.starts == "relative"
    first = address_of(lines)
    stop = first + len(lines) - len(_text_kernels.PADDING)
    odd_ones = _text_kernels.read_texts(first, stop, dialect.first_index, relative, size, starts, ends, offsets, odd)
    runs = RunLists(starts[: offsets[-1]], ends[: offsets[-1]], offsets, shape, dialect.order)
    return _with_odd_ones(runs, np.flatnonzero(odd), texts, dialect, rows) if odd_ones else (runs, {})


def _lines(texts: Sequence[object], padding: str) -> bytes:
    """A line each and the padding; in the place of what would not be one line of ASCII one that nobody takes for plain.

    Whether newlines are there is looked for text by text: counting them in the whole takes ten times as long.
    """
    try:
        lines = "\n".join([*texts, padding])  # type: ignore[list-item]
        as_they_are = lines.isascii() and not any("\n" in text for text in texts)  # type: ignore[operator]
    except TypeError:
        as_they_are = False
    if not as_they_are:
        plain = (text if isinstance(text, str) and text.isascii() and "\n" not in text else "?" for text in texts)
        lines = "\n".join([*plain, padding])
    return lines.encode("ascii")


def _with_odd_ones(
    runs: RunLists, odd: np.ndarray, texts: Sequence[object], dialect: Dialect, rows: Sequence[str] | None
) -> tuple[RunLists, dict[int, str]]:
    """The runs of the texts that the compiled reader left aside, or what is wrong with them."""
    read: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    refused: dict[int, str] = {}
    for place in odd.tolist():
        if dialect.reads_as_empty(texts[place]):
            continue
        try:
            read[place] = read_closely(
                texts[place],
                runs.shape[0] * runs.shape[1],
                first_index=dialect.first_index,
                relative=dialect.starts == "relative",
                row=str(place) if rows is None else rows[place],
            )
        except InvalidSubmission as error:
            refused[place] = str(error)
    return runs.replaced(read) if read else runs, refused


def written(runs: RunLists, dialect: Dialect = KAGGLE) -> list[str]:
    """The text of every mask; `runs` must be counted in the order of `dialect`."""
    from skyfold.rle import _text_kernels

    digits = len(str(runs.shape[0] * runs.shape[1]))
    text = np.empty(len(runs.starts) * 2 * (digits + 1) + len(runs), dtype=np.uint8)
    size = _text_kernels.write_texts(
        runs.starts, runs.ends, runs.offsets, dialect.first_index, dialect.starts == "relative", text
    )
    texts = text[:size].tobytes().decode("ascii").split("\n")[:-1]
    return [each or dialect.empty for each in texts] if dialect.empty else texts


def _refuse_other_than(masks: np.ndarray, axes: int, above: int | None) -> None:
    kind = np.bool_ if above is None else np.uint8
    if masks.ndim != axes or masks.dtype != kind:
        shape = "(H, W)" if axes == 2 else "(n, H, W)"
        remedy = "compare with a threshold first" if above is None else "a level is compared with stored maps"
        expected = "bool mask" if above is None else "uint8 map"
        raise TypeError(f"expected a {expected} {shape}, got {masks.dtype} {masks.shape}; {remedy}")
