"""The compiled loops under `uncertain_pixels`: screening maps, weighted sums, and counts of masks.

Arrays come as `UncertainPixels` has them: row i is the words of 64 pixels start[i] to start[i + 1], the first
true_words[i] of them in the truth; its values begin at byte 64 * M * start[i], model after model. Sums are in 16 bits,
a number a pixel.
"""

from __future__ import annotations

import numpy as np

from skyfold.blending._pixel_words import LANES, above_each, lowest_one, ones
from skyfold.compiled import compiled

BLOCK_WORDS = 64  # words whose sums and bars stay in the nearest cache while all models are tried
NEVER = 255  # a bar that no byte is above


@compiled
def planes_of(pixels, planes):  # type: ignore[no-untyped-def]
    """Class after class what lies pixel after pixel: uint8 (HW, K) into (K, HW)."""
    for k in range(planes.shape[0]):
        for p in range(planes.shape[1]):
            planes[k, p] = pixels[p, k]


@compiled
def screen(lowest, highest, truth, known, low, high, true_places, other_places):  # type: ignore[no-untyped-def]
    """Where a map is uncertain: places of true pixels into the one array, of others into the other (uint32).

    lowest, highest over the models, truth and known (0 or 1, 0 past the end of the map): uint8, whole words of pixels.
    Returns how many there are of the two, then sure pixels, those of them in the truth, pixels of the truth.
    """
    lows, highs = np.full(LANES, low, dtype=np.uint8), np.full(LANES, high, dtype=np.uint8)
    nothing = np.zeros(LANES, dtype=np.uint8)
    true, other, sure_pred, sure_both, target = 0, 0, 0, 0, 0
    for word in range(len(lowest) // LANES):
        at = word * LANES
        defined = above_each(known.ctypes.data + at, nothing.ctypes.data)
        there = above_each(truth.ctypes.data + at, nothing.ctypes.data) & defined
        sure = above_each(lowest.ctypes.data + at, highs.ctypes.data) & defined
        some = above_each(highest.ctypes.data + at, lows.ctypes.data) & defined
        target += ones(there)
        sure_pred += ones(sure)
        sure_both += ones(sure & there)
        doubt = some & ~sure
        while doubt:
            place = lowest_one(doubt)
            doubt &= doubt - np.uint64(1)
            if there >> place & np.uint64(1):
                true_places[true] = np.uint64(at) + place
                true += 1
            else:
                other_places[other] = np.uint64(at) + place
                other += 1
    return true, other, sure_pred, sure_both, target


@compiled
def take(values, places, taken):  # type: ignore[no-untyped-def]
    """The pixels at `places`, and 0 to the end of `taken`."""
    for j in range(len(places)):
        taken[j] = values[places[j]]
    taken[len(places) :] = 0


@compiled
def add_parts(values, start, models, model, parts, sums):  # type: ignore[no-untyped-def]
    """sums += parts * values of `model`, in 16 bits; a negative number of parts is its two's complement."""
    for i in range(len(start) - 1):
        size = LANES * (start[i + 1] - start[i])
        begin = LANES * models * start[i] + model * size
        own = values[begin : begin + size]
        row_sums = sums[LANES * start[i] : LANES * start[i + 1]]
        for j in range(len(row_sums)):
            row_sums[j] = np.uint16(row_sums[j] + np.uint16(parts * np.uint16(own[j])))


@compiled
def _bars(sums, cut, bars):  # type: ignore[no-untyped-def]
    """What a byte must be above to bring the sum above the cut; returns how many sums are so already."""
    held = 0
    for j in range(len(sums)):
        lacking = np.int32(cut) - np.int32(sums[j])
        held += lacking < 0
        bars[j] = np.uint8(lacking if (lacking >= 0) & (lacking < NEVER) else NEVER)
    return held


@compiled
def _ones_above(address, bars, words):  # type: ignore[no-untyped-def]
    count = 0
    for w in range(words):
        count += ones(above_each(address + LANES * w, bars + LANES * w))
    return count


@compiled
def count_adding(values, start, true_words, models, sums, added, cuts, rows, positions, both, pred):  # type: ignore[no-untyped-def]
    """Masks after one more part of each model of `added`: both, pred[position, c, t] of row rows[position]."""
    bars = np.empty(BLOCK_WORDS * LANES, dtype=np.uint8)
    for position in positions:
        i = rows[position]
        both[position] = 0
        pred[position] = 0
        row = values.ctypes.data + LANES * models * start[i]
        middle = start[i] + true_words[i]
        for truth in (True, False):
            for first in range(start[i] if truth else middle, middle if truth else start[i + 1], BLOCK_WORDS):
                last = min(first + BLOCK_WORDS, middle if truth else start[i + 1])
                for t in range(len(cuts)):
                    held = _bars(sums[LANES * first : LANES * last], cuts[t], bars)
                    for c in range(len(added)):
                        own = row + LANES * (added[c] * (start[i + 1] - start[i]) + first - start[i])
                        above = held + _ones_above(own, bars.ctypes.data, last - first)
                        pred[position, c, t] += above
                        if truth:
                            both[position, c, t] += above


@compiled
def _exchanged(sums, gaining, losing, parts, moved):  # type: ignore[no-untyped-def]
    for j in range(len(moved)):
        change = np.uint16(np.uint16(gaining[j]) - np.uint16(losing[j]))
        moved[j] = np.uint16(sums[j] + np.uint16(parts * change))


@compiled
def _above(sums, cut):  # type: ignore[no-untyped-def]
    """How many of fewer than 65,536 sums are above the cut; the narrow counter lets the processor take many at once."""
    above = np.uint16(0)
    for j in range(len(sums)):
        above = np.uint16(above + np.uint16(sums[j] > cut))
    return np.int64(above)


@compiled
def count_exchanges(values, start, true_words, models, sums, moves, cuts, rows, positions, both, pred):  # type: ignore[no-untyped-def]
    """Masks after each of `moves`, (to, from, parts): both, pred[position, c, t] of row rows[position]."""
    buffer = np.empty(BLOCK_WORDS * LANES, dtype=np.uint16)
    for position in positions:
        i = rows[position]
        both[position] = 0
        pred[position] = 0
        size = LANES * (start[i + 1] - start[i])
        row = values[LANES * models * start[i] : LANES * models * start[i + 1]]
        middle = start[i] + true_words[i]
        for truth in (True, False):
            for first in range(start[i] if truth else middle, middle if truth else start[i + 1], BLOCK_WORDS):
                last = min(first + BLOCK_WORDS, middle if truth else start[i + 1])
                begin, end = LANES * (first - start[i]), LANES * (last - start[i])
                moved = buffer[: end - begin]
                for c in range(len(moves)):
                    to, source, parts = moves[c]
                    gaining = row[to * size + begin : to * size + end]
                    losing = row[source * size + begin : source * size + end]
                    _exchanged(sums[LANES * first : LANES * last], gaining, losing, np.uint16(parts), moved)
                    for t in range(len(cuts)):
                        above = _above(moved, np.uint16(cuts[t]))
                        pred[position, c, t] += above
                        if truth:
                            both[position, c, t] += above
