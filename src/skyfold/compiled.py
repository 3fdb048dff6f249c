"""Inner loops that are compiled, and the threads that share their work."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

ROWS_AT_ONCE = 8


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call; it runs without the interpreter's lock, so that threads can share work.

    The machine code is kept beside the source file, or in numba's own cache folder ($NUMBA_CACHE_DIR), whichever can be
    written first; with neither, the first call of every process takes the seconds of compiling.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder it may write to
        return numba.njit(nogil=True)(function)


def in_threads(work: Callable[[range], None], count: int, workers: int | None = None) -> None:
    """Call `work` with the rows 0..count-1, `ROWS_AT_ONCE` at a time; an exception of any call is raised.

    workers: number of threads; None: one per core; 1: all calls in this thread.
    """
    pieces = [range(start, min(start + ROWS_AT_ONCE, count)) for start in range(0, count, ROWS_AT_ONCE)]
    threads = min(workers or os.cpu_count() or 1, len(pieces))
    if threads <= 1:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pieces))
