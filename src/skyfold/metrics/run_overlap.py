"""How many pixels predicted and true masks share, counted on their runs without a single pixel being drawn."""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import InvalidSubmission
from skyfold.rle.mask_runs import in_parts
from skyfold.rle.run_lists import RunLists

PIXELS_A_MASK = 32768  # what counting one mask takes, in pixels decoded: decides how many threads are worth while


def overlap_counts(target: RunLists, pred: RunLists, valid: RunLists | None, classes: int) -> np.ndarray:
    """Pixels in both masks, in the predicted and in the true one, K columns each: float64 (n, 3K).

    target, pred: n * K masks, those of one image together; valid: one mask of counting pixels for each image, or None
    where all count. The same numbers, to the last bit, as from the decoded masks. InvalidSubmission where shapes, order
    or numbers of masks differ.
    """
    for name, runs, masks in (("prediction", pred, len(target)), ("pixels that count", valid, len(target) // classes)):
        if runs is not None and (runs.shape, runs.order, len(runs)) != (target.shape, target.order, masks):
            raise InvalidSubmission(
                f"{name}: expected {masks} masks of {target.shape} counted by {target.order}, got {len(runs)} of "
                f"{runs.shape} by {runs.order}. Bring both to the competition's grid and dialect."
            )
    counts = np.empty((3, len(target)), dtype=np.int64)
    lists = (target.starts, target.ends, target.offsets, pred.starts, pred.ends, pred.offsets)
    if valid is None:
        in_parts(lambda part: _count(*lists, part.start, part.stop, counts), len(target), PIXELS_A_MASK)
    else:
        defined = (valid.starts, valid.ends, valid.offsets)
        in_parts(
            lambda part: _count_defined(*lists, *defined, classes, part.start, part.stop, counts),
            len(target),
            PIXELS_A_MASK,
        )
    by_image = counts.reshape(3, -1, classes)
    return np.concatenate(list(by_image), axis=1).astype(np.float64)


@compiled
def _count(  # type: ignore[no-untyped-def]
    target_starts, target_ends, target_offsets, pred_starts, pred_ends, pred_offsets, first, stop, counts
):
    for mask in range(first, stop):
        t, t_stop, p, p_stop = (
            target_offsets[mask],
            target_offsets[mask + 1],
            pred_offsets[mask],
            pred_offsets[mask + 1],
        )
        counts[1, mask] = _area(pred_starts[p:p_stop], pred_ends[p:p_stop])
        counts[2, mask] = _area(target_starts[t:t_stop], target_ends[t:t_stop])
        counts[0, mask] = _shared(
            target_starts[t:t_stop], target_ends[t:t_stop], pred_starts[p:p_stop], pred_ends[p:p_stop]
        )


@compiled
def _count_defined(  # type: ignore[no-untyped-def]
    target_starts,
    target_ends,
    target_offsets,
    pred_starts,
    pred_ends,
    pred_offsets,
    valid_starts,
    valid_ends,
    valid_offsets,
    classes,
    first,
    stop,
    counts,
):
    """As `_count`, of what is left of both masks where pixels count."""
    for mask in range(first, stop):
        v, v_stop = valid_offsets[mask // classes], valid_offsets[mask // classes + 1]
        defined_starts, defined_ends = valid_starts[v:v_stop], valid_ends[v:v_stop]
        t, t_stop, p, p_stop = (
            target_offsets[mask],
            target_offsets[mask + 1],
            pred_offsets[mask],
            pred_offsets[mask + 1],
        )
        starts, ends = _cut(target_starts[t:t_stop], target_ends[t:t_stop], defined_starts, defined_ends)
        other_starts, other_ends = _cut(pred_starts[p:p_stop], pred_ends[p:p_stop], defined_starts, defined_ends)
        counts[0, mask] = _shared(starts, ends, other_starts, other_ends)
        counts[1, mask] = _area(other_starts, other_ends)
        counts[2, mask] = _area(starts, ends)


@compiled
def _area(starts, ends):  # type: ignore[no-untyped-def]
    area = np.int64(0)
    for run in range(len(starts)):
        area += ends[run] - starts[run]
    return area


@compiled
def _shared(starts, ends, other_starts, other_ends):  # type: ignore[no-untyped-def]
    """Pixels in both lists: of two runs face to face the one that ends first has met all it can, and is left behind."""
    shared = np.int64(0)
    a = b = 0
    while a < len(starts) and b < len(other_starts):
        end, other_end = ends[a], other_ends[b]
        shared += max(min(end, other_end) - max(starts[a], other_starts[b]), 0)
        first = end <= other_end
        a += first
        b += not first
    return shared


@compiled
def _cut(starts, ends, other_starts, other_ends):  # type: ignore[no-untyped-def]
    """The runs of the pixels in both lists; each run left ends with a run of one of them."""
    most = len(starts) + len(other_starts)
    cut_starts, cut_ends = np.empty(most, starts.dtype), np.empty(most, ends.dtype)
    found = a = b = 0
    while a < len(starts) and b < len(other_starts):
        end, other_end = ends[a], other_ends[b]
        start, stop = max(starts[a], other_starts[b]), min(end, other_end)
        if start < stop:
            cut_starts[found], cut_ends[found] = start, stop
            found += 1
        first = end <= other_end
        a += first
        b += not first
    return cut_starts[:found], cut_ends[:found]
