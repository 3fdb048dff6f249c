"""The pixels that the weights of a blend can change at all, taken out of the models' maps and packed together.

A weighted mean lies between the lowest and the highest of its models. Where all models are at or below the lowest level
that is searched a pixel is in no mask, where all are above the highest it is in every mask, whatever the weights are:
such pixels are counted once. The rest, usually a small part, is kept in memory, so that a search need not read a map
again and still gets the counts of the whole maps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import OofMismatch
from skyfold.row_store import release_pages
from skyfold.types import ArraySequence

MOST_BYTES = 768 << 20  # of packed values and their sums
MOST_PARTS = 65535 // 255  # whole parts of weight whose sum of stored values still fits into 16 bits
ROWS_MAPPED = 16  # rows of memory maps that are read before their pages are handed back
BLOCK = 4096  # pixels whose sums stay in the nearest cache while all levels are tried


@dataclass(frozen=True)
class UncertainPixels:
    """What of one class weights can change, row after row; a row's true pixels come first.

    values      uint8, M x the pixels of row 0, then of row 1, ...; within a row model after model
    start       (n + 1,) int64; row i has the pixels start[i] to start[i + 1], so its values begin at M * start[i]
    true        (n,) int64, how many of them are in the truth
    sure_pred   (n,) int64, pixels outside that are in every mask; sure_both: those of them in the truth
    target      (n,) int64, pixels of the truth, in all
    models      M
    """

    values: np.ndarray
    start: np.ndarray
    true: np.ndarray
    sure_pred: np.ndarray
    sure_both: np.ndarray
    target: np.ndarray
    models: int

    def of_row(self, i: int) -> np.ndarray:
        """Values of row i, uint8 (M, pixels), its true[i] true pixels first."""
        begin, end = self.start[i], self.start[i + 1]
        return self.values[self.models * begin : self.models * end].reshape(self.models, end - begin)


@dataclass(frozen=True)
class PackedMaps:
    """Uncertain pixels of every class. rows: (n,) the samples that were packed, all that were asked for where they fit;
    levels: (T,) ascending, mask = rounded mean > level; models: how many."""

    classes: tuple[UncertainPixels, ...]
    rows: np.ndarray
    levels: np.ndarray
    models: int


def pack(
    arrays: Sequence[np.ndarray],
    targets: ArraySequence,
    valid: ArraySequence | None = None,
    *,
    rows: np.ndarray,
    levels: np.ndarray,
    seed: int = 0,
    most_bytes: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> PackedMaps:
    """Screen the maps of `rows` and pack what is uncertain between the lowest and the highest of `levels`.

    arrays: uint8 (N, H, W, K) a model, memory-mapped as they may be, read a row at a time; targets[i]: 0/1 (H, W, K);
    valid[i]: bool (H, W), undefined pixels count nowhere. levels: (T,) ascending whole numbers in 0..254.
    Rows are taken in random order until they are all packed or `most_bytes` (None: MOST_BYTES) are used, so that what
    does not fit leaves a fair sample. advance: called with 1 after every row. OofMismatch for predictions that are not
    uint8 of one shape.
    """
    shape = arrays[0].shape
    for i, array in enumerate(arrays):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape != shape:
            raise OofMismatch(
                f"predictions {i} are {array.dtype} {array.shape}; weights are searched on probabilities stored as "
                f"uint8 (N, H, W, K), all of one shape. Predict all runs on the same samples and grid."
            )
    levels = np.asarray(levels, dtype=np.int64)
    room = (MOST_BYTES if most_bytes is None else most_bytes) // (len(arrays) + 2)
    packers = [_ClassPacker(len(arrays)) for _ in range(shape[3])]
    order = np.random.default_rng(seed).permutation(np.asarray(rows, dtype=np.int64))
    packed = 0
    for row in order:
        maps = [np.ascontiguousarray(array[row]).reshape(-1, shape[3]) for array in arrays]
        lowest, highest = _extremes(maps)
        truth = np.ascontiguousarray(targets[int(row)], dtype=np.uint8).reshape(-1, shape[3])
        known = np.ones(len(truth), dtype=np.uint8)
        if valid is not None:
            known = np.ascontiguousarray(valid[int(row)], dtype=np.uint8).reshape(-1)
        for k, packer in enumerate(packers):
            packer.add(k, maps, lowest, highest, truth, known, levels)
        packed += 1
        if advance is not None:
            advance(1)
        if packed % ROWS_MAPPED == 0:
            for array in arrays:
                release_pages(array)
        if sum(packer.pixels for packer in packers) > room:
            break
    return PackedMaps(tuple(packer.done() for packer in packers), order[:packed], levels, len(arrays))


class _ClassPacker:
    """Grows the arrays of `UncertainPixels` row by row, without ever holding them twice."""

    def __init__(self, models: int) -> None:
        self.models = models
        self.pixels = 0
        self.values = np.empty(1 << 16, dtype=np.uint8)
        self.counts: list[tuple[int, ...]] = []

    def add(
        self,
        k: int,
        maps: list[np.ndarray],
        lowest: np.ndarray,
        highest: np.ndarray,
        truth: np.ndarray,
        known: np.ndarray,
        levels: np.ndarray,
    ) -> None:
        places = np.empty(len(truth), dtype=np.int32)
        true, false, sure_pred, sure_both, target = _screen(
            lowest, highest, truth, known, k, levels[0], levels[-1], places
        )
        uncertain = true + false
        begin, end = self.models * self.pixels, self.models * (self.pixels + uncertain)
        if end > len(self.values):
            self.values.resize(max(end, len(self.values) * 3 // 2), refcheck=False)  # moves pages, copies nothing
        for m, values in enumerate(maps):
            own = self.values[begin + m * uncertain : begin + (m + 1) * uncertain]
            _take(values, k, places, true, false, own)
        self.pixels += uncertain
        self.counts.append((self.pixels, true, sure_pred, sure_both, target))

    def done(self) -> UncertainPixels:
        ends, true, sure_pred, sure_both, target = np.array(self.counts, dtype=np.int64).reshape(-1, 5).T
        self.values.resize(self.models * self.pixels, refcheck=False)
        start = np.concatenate([[0], ends]).astype(np.int64)
        return UncertainPixels(self.values, start, true, sure_pred, sure_both, target, self.models)


def weighted_sums(pixels: UncertainPixels, parts: np.ndarray) -> np.ndarray:
    """Sum of parts[m] x value of model m for every uncertain pixel, uint16; parts: whole, at most MOST_PARTS in all."""
    sums = np.zeros(int(pixels.start[-1]), dtype=np.uint16)
    for m in np.flatnonzero(parts):
        add_to_sums(pixels, sums, int(m), int(parts[m]))
    return sums


def add_to_sums(pixels: UncertainPixels, sums: np.ndarray, model: int, parts: int) -> None:
    """Give `model` so many more parts (fewer, where negative) in `sums`, which is changed in place."""
    _add(pixels.values, pixels.start, len(pixels.true), pixels.models, model, parts, sums)


def mask_counts(
    pixels: UncertainPixels,
    sums: np.ndarray,
    moves: np.ndarray,
    cuts: np.ndarray,
    rows: np.ndarray,
    *,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in both masks, and in the predicted one, for every move and level: two int32 (len(rows), C, T).

    moves: int64 (C, 3), (to, from, parts): the sums after `parts` more of model `to` and as many fewer of model `from`
    (-1: of none). cuts: (T,), a pixel is in the mask where its sum is above. Counts are those of the whole maps.
    """
    both = np.empty((len(rows), len(moves), len(cuts)), dtype=np.int32)
    pred = np.empty_like(both)
    threads = max(1, min(workers or os.cpu_count() or 1, len(rows)))
    size = np.cumsum(np.diff(pixels.start)[rows])
    edges = np.searchsorted(size, size[-1:] * np.arange(1, threads) / threads)

    def count(part: np.ndarray) -> None:
        _count(pixels.values, pixels.start, pixels.true, pixels.models, sums, moves, cuts, rows, part, both, pred)

    parts = [part for part in np.split(np.arange(len(rows)), edges) if len(part)]
    if len(parts) == 1:
        count(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, parts))
    both += pixels.sure_both[rows, None, None].astype(np.int32)
    pred += pixels.sure_pred[rows, None, None].astype(np.int32)
    return both, pred


