"""How inner loops are compiled: once and kept on disk, or anew in each process where no folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call; it runs without the interpreter's lock, so that threads can share work.

    The machine code is kept beside the source file, or in numba's own cache folder ($NUMBA_CACHE_DIR), whichever can be
    written first; with neither, the first call of every process takes the seconds of compiling.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder it may write to
        return numba.njit(nogil=True)(function)
