"""Compiled loops of run-length encoding: pixels to segments and back, text to segments and back.

Arrays are indexed inside their bounds by construction: every loop is limited by the length of the array it reads, and
what is written has room for the longest result possible.
"""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled

CHUNK, BLOCK = 1024, 64  # pixels that are given room at once, and that are compared at once
TAB, NEWLINE, RETURN, BLANK, COMMA, ZERO = 9, 10, 13, 32, 44, 48
MOST_DIGITS = 18  # of a number that int64 always holds
NO_TABLE = -1


@compiled
def find_borders(masks, by_column):  # type: ignore[no-untyped-def]
    """Where segments begin and end in masks (n, H, W, K), uint8 in C order: borders in pairs, and offsets (n * K + 1,).

    Pixels are counted along lines: columns, or the whole mask as one line. The pairs of mask k of image i are
    borders[offsets[i * K + k] : offsets[i * K + k + 1]].
    """
    images, height, width, planes = masks.shape
    lines, length = (width, height) if by_column else (1, height * width)
    step = lines * planes  # from a pixel to the next of its line
    size = length * step
    pixels = masks.reshape(images, size)
    padded = np.zeros((size + step + CHUNK - 1) // CHUNK * CHUNK + step, np.uint8)  # with background around
    inside = padded[step : step + size]
    borders, offsets = np.empty(1024, np.int64), np.zeros(images * planes + 1, np.int64)
    found = 0
    for image in range(images):
        here = pixels[image]
        for place in range(size):
            inside[place] = here[place] != 0
        positions, stops = _in_order_of_lines(_changes(padded, step), lines, length, planes)
        if found + len(positions) > len(borders):
            borders = np.concatenate((borders, np.empty(found + len(positions), np.int64)))
        for plane in range(planes):
            first = found
            for position in positions[stops[plane * lines] : stops[(plane + 1) * lines]]:
                if found > first and borders[found - 1] == position:  # the next line goes on where this one ends
                    found -= 1
                else:
                    borders[found] = position
                    found += 1
            offsets[image * planes + plane + 1] = found
    return borders[:found], offsets


@compiled
def _changes(padded, step):  # type: ignore[no-untyped-def]
    """Places p, int64, at which padded[p + step] differs from padded[p]: 0 or 1, n * CHUNK + step of them."""
    changes = np.empty(CHUNK, np.int64)
    found = 0
    for left in range(0, len(padded) - step, CHUNK):
        if found + CHUNK > len(changes):
            changes = np.concatenate((changes, np.empty(len(changes), np.int64)))
        before, here = padded[left : left + CHUNK], padded[left + step : left + step + CHUNK]
        found += _compare(before, here, left, changes[found : found + CHUNK])
    return changes[:found]


@compiled
def _compare(before, here, first, changes):  # type: ignore[no-untyped-def]
    """Fill `changes` with first + the places at which CHUNK pixels differ; returns how many.

    Blocks without a difference, nearly all of them in smooth masks, are skipped after one vectorized comparison.
    """
    found = 0
    for left in range(0, CHUNK, BLOCK):
        old, new = before[left : left + BLOCK], here[left : left + BLOCK]
        differing = np.uint8(0)
        for place in range(BLOCK):
            differing |= old[place] ^ new[place]
        if differing:
            for place in range(BLOCK):
                if old[place] != new[place]:
                    changes[found] = first + left + place
                    found += 1
    return found


@compiled
def _in_order_of_lines(changes, lines, length, planes):  # type: ignore[no-untyped-def]
    """Counting sort of `changes` by plane and line: positions in their masks, and where each plane and line stops."""
    keys = changes % planes * lines + changes // planes % lines
    stops = np.zeros(planes * lines + 1, np.int64)
    for key in keys:
        stops[key + 1] += 1
    stops = np.cumsum(stops)
    free = stops.copy()
    positions = np.empty(len(changes), np.int64)
    for change, key in zip(changes, keys):  # noqa: B905 (numba knows no strict=)
        positions[free[key]] = key % lines * length + change // (lines * planes)
        free[key] += 1
    return positions, stops


@compiled
def draw_rows(starts, ends, offsets, masks):  # type: ignore[no-untyped-def]
    """Draw segments counted along the rows into masks of zeros, uint8 (n, H, W, K) in C order."""
    images, height, width, planes = masks.shape
    pixels = masks.reshape(images, height * width, planes)
    for mask in range(images * planes):
        for segment in range(offsets[mask], offsets[mask + 1]):
            pixels[mask // planes, starts[segment] : ends[segment], mask % planes] = 1


@compiled
def draw_columns(starts, ends, offsets, masks):  # type: ignore[no-untyped-def]
    """As `draw_rows`, of segments counted down the columns.

    Pixels are flipped where a segment enters a column and behind where it leaves it; then each row is the row above,
    flipped. That writes many neighbouring pixels at once, where one after the other down a column would be slow.
    """
    images, height, width, planes = masks.shape
    rows = masks.reshape(images, height, width * planes)
    for image in range(images):
        top, bottom, left, right = height, 0, width, 0
        for mask in range(image * planes, (image + 1) * planes):
            for segment in range(offsets[mask], offsets[mask + 1]):
                start, end = np.int64(starts[segment]), np.int64(ends[segment])
                column = start // height
                left = min(left, column)
                while start < end:
                    first = start - column * height
                    stop = min(end - column * height, height)
                    masks[image, first, column, mask % planes] ^= 1
                    if stop < height:
                        masks[image, stop, column, mask % planes] ^= 1
                    top, bottom = min(top, first), max(bottom, stop)
                    column += 1
                    start = column * height
                right = max(right, column)
        for row in range(top + 1, min(bottom + 1, height)):
            above = rows[image, row - 1, left * planes : right * planes]
            here = rows[image, row, left * planes : right * planes]
            for place in range(len(here)):
                here[place] ^= above[place]


@compiled
def intersect(starts, ends, offsets, other_starts, other_ends, other_offsets):  # type: ignore[no-untyped-def]
    """Segments of the pixels in both masks of each pair: starts, ends, offsets."""
    most = len(starts) + len(other_starts)
    both_starts, both_ends = np.empty(most, starts.dtype), np.empty(most, ends.dtype)
    both_offsets = np.zeros(len(offsets), np.int64)
    found = 0
    for mask in range(len(offsets) - 1):
        a, b = offsets[mask], other_offsets[mask]
        while a < offsets[mask + 1] and b < other_offsets[mask + 1]:
            start, end = max(starts[a], other_starts[b]), min(ends[a], other_ends[b])
            if start < end:
                both_starts[found], both_ends[found] = start, end
                found += 1
            if ends[a] <= other_ends[b]:  # the one that ends first has met all that it can
                a += 1
            else:
                b += 1
        both_offsets[mask + 1] = found
    return both_starts[:found], both_ends[:found], both_offsets


@compiled
def read_lines(text, first_index, relative, size, starts, ends, offsets, bounds, plain):  # type: ignore[no-untyped-def]
    """Segments of lines `key,start length start length ...`; returns how many lines there are.

    text: uint8 (n,), lines ended by a newline, or return and newline; empty lines are skipped. NO_TABLE where one has
    no comma. starts, ends need room for a segment in every four bytes; offsets, bounds, plain for every line.
    bounds (n, 3): where key, comma and end of each line are. plain (n,): False, and no segments, where what follows the
    comma is anything but digits and blanks, or where its segments are empty, out of order, or exceed `size` pixels.
    """
    at = found = lines = 0
    while at < len(text):
        bounds[lines, 0] = at
        while at < len(text) and text[at] != COMMA and text[at] != NEWLINE:
            at += 1
        if at == len(text) or text[at] == NEWLINE:
            key = text[bounds[lines, 0] : at]
            if len(key) > 1 or (len(key) == 1 and key[0] != RETURN):
                return NO_TABLE
            at += 1
            continue
        bounds[lines, 1] = at
        offsets[lines] = found
        right, has_start = True, False
        number = digits = start = reach = 0
        byte = text[at]
        while byte != NEWLINE:
            at += 1
            byte = text[at] if at < len(text) else np.uint8(NEWLINE)
            digit = np.int64(byte) - ZERO
            if 0 <= digit <= 9:
                number = number * 10 + digit
                digits += 1
                continue
            if digits > MOST_DIGITS:
                right = False
            elif digits and not has_start:
                start = number - first_index + (reach if relative else 0)
                has_start = True
            elif digits:
                # compared without a sum, which could overflow
                right = right and number > 0 and reach <= start <= size and number <= size - start
                reach = start + number
                starts[found], ends[found] = start, reach
                found += 1
                has_start = False
            number = digits = 0
            right = right and byte in (BLANK, TAB, RETURN, NEWLINE)
        plain[lines] = right and not has_start
        if not plain[lines]:
            found = offsets[lines]
        bounds[lines, 2] = at
        at += 1
        lines += 1
    offsets[lines] = found
    return lines


@compiled
def write_lines(starts, ends, offsets, first_index, relative, text):  # type: ignore[no-untyped-def]
    """Fill `text`, uint8, with a line of `start length ...` for each mask, ended by a newline; returns its length.

    It needs room for two numbers of the size of the mask, each with a blank, for every segment, and a newline each.
    """
    at = 0
    for mask in range(len(offsets) - 1):
        origin = -first_index
        for segment in range(offsets[mask], offsets[mask + 1]):
            at = _write_number(starts[segment] - origin, text, at)
            at = _write_number(ends[segment] - starts[segment], text, at)
            if relative:
                origin = ends[segment] - first_index
        if offsets[mask] == offsets[mask + 1]:
            at += 1
        text[at - 1] = NEWLINE
    return at


@compiled
def _write_number(number, text, at):  # type: ignore[no-untyped-def]
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
