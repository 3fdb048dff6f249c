"""The pixels that the weights of a blend can change at all, taken out of the models' maps and packed together.

A weighted mean lies between the lowest and the highest of its models. Where all models are at or below the lowest level
that is searched a pixel is in no mask, where all are above the highest it is in every mask, whatever the weights are.
Such pixels are counted once. The rest, usually a small part, is kept in memory, so that a search need not read a map
again and still gets the counts of the whole maps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from skyfold.blending import _pixel_kernels as kernels
from skyfold.blending._pixel_words import LANES
from skyfold.errors import OofMismatch
from skyfold.store.rows import release_pages
from skyfold.types import ArraySequence

MOST_BYTES = 768 << 20  # of packed values, truth and their sums
MOST_PARTS = 65535 // 255  # whole parts of weight whose sum of stored values still fits into 16 bits
ROWS_AT_ONCE = 4  # rows that are screened side by side and then let go
LEAST_WORK = 1 << 19  # words compared; fewer take a millisecond, and beginning a thread a good part of one


@dataclass(frozen=True)
class UncertainPixels:
    """What of one class weights can change, row after row, in words of 64 pixels: those in the truth, then the others.

    values      uint8, row after row, within a row model after model; each kind filled up to whole words with 0
    start       (n + 1,) int64; row i has the words start[i] to start[i + 1], its values begin at 64 * M * start[i]
    pixels      (n, 2) int64, uncertain pixels in the truth, and others
    sure_pred   (n,) int64, other pixels that are in every mask; sure_both: those of them in the truth
    target      (n,) int64, pixels of the truth, in all
    models      M
    """

    values: np.ndarray
    start: np.ndarray
    pixels: np.ndarray
    sure_pred: np.ndarray
    sure_both: np.ndarray
    target: np.ndarray
    models: int

    def of_row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Values of row i, uint8 (M, pixels), and whether they are in the truth, bool (pixels,)."""
        true, other = self.pixels[i]
        values = self.values[LANES * self.models * self.start[i] : LANES * self.models * self.start[i + 1]]
        kinds = np.split(values.reshape(self.models, -1), [LANES * _words(true)], axis=1)
        return np.concatenate([kinds[0][:, :true], kinds[1][:, :other]], axis=1), np.arange(true + other) < true


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
    does not fit leaves a fair sample. advance: called with the number of rows done since the last call. OofMismatch for
    predictions that are not uint8 of one shape.
    """
    shape = arrays[0].shape
    for i, array in enumerate(arrays):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape != shape:
            raise OofMismatch(
                f"predictions {i} are {array.dtype} {array.shape}; weights are searched on probabilities stored as "
                f"uint8 (N, H, W, K), all of one shape. Predict all runs on the same samples and grid."
            )
    levels = np.asarray(levels, dtype=np.int64)
    pixels, classes = shape[1] * shape[2], shape[3]
    words = _words(pixels)
    room = (MOST_BYTES if most_bytes is None else most_bytes) // (LANES * (len(arrays) + 2))
    order = np.random.default_rng(seed).permutation(np.asarray(rows, dtype=np.int64))
    most = min(room, (words + 1) * len(order)) + ROWS_AT_ONCE * (words + 1)  # both kinds of a map may end within a word
    packers = [_ClassPacker(len(arrays), most) for _ in range(classes)]

    def screened(row: int) -> list[_Screened]:
        maps = [_planes(array[row]) for array in arrays]
        truth = _planes(np.ascontiguousarray(targets[row], dtype=np.uint8))
        known = None if valid is None else np.asarray(valid[row], dtype=np.uint8).reshape(-1)
        return [_screen([planes[k] for planes in maps], truth[k], known, levels) for k in range(classes)]

    packed = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while packed < len(order) and sum(packer.words for packer in packers) <= room:
            chunk = order[packed : packed + ROWS_AT_ONCE].tolist()
            for maps in pool.map(screened, chunk):
                for packer, own in zip(packers, maps, strict=True):
                    packer.add(own)
            packed += len(chunk)
            if advance is not None:
                advance(len(chunk))
            for array in arrays:
                release_pages(array)
    return PackedMaps(tuple(packer.done() for packer in packers), order[:packed], levels, len(arrays))


def weighted_sums(pixels: UncertainPixels, parts: np.ndarray) -> np.ndarray:
    """Sum of parts[m] x value of model m for every uncertain pixel, uint16; parts: whole, at most MOST_PARTS in all."""
    sums = np.zeros(LANES * int(pixels.start[-1]), dtype=np.uint16)
    for m in np.flatnonzero(parts):
        add_to_sums(pixels, sums, int(m), int(parts[m]))
    return sums


def add_to_sums(pixels: UncertainPixels, sums: np.ndarray, model: int, parts: int) -> None:
    """Give `model` so many more parts (fewer, where negative) in `sums`, which is changed in place."""
    kernels.add_parts(pixels.values, pixels.start, pixels.models, model, np.uint16(parts & 0xFFFF), sums)


def counts_after_adding(
    pixels: UncertainPixels, sums: np.ndarray, added: np.ndarray, cuts: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in both masks, and in the predicted one, after one more part of each model of `added`, int64 (C,).

    cuts: (T,), a pixel is in the mask where its sum is above. Two int32 (len(rows), C, T), counts of the whole maps.
    """
    return _counted(kernels.count_adding, pixels, sums, added, cuts, rows)


