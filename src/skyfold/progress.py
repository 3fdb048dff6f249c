"""How far long work has come: one rewritten line with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Count `total` things of `unit` in a `with` block; `advance` reports them.

    On a terminal the line is redrawn at most 10 times a second; elsewhere a line is printed at the start of the work's
    second minute and every minute after it, and one at the end.
    """

    def __init__(self, label: str, total: int, unit: str = "images", stream: TextIO | None = None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.stream = stream or sys.stderr
        self.count = 0
        self.note = ""
        self._terminal = self.stream.isatty()
        self._pause = 0.1 if self._terminal else 60.0

    def __enter__(self) -> Progress:
        self._start = self._shown = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.total and kind is None:
            self._show(end="\n")
        elif self._terminal:
            print(file=self.stream)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report `count` more things done; `note` (a loss, say) stands behind the figures until the next one."""
        self.count += count
        self.note = note or self.note
        now = time.monotonic()
        if now - self._shown >= self._pause:
            self._shown = now
            self._show(end="" if self._terminal else "\n")

    def _show(self, end: str) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self.count / seconds
        left = (self.total - self.count) / rate if self.count else float("nan")
        clock = f"{duration(seconds)}" if self.count >= self.total else f"{duration(left)} left"
        line = f"{self.label}: {self.count}/{self.total} {self.unit}, {rate:.3g}/s, {clock}"
        line = f"{line}, {self.note}" if self.note else line
        start = "\r\x1b[K" if self._terminal else ""
        print(f"{start}{line}", end=end, file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(7.4), duration(125), duration(7260), duration(float("nan"))
    ('7 s', '2 min 5 s', '2 h 1 min', '? s')
    """
    if seconds != seconds:
        return "? s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
