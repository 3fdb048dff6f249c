"""Progress of long work: a tqdm bar on a terminal, plain lines with the time left elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from skyfold.errors import printable

THREADS = 2
Result = TypeVar("Result")
FIRST_LINE, NEXT_LINES = 5.0, 60.0  # seconds: of the first plain line, and between later ones


class Progress:
    """Count `total` items of `unit` in a `with` block; `advance` reports them.

    On a terminal a bar is shown. Elsewhere a line is printed 5 seconds after the start, whether or not an item is done
    by then, one every minute, and one at the end. Nothing is shown where `total` is 0.
    """

    def __init__(self, label: str, total: int, unit: str = "images", stream: TextIO | None = None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.stream = stream or sys.stderr
        self.count, self.note = 0, ""
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._print_lines, daemon=True)

    def __enter__(self) -> Progress:
        self._start, shown = time.monotonic(), self.total > 0 and self.stream.isatty()
        options = {"desc": self.label, "total": self.total, "unit": f" {self.unit}", "dynamic_ncols": True}
        self._bar = tqdm(**options, file=self.stream, disable=not shown)
        if self.total and not shown:
            self._writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.close()
        if self._writer.is_alive():
            self._ended.set()
            self._writer.join()
            if kind is None:
                self._print_line()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report `count` more items done; `note` (for instance a loss) is shown until the next one."""
        self.count += count
        self.note = note or self.note
        self._bar.set_postfix_str(self.note, refresh=False)
        self._bar.update(count)

    def _print_lines(self) -> None:
        pause = FIRST_LINE
        while not self._ended.wait(pause):
            self._print_line()
            pause = NEXT_LINES

    def _print_line(self) -> None:
        clock = "{elapsed}" if self._ended.is_set() else "{remaining} left"
        line = tqdm.format_meter(
            self.count,
            self.total,
            max(time.monotonic() - self._start, 1e-9),
            prefix=self.label,
            postfix=self.note,
            bar_format=f"{{desc}}: {{n}}/{{total}} {self.unit}, {{rate_noinv:.3g}}/s, {clock}{{postfix}}",
        )
        with suppress(OSError):  # a full disk behind the stream: the work itself goes on
            print(line, file=self.stream, flush=True)


def note(text: str) -> None:
    """Say on the standard error stream what is no error, but what nobody should have to find out."""
    print(f"note: {printable(text)}", file=sys.stderr, flush=True)


def in_order(function: Callable[[Any], Result], items: Iterable[Any], *, ahead: int) -> Generator[Result, None, None]:
    """`function` of each item, in order, computed in two threads, at most `ahead` results before they are taken."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def map_in_threads(
    label: str, function: Callable[..., Result], items: Sequence[Any], unit: str, *more: Sequence[Any]
) -> Iterator[Result]:
    """`function` of each item (and of the items of `more` beside it), in order, computed in two threads.

    Progress is shown as `label`, counted in `unit`.
    """
    with Progress(label, len(items), unit) as progress, ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(function, items, *more):
            progress.advance()
            yield result
