"""Inner loops that are compiled, and the threads that share their work."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

ROWS_AT_ONCE = 8


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call; it runs without the interpreter's lock, so that threads can share work.

    The machine code is kept beside the source file, or in numba's own cache folder ($NUMBA_CACHE_DIR), whichever can be
    written first; with neither, the first call of every process takes the seconds of compiling. What is damaged there
    is compiled again.
    """
    dispatcher = numba.njit(nogil=True)(function)
    with suppress(RuntimeError, OSError):  # numba found no folder it may write to
        dispatcher._cache = _CheckedCache(function)
    return dispatcher


class _CheckedCache(FunctionCache):
    """numba's cache of a function, whose files are used as they were written or not at all.

    numba takes any file for whole: one that is cut off ends every command, and machine code that was changed is run.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        own = self._impl
        self._cache_file = _CheckedFiles(self._cache_path, own.filename_base, own.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(Exception):  # whatever is wrong with it, it can be compiled again
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk, for instance: it is compiled again next time
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """Each file ends with the SHA-256 of its name and of what is before."""

    def _load_index(self) -> dict[Any, str]:
        index: dict[Any, str] = super()._load_index() if self._is_whole(self._index_path) else {}
        return index

    def _load_data(self, name: str) -> Any:
        if not self._is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # as numba has it where there is none
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        with super()._open_for_write(filepath) as file:
            yield content
            file.write(content.getvalue() + _digest(filepath, content.getvalue()))

    def _is_whole(self, path: str) -> bool:
        try:
            data = Path(path).read_bytes()
        except OSError:
            return False
        size = sha256().digest_size
        return len(data) > size and _digest(path, data[:-size]) == data[-size:]


def _digest(path: str, content: bytes) -> bytes:
    return sha256(Path(path).name.encode() + content).digest()


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


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Multiply matrices in one thread: sums that are divided among another number of threads are other bits."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, user_api="blas"):
        yield