def cuts_of(levels: np.ndarray, total: int) -> np.ndarray:
    """For sums of `total` parts the greatest that is not in the mask, int64 (T,).

    The mean is stored rounded to the nearest whole number, halves to the even one, and the mask is what is stored above
    the level: twice the sum must be above total * (2 level + 1), or equal to it where the level is odd.

    >>> cuts_of(np.array([127, 128]), 2).tolist()
    [254, 257]
    """
    levels = np.asarray(levels, dtype=np.int64)
    cuts: np.ndarray = (total * (2 * levels + 1) - levels % 2) // 2
    return cuts


def _extremes(maps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if len(maps) == 1:
        return maps[0], maps[0]
    lowest, highest = np.minimum(maps[0], maps[1]), np.maximum(maps[0], maps[1])
    for values in maps[2:]:
        np.minimum(lowest, values, out=lowest)
        np.maximum(highest, values, out=highest)
    return lowest, highest


@compiled
def _screen(lowest, highest, truth, known, k, low, high, places):  # type: ignore[no-untyped-def]
    """Where class k is uncertain: places of true pixels from the front of `places`, of others from its back.

    Returns true and other uncertain pixels, sure pixels, those of them in the truth, pixels of the truth.
    """
    true, false, sure_pred, sure_both, target = 0, 0, 0, 0, 0
    last = len(places) - 1
    for p in range(len(places)):
        if known[p]:
            there = np.int64(truth[p, k])
            target += there
            if lowest[p, k] > high:
                sure_pred += 1
                sure_both += there
            elif highest[p, k] > low:
                if there:
                    places[true] = p
                    true += 1
                else:
                    places[last - false] = p
                    false += 1
    return true, false, sure_pred, sure_both, target


@compiled
def _take(values, k, places, true, false, own):  # type: ignore[no-untyped-def]
    for j in range(true):
        own[j] = values[places[j], k]
    last = len(places) - 1
    for j in range(false):
        own[true + j] = values[places[last - j], k]


@compiled
def _add(values, start, rows, models, model, parts, sums):  # type: ignore[no-untyped-def]
    for i in range(rows):
        first = models * start[i] + model * (start[i + 1] - start[i])
        row_sums = sums[start[i] : start[i + 1]]
        _moved(row_sums, values[first : first + len(row_sums)], np.uint16(parts & 0xFFFF), row_sums)


@compiled
def _moved(sums, values, parts, moved):  # type: ignore[no-untyped-def]
    """sums + parts * values in 16 bits; a negative number of parts is its two's complement."""
    for j in range(len(moved)):
        moved[j] = np.uint16(sums[j] + np.uint16(parts * np.uint16(values[j])))


@compiled
def _exchanged(sums, gaining, losing, parts, moved):  # type: ignore[no-untyped-def]
    for j in range(len(moved)):
        change = np.uint16(np.uint16(gaining[j]) - np.uint16(losing[j]))
        moved[j] = np.uint16(sums[j] + np.uint16(parts * change))


@compiled
def _above(sums, cut):  # type: ignore[no-untyped-def]
    """How many of at most 65,535 sums are above the cut; the narrow counter lets the processor take many at once."""
    above = np.uint16(0)
    for j in range(len(sums)):
        above = np.uint16(above + np.uint16(sums[j] > cut))
    return np.int32(above)


@compiled
def _count(values, start, true, models, sums, moves, cuts, rows, positions, both, pred):  # type: ignore[no-untyped-def]
    buffer = np.empty(BLOCK, dtype=np.uint16)
    for position in positions:
        i = rows[position]
        pixels = start[i + 1] - start[i]
        both[position] = 0
        pred[position] = 0
        for segment in range(2):
            first = start[i] + (true[i] if segment else 0)
            last = start[i + 1] if segment else start[i] + true[i]
            for begin in range(first, last, BLOCK):
                end = min(begin + BLOCK, last)
                moved = buffer[: end - begin]
                for c in range(len(moves)):
                    to, source, parts = moves[c]
                    more = models * start[i] + to * pixels + begin - start[i]
                    gaining = values[more : more + len(moved)]
                    if source < 0:
                        _moved(sums[begin:end], gaining, np.uint16(parts), moved)
                    else:
                        less = models * start[i] + source * pixels + begin - start[i]
                        _exchanged(sums[begin:end], gaining, values[less : less + len(moved)], np.uint16(parts), moved)
                    for t in range(len(cuts)):
                        above = _above(moved, np.uint16(cuts[t]))
                        pred[position, c, t] += above
                        if segment == 0:
                            both[position, c, t] += above
