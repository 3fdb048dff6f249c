"""How masks become lists of runs, and lists of runs masks again, many at once and on several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from skyfold.rle.run_lists import RunLists, joined, position_dtype

THREADS = min(os.cpu_count() or 1, 8)
PIXELS_PER_THREAD = 32 << 20  # about a millisecond of work, ten times what starting a thread takes

Result = TypeVar("Result")


def runs_of(masks: np.ndarray, order: str = "column", *, above: int | None = None) -> RunLists:
    """The runs of masks (n, H, W), bool, or of where uint8 maps lie above the level `above`; counted in `order`.

    Planes of (H, W, n) turned to (n, H, W) by `np.moveaxis(planes, -1, 0)` are read where they lie, without a copy.
    """
    n, height, width = masks.shape
    if not masks.size:
        nothing = np.empty(0, dtype=position_dtype((height, width)))
        return RunLists(nothing, nothing, np.zeros(n + 1, dtype=np.int64), (height, width), order)
    level = np.uint8(0 if above is None else above)
    lying = masks if order == "column" else masks.swapaxes(1, 2)  # so that counting goes down the columns
    interleaved = n > 1 and lying.strides[0] == 1 and lying.strides[2] == n
    along = lying.swapaxes(1, 2)[0].flags.c_contiguous  # memory goes as counting goes
    if not interleaved and not along and lying.strides[2] != 1:
        lying = np.ascontiguousarray(lying)
    if interleaved:
        parts = [_runs_of(lying, level, n, False)]
    else:
        parts = in_parts(lambda part: _runs_of(lying[part], level, 1, along), n, height * width)
    starts, ends, offsets = zip(*parts, strict=True)
    each = zip(starts, ends, offsets, strict=True)
    return joined([RunLists(*arrays, shape=(height, width), order=order) for arrays in each])


def _runs_of(lying: np.ndarray, level: np.uint8, planes: int, along: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from skyfold.rle import _mask_kernels

    n, height, width = lying.shape
    kind, offsets = np.empty(0, dtype=position_dtype((height, width))), np.empty(n + 1, dtype=np.int64)
    image_bytes, row_bytes, _ = lying.strides
    first = address_of(lying)
    if along:
        starts, ends = _mask_kernels.runs_along(first, image_bytes, n, height * width, level, offsets, kind)
    else:
        starts, ends = _mask_kernels.runs_across(
            first, image_bytes, row_bytes, n, height, width, planes, level, offsets, kind
        )
    return starts, ends, offsets


def masks_of(
    runs: RunLists, rows: np.ndarray | None = None, *, planes: int = 1, out: np.ndarray | None = None
) -> np.ndarray:
    """The masks numbered `rows` (images * planes,), those of one image together: bool (images, H, W, planes).

    rows: all masks where None. out: C-ordered bool of that shape, filled and returned; fresh memory where None, whose
    first touch takes longer than the decoding.
    """
    wanted = np.arange(len(runs)) if rows is None else np.ascontiguousarray(rows, dtype=np.int64)
    shape = (len(wanted) // planes, *runs.shape, planes)
    masks = np.empty(shape, dtype=np.bool_) if out is None else out
    if masks.shape != shape or masks.dtype != np.bool_ or not masks.flags.c_contiguous:
        raise ValueError(f"out: expected C-ordered bool {shape}, got {masks.dtype} {masks.shape}")
    if masks.size:
        in_parts(
            lambda part: _fill(masks[part], runs, wanted[part.start * planes : part.stop * planes]),
            len(masks),
            masks[0].size,
        )
    return masks


def _fill(masks: np.ndarray, runs: RunLists, rows: np.ndarray) -> None:
    from skyfold.rle import _mask_kernels

    _, height, width, planes = masks.shape
    flat = masks.reshape(-1).view(np.uint8)
    lists = runs.starts, runs.ends, runs.offsets, rows, flat
    if runs.order == "column":
        _mask_kernels.pixels_across(*lists, address_of(flat), height, width, planes)
    else:
        _mask_kernels.pixels_along(*lists, height * width, planes)


def in_parts(work: Callable[[slice], Result], n: int, pixels: int) -> list[Result]:
    """`work` of parts of range(n) that together are the whole, on as many threads as `pixels` an item are worth."""
    parts = max(1, min(THREADS, n, n * pixels // PIXELS_PER_THREAD))
    if parts == 1:
        return [work(slice(0, n))]
    bounds = np.linspace(0, n, parts + 1).astype(int).tolist()
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, [slice(*pair) for pair in pairwise(bounds)]))


def address_of(array: np.ndarray) -> int:
    """Where the array's first value lies; good for as long as the array is kept."""
    return int(array.__array_interface__["data"][0])