def counts_after_exchange(
    pixels: UncertainPixels, sums: np.ndarray, moves: np.ndarray, cuts: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same after each of `moves`, int64 (C, 3): (to, from, parts), so many parts given by one model to another."""
    return _counted(kernels.count_exchanges, pixels, sums, moves, cuts, rows)


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


@dataclass(frozen=True)
class _Screened:
    """A map of one class: the uncertain values uint8 (M, pixels), those in the truth filled up to whole words, then the
    others, too; how many there are of both kinds; sure pixels, those of them in the truth, pixels of the truth."""

    values: np.ndarray
    true: int
    other: int
    counts: tuple[int, int, int]


def _screen(maps: list[np.ndarray], truth: np.ndarray, known: np.ndarray | None, levels: np.ndarray) -> _Screened:
    """maps: uint8 (HW,) a model, taken from while they are still in the processor's cache; truth, known (None: all
    are): 0/1 (HW,)."""
    size = len(truth)
    lowest, highest, there, defined = np.zeros((4, LANES * _words(size)), dtype=np.uint8)
    lowest[:size], highest[:size], there[:size], defined[:size] = maps[0], maps[0], truth, 1 if known is None else known
    for values in maps[1:]:
        np.minimum(lowest[:size], values, out=lowest[:size])
        np.maximum(highest[:size], values, out=highest[:size])
    places = np.empty((2, len(lowest)), dtype=np.uint32)
    true, other, *counts = kernels.screen(lowest, highest, there, defined, levels[0], levels[-1], places[0], places[1])
    middle = LANES * _words(true)
    packed = np.empty((len(maps), middle + LANES * _words(other)), dtype=np.uint8)
    for values, own in zip(maps, packed, strict=True):
        kernels.take(values, places[0, :true], own[:middle])
        kernels.take(values, places[1, :other], own[middle:])
    return _Screened(packed, true, other, tuple(counts))


class _ClassPacker:
    """Fills the arrays of `UncertainPixels` row by row.

    They are allocated for the most there can be; memory is only taken up for what is written.
    """

    def __init__(self, models: int, most_words: int) -> None:
        self.models, self.words = models, 0
        self.values = np.empty(LANES * models * most_words, dtype=np.uint8)
        self.counts: list[tuple[int, ...]] = []

    def add(self, screened: _Screened) -> None:
        first = LANES * self.models * self.words
        self.values[first : first + screened.values.size] = screened.values.reshape(-1)
        self.words += _words(screened.true) + _words(screened.other)
        self.counts.append((self.words, screened.true, screened.other, *screened.counts))

    def done(self) -> UncertainPixels:
        counts = np.array(self.counts, dtype=np.int64).reshape(-1, 6)
        start = np.concatenate([[0], counts[:, 0]])
        values = self.values[: LANES * self.models * self.words]
        sure_pred, sure_both, target = counts[:, 3:].T
        return UncertainPixels(values, start, counts[:, 1:3], sure_pred, sure_both, target, self.models)


def _words(pixels: int) -> int:
    """How many words hold so many pixels."""
    return int(-(-pixels // LANES))


def _planes(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, K) as (K, H * W); a view where there is one class."""
    pixels = np.ascontiguousarray(image).reshape(-1, image.shape[-1])
    if pixels.shape[1] == 1:
        return pixels.reshape(1, -1)
    planes = np.empty(pixels.shape[::-1], dtype=np.uint8)
    kernels.planes_of(pixels, planes)
    return planes


def _counted(
    kernel: Callable[..., None],
    pixels: UncertainPixels,
    sums: np.ndarray,
    moves: np.ndarray,
    cuts: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Run `kernel` over the rows, in as many threads as there are cores, and add what is sure."""
    both = np.empty((len(rows), len(moves), len(cuts)), dtype=np.int32)
    pred = np.empty_like(both)

    true_words = -(-pixels.pixels[:, 0] // LANES)

    def count(part: np.ndarray) -> None:
        kernel(pixels.values, pixels.start, true_words, pixels.models, sums, moves, cuts, rows, part, both, pred)

    words = np.cumsum(np.diff(pixels.start)[rows])
    threads = (os.cpu_count() or 1) if len(words) and words[-1] * len(moves) * len(cuts) > LEAST_WORK else 1
    positions = np.arange(len(rows))
    if threads == 1:
        count(positions)
    else:
        edges = np.searchsorted(words, words[-1] * np.arange(1, threads) / threads)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, np.split(positions, edges)))
    both += pixels.sure_both[rows, None, None].astype(np.int32)
    pred += pixels.sure_pred[rows, None, None].astype(np.int32)
    return both, pred
