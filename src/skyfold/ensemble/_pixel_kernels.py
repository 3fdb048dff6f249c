"""The compiled loops under `uncertain_pixels`: screening words of 64 pixels, weighted sums, and counts of masks.

Arrays come as `UncertainPixels` has them: row i is the words start[i] to start[i + 1], its values begin at byte
64 * M * start[i], model after model; `truth` has a bit a pixel. Sums are in 16 bits, a number a pixel.
"""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled
from skyfold.ensemble._pixel_words import LANES, above_each, ones

BLOCK_WORDS = 64  # words whose sums and bars stay in the nearest cache while all models are tried
NEVER = 255  # a bar that no byte is above


@compiled
def planes_of(pixels, planes):  # type: ignore[no-untyped-def]
    """Class after class what lies pixel after pixel: uint8 (HW, K) into (K, HW)."""
    for k in range(planes.shape[0]):
        for p in range(planes.shape[1]):
            planes[k, p] = pixels[p, k]


@compiled
def screen(lowest, highest, truth, known, low, high, kept, truth_words):  # type: ignore[no-untyped-def]
    """Which words have a pixel that is uncertain, and what the others count.

    All uint8, a whole number of words long; truth and known are 0 or 1, 0 past the end of the map. `kept` gets the
    words' places, `truth_words` their true pixels. Returns how many, then sure pixels, those in the truth, the truth.
    """
    lows, highs = np.full(LANES, low, dtype=np.uint8), np.full(LANES, high, dtype=np.uint8)
    nothing = np.zeros(LANES, dtype=np.uint8)
    words, sure_pred, sure_both, target = 0, 0, 0, 0
    for word in range(len(lowest) // LANES):
        at = word * LANES
        defined = above_each(known.ctypes.data + at, nothing.ctypes.data)
        there = above_each(truth.ctypes.data + at, nothing.ctypes.data) & defined
        sure = above_each(lowest.ctypes.data + at, highs.ctypes.data) & defined
        some = above_each(highest.ctypes.data + at, lows.ctypes.data) & defined
        target += ones(there)
        if some != sure:
            kept[words] = word
            truth_words[words] = there
            words += 1
        else:
            sure_pred += ones(sure)
            sure_both += ones(sure & there)
    return words, sure_pred, sure_both, target


@compiled
def copy_words(values, known, kept, packed):  # type: ignore[no-untyped-def]
    """The `kept` words of a map, 0 where a pixel is undefined or past its end. packed: uint8 (words, 64)."""
    for w in range(len(kept)):
        begin = kept[w] * LANES
        own = values[begin : begin + LANES]
        counted = known[begin : begin + LANES]
        out = packed[w]
        if len(own) == LANES:
            for j in range(LANES):
                out[j] = own[j] * counted[j]
        else:
            for j in range(len(own)):
                out[j] = own[j] * counted[j]
            out[len(own) :] = 0


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
def _bars(sums, cut, bars, over):  # type: ignore[no-untyped-def]
    """What a byte that is added must be above to bring the sum above the cut; `over`: where it is above already."""
    for j in range(len(sums)):
        lacking = np.int32(cut) - np.int32(sums[j])
        over[j] = np.uint8(lacking < 0)
        bars[j] = np.uint8(lacking if (lacking >= 0) & (lacking < NEVER) else NEVER)


@compiled
def count_adding(values, start, models, truth, sums, added, cuts, rows, positions, both, pred):  # type: ignore[no-untyped-def]
    """Masks after one more part of each model of `added`: both, pred[position, c, t] of row rows[position]."""
    bars = np.empty(BLOCK_WORDS * LANES, dtype=np.uint8)
    over = np.empty(BLOCK_WORDS * LANES, dtype=np.uint8)
    nothing = np.zeros(LANES, dtype=np.uint8)
    for position in positions:
        i = rows[position]
        both[position] = 0
        pred[position] = 0
        row = values.ctypes.data + LANES * models * start[i]
        for first in range(start[i], start[i + 1], BLOCK_WORDS):
            last = min(first + BLOCK_WORDS, start[i + 1])
            for t in range(len(cuts)):
                _bars(sums[LANES * first : LANES * last], cuts[t], bars[: LANES * (last - first)], over)
                held_pred, held_both = 0, 0
                for w in range(last - first):
                    held = above_each(over.ctypes.data + LANES * w, nothing.ctypes.data)
                    held_pred += ones(held)
                    held_both += ones(held & truth[first + w])
                for c in range(len(added)):
                    own = row + LANES * (added[c] * (start[i + 1] - start[i]) + first - start[i])
                    above_pred, above_both = held_pred, held_both
                    for w in range(last - first):
                        above = above_each(own + LANES * w, bars.ctypes.data + LANES * w)
                        above_pred += ones(above)
                        above_both += ones(above & truth[first + w])
                    pred[position, c, t] += above_pred
                    both[position, c, t] += above_both


@compiled
def _exchanged(sums, gaining, losing, parts, moved):  # type: ignore[no-untyped-def]
    for j in range(len(moved)):
        change = np.uint16(np.uint16(gaining[j]) - np.uint16(losing[j]))
        moved[j] = np.uint16(sums[j] + np.uint16(parts * change))


@compiled
def _over(moved, cut, over):  # type: ignore[no-untyped-def]
    for j in range(len(moved)):
        over[j] = np.uint8(moved[j] > cut)


@compiled
def count_exchanges(values, start, models, truth, sums, moves, cuts, rows, positions, both, pred):  # type: ignore[no-untyped-def]
    """Masks after each of `moves`, (to, from, parts): both, pred[position, c, t] of row rows[position]."""
    buffer = np.empty(BLOCK_WORDS * LANES, dtype=np.uint16)
    over = np.empty(BLOCK_WORDS * LANES, dtype=np.uint8)
    nothing = np.zeros(LANES, dtype=np.uint8)
    for position in positions:
        i = rows[position]
        both[position] = 0
        pred[position] = 0
        size = LANES * (start[i + 1] - start[i])
        row = values[LANES * models * start[i] : LANES * models * start[i + 1]]
        for first in range(start[i], start[i + 1], BLOCK_WORDS):
            last = min(first + BLOCK_WORDS, start[i + 1])
            begin, end = LANES * (first - start[i]), LANES * (last - start[i])
            moved = buffer[: end - begin]
            for c in range(len(moves)):
                to, source, parts = moves[c]
                gaining, losing = (
                    row[to * size + begin : to * size + end],
                    row[source * size + begin : source * size + end],
                )
                _exchanged(sums[LANES * first : LANES * last], gaining, losing, np.uint16(parts), moved)
                for t in range(len(cuts)):
                    _over(moved, np.uint16(cuts[t]), over)
                    for w in range(last - first):
                        above = above_each(over.ctypes.data + LANES * w, nothing.ctypes.data)
                        pred[position, c, t] += ones(above)
                        both[position, c, t] += ones(above & truth[first + w])
