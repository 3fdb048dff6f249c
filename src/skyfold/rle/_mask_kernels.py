"""How pixels become runs and runs become pixels: compiled loops over 64 pixels at a time.

Masks lie in memory row by row while most contests count column by column. Instead of turning every mask, 64
neighbouring pixels of a row are compared at once into the bits of a word. A word that differs from the word of the row
above (XOR) has a set bit for each column in which a run begins or ends here; in masks of nature nearly all words equal
the one above, so that a row of 525 pixels costs nine comparisons. Decoding goes the other way: every run sets one bit
where it begins and one behind its end, and a row is the row above XOR its bits.

Several masks may lie interleaved, pixel (row, column) of mask k at `row * row_bytes + column * planes + k`, as planes
of (H, W, K) do: to the comparison these are so many more columns.

Pixels are named by their address (see `_machine_words`). No word is read or written past the end of a row.
"""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled
from skyfold.rle._machine_words import LANES, above_at, byte_at, lowest_bit, store_bits_at, store_byte_at


@compiled
def runs_across(first, image_bytes, row_bytes, masks, height, width, planes, level, offsets, kind):  # type: ignore[no-untyped-def]
    """Runs, counted down the columns, of the pixels above `level` of masks that lie row by row.

    first: address of pixel (0, 0) of the first image; masks: images x planes. Returns starts and ends of the dtype of
    `kind`, and fills offsets (masks + 1,): those of mask i are at offsets[i] to offsets[i + 1].
    """
    columns = width * planes
    changes = np.empty((columns, height + 1), np.int32)
    counts = np.empty(columns, np.int32)
    above = np.empty((columns + LANES - 1) // LANES, np.uint64)
    starts, ends = np.empty(256, kind.dtype), np.empty(256, kind.dtype)
    found = 0
    for image in range(masks // planes):
        changing = _column_changes(
            first + image * image_bytes, row_bytes, height, columns, level, changes, counts, above
        )
        starts, ends = _with_room(starts, ends, found + (changing + columns) // 2 + 1)
        for plane in range(planes):
            offsets[image * planes + plane] = found
            found = _join_columns(changes, counts, height, width, plane, planes, starts, ends, found)
    offsets[masks] = found
    return starts[:found], ends[:found]


@compiled
def _column_changes(first, row_bytes, height, columns, level, changes, counts, above):  # type: ignore[no-untyped-def]
    """changes[c, :counts[c]]: the rows at which column c turns from background to mask or back; returns how many.

    above: words of the row before, room for all columns.
    """
    whole, tail = columns // LANES, columns % LANES
    counts[:] = 0
    above[:] = 0
    total = 0
    for row in range(height):
        at = first + row * row_bytes
        for word in range(len(above)):
            here = above_at(at + word * LANES, level) if word < whole else _tail_of_row(at, columns, tail, level)
            turned = here ^ above[word]
            above[word] = here
            while turned != 0:
                column = word * LANES + np.int64(lowest_bit(turned))
                turned &= turned - np.uint64(1)
                changes[column, counts[column]] = row
                counts[column] += 1
                total += 1
    return total


@compiled
def _tail_of_row(at, columns, tail, level):  # type: ignore[no-untyped-def]
    """The last `tail` columns of a row; the 64 that end with the row are read, since nothing past it may be."""
    if columns >= LANES:
        return above_at(at + columns - LANES, level) >> np.uint64(LANES - tail)
    word = np.uint64(0)
    for column in range(tail):
        if byte_at(at + column) > level:
            word |= np.uint64(1) << np.uint64(column)
    return word


@compiled
def _join_columns(changes, counts, height, width, plane, planes, starts, ends, found):  # type: ignore[no-untyped-def]
    """The runs of one mask behind the `found` ones: columns in order, a run that goes on in the next column as one."""
    before = found
    for column in range(width):
        here = column * planes + plane
        count = counts[here]
        if count == 0:
            continue
        if count % 2:  # open at the bottom of the column
            changes[here, count] = height
            count += 1
        top = column * height
        place = 0
        if found > before and ends[found - 1] == top + changes[here, 0]:
            ends[found - 1] = top + changes[here, 1]
            place = 2
        while place < count:
            starts[found] = top + changes[here, place]
            ends[found] = top + changes[here, place + 1]
            found += 1
            place += 2
    return found


@compiled
def runs_along(first, mask_bytes, masks, size, level, offsets, kind):  # type: ignore[no-untyped-def]
    """As `runs_across`, of masks whose `size` pixels lie in memory in the order in which they are counted."""
    starts, ends = np.empty(256, kind.dtype), np.empty(256, kind.dtype)
    words, tail = size // LANES, size % LANES
    found = 0
    for mask in range(masks):
        offsets[mask] = found
        at = first + mask * mask_bytes
        last = np.uint64(0)  # the pixel before, in bit 0
        for word in range(words + (tail > 0)):
            starts, ends = _with_room(starts, ends, found + LANES)
            here = above_at(at + word * LANES, level) if word < words else _tail_of_row(at, size, tail, level)
            turned = here ^ ((here << np.uint64(1)) | last)
            while turned != 0:
                place = word * LANES + np.int64(lowest_bit(turned))
                if place >= size:  # a run to the last pixel, whose end shows in the bits behind it
                    break
                if (here >> np.uint64(place - word * LANES)) & np.uint64(1):
                    starts[found] = place
                else:
                    ends[found] = place
                    found += 1
                turned &= turned - np.uint64(1)
            last = here >> np.uint64(LANES - 1) if word < words else (here >> np.uint64(tail - 1)) & np.uint64(1)
        if last:
            ends[found] = size
            found += 1
    offsets[masks] = found
    return starts[:found], ends[:found]


@compiled
def _with_room(starts, ends, wanted):  # type: ignore[no-untyped-def]
    if wanted <= len(starts):
        return starts, ends
    more_starts, more_ends = np.empty(2 * wanted, starts.dtype), np.empty(2 * wanted, ends.dtype)
    more_starts[: len(starts)] = starts
    more_ends[: len(ends)] = ends
    return more_starts, more_ends


@compiled
def pixels_across(starts, ends, offsets, rows, pixels, first, height, width, planes):  # type: ignore[no-untyped-def]
    """Write the masks `rows` of a list of runs, counted down the columns, as images (H, W, planes).

    rows: (images * planes,) mask numbers, those of one image together; runs of one mask may touch, not overlap. pixels:
    uint8, flat, C order; first: its address.
    """
    columns = width * planes
    whole, tail = columns // LANES, columns % LANES
    toggles = np.zeros((whole + 1, height + 1), np.uint64)
    touched = np.zeros(whole + 2, np.bool_)
    for image in range(len(rows) // planes):
        corner = image * height * columns
        pixels[corner : corner + height * columns] = 0
        top, bottom = height, 0
        for plane in range(planes):
            begin, stop = offsets[rows[image * planes + plane]], offsets[rows[image * planes + plane] + 1]
            high, low = _toggle(toggles, touched, starts[begin:stop], ends[begin:stop], height, plane, planes)
            top, bottom = min(top, high), max(bottom, low)
        # From here on only the rows top to bottom - 1 of the 64 columns that runs have touched.
        corner += first + top * columns
        for word in range(whole):
            if touched[word]:
                _paint_lanes(toggles[word, top:bottom], corner + word * LANES, columns)
        if touched[whole] and whole:
            last, before = toggles[whole, top:bottom], toggles[whole - 1, top:bottom]
            _paint_tail(before, last, corner + columns - LANES, columns, tail)
        elif touched[whole]:
            _paint_narrow(toggles[0, top:bottom], corner, columns)
        for word in range(whole + 1):
            if touched[word]:
                toggles[word, top : bottom + 1] = 0
                touched[word] = False


@compiled
def _toggle(toggles, touched, starts, ends, height, plane, planes):  # type: ignore[no-untyped-def]
    """The bits of the runs of one mask: in each column that a run touches one where it begins and one behind its end.

    toggles (words, height + 1): bit c % 64 of word c // 64 is column c; touched (words,): which have bits. Returns the
    first row with a bit and the last.
    """
    column = above = 0  # of the column that holds the start of the run, and the pixels in the columns before it
    high, low = height, 0
    for run in range(len(starts)):
        start, end = np.int64(starts[run]), np.int64(ends[run])
        if start >= above + height:
            column = start // height
            above = column * height
        while True:
            lane = column * planes + plane
            bit = np.uint64(1) << np.uint64(lane % LANES)
            begin, stop = start - above, min(end - above, height)
            toggles[lane // LANES, begin] ^= bit
            toggles[lane // LANES, stop] ^= bit
            touched[lane // LANES] = True
            high, low = min(high, begin), max(low, stop)
            if end <= above + height:
                break
            above += height
            start = above
            column += 1
    return high, low


@compiled
def _paint_lanes(toggles, first, row_bytes):  # type: ignore[no-untyped-def]
    """64 columns from the top down: a row is the row above with the toggled bits turned."""
    here = np.uint64(0)
    for row in range(len(toggles)):
        here ^= toggles[row]
        store_bits_at(first + row * row_bytes, here)


@compiled
def _paint_tail(before, toggles, first, row_bytes, tail):  # type: ignore[no-untyped-def]
    """The 64 columns that end with the row, of which the last `tail` are new and the others written a second time."""
    left = here = np.uint64(0)
    for row in range(len(toggles)):
        left ^= before[row]
        here ^= toggles[row]
        store_bits_at(first + row * row_bytes, (here << np.uint64(LANES - tail)) | (left >> np.uint64(tail)))


@compiled
def _paint_narrow(toggles, first, columns):  # type: ignore[no-untyped-def]
    """All columns of an image that has less than 64."""
    here = np.uint64(0)
    for row in range(len(toggles)):
        here ^= toggles[row]
        for column in range(columns):
            store_byte_at(first + row * columns + column, np.uint8((here >> np.uint64(column)) & np.uint64(1)))


@compiled
def pixels_along(starts, ends, offsets, rows, pixels, size, planes):  # type: ignore[no-untyped-def]
    """As `pixels_across`, of masks of `size` pixels that are counted in the order in which they lie in memory."""
    pixels[:] = 0
    for image in range(len(rows) // planes):
        for plane in range(planes):
            mask = rows[image * planes + plane]
            origin = image * size * planes + plane
            for run in range(offsets[mask], offsets[mask + 1]):
                if planes == 1:  # a plain stretch of memory, which is filled faster
                    pixels[origin + starts[run] : origin + ends[run]] = 1
                else:
                    for place in range(starts[run], ends[run]):
                        pixels[origin + place * planes] = 1
