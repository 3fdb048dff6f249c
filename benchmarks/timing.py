"""How fast and how large: candidates timed side by side, in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Work:
    """`call()` does `items` of what is compared (masks, maps, pixels, ...), so that a slow peer may do fewer."""

    call: Callable[[], object]
    items: int = 1


@dataclass(frozen=True)
class Line:
    """One line of a speed table.

    path: what is timed; against: the peer; measured, low, high: median, least and greatest of the rounds, in `unit`;
    wanted: least ratio ("x"), or most seconds ("s") or memory ("MB"); None: shown for comparison; note: the times.
    """

    path: str
    against: str
    measured: float
    low: float
    high: float
    unit: str
    wanted: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        if self.wanted is None:
            return True
        return self.measured >= self.wanted if self.unit == "x" else self.measured <= self.wanted


def interleaved(candidates: dict[str, Work], *, rounds: int = 7) -> dict[str, list[float]]:
    """Seconds an item of each candidate, one figure a round; every candidate runs once in each round.

    A first call of each, which compiles and fills caches, is not counted.
    """
    for work in candidates.values():
        work.call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, work in candidates.items():
            start = time.perf_counter()
            work.call()
            seconds[name].append((time.perf_counter() - start) / work.items)
    return seconds


def ratios(path: str, ours: Work, peers: dict[str, tuple[Work, float | None]], *, rounds: int = 7) -> list[Line]:
    """A line a peer: how many times our speed is of the peer's, round by round. peers: name -> (work, wanted ratio)."""
    timed = interleaved({"": ours, **{name: work for name, (work, _) in peers.items()}}, rounds=rounds)
    lines = []
    for name, (_, wanted) in peers.items():
        each = [theirs / own for own, theirs in zip(timed[""], timed[name], strict=True)]
        note = f"{spoken(median(timed['']))} against {spoken(median(timed[name]))}"
        lines.append(Line(path, name, median(each), min(each), max(each), "x", wanted, note))
    return lines


def under(path: str, work: Work, *, wanted: float | None, rounds: int = 3, note: str = "") -> Line:
    """A line of seconds an item, with the most that is wanted."""
    each = interleaved({"": work}, rounds=rounds)[""]
    return Line(path, "", median(each), min(each), max(each), "s", wanted, note)


def memory(path: str, script: str, arguments: Sequence[str] = (), *, wanted: float | None, note: str = "") -> Line:
    """A line of the greatest memory (MB) of a fresh Python process that runs the code `script`.

    The process says so itself: what the system reports of a child begins at the memory of the parent that forked it.
    """
    ending = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    command = [sys.executable, "-c", script + ending, *arguments]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    megabytes = int(said.split()[-1]) / 1024
    return Line(path, "", megabytes, megabytes, megabytes, "MB", wanted, note)


def growth(
    path: str, make: Callable[[int], Work], *, sizes: Sequence[int] = (1, 2, 4, 8), rounds: int = 3
) -> list[Line]:
    """Lines of seconds at `sizes` times the work: make(size) gives the work of that size, its items left at 1."""
    works = {str(size): make(size) for size in sizes}
    timed = interleaved(works, rounds=rounds)
    first = median(timed[str(sizes[0])])
    return [
        Line(
            path,
            f"{size} times the images",
            median(timed[str(size)]),
            min(timed[str(size)]),
            max(timed[str(size)]),
            "s",
            note=f"{median(timed[str(size)]) / first:.2f} times the time",
        )
        for size in sizes
    ]


def data_folder() -> Path | None:
    """The folder of real data ($SKYFOLD_DATA), or None: benchmarks then say that they ran on made-up maps."""
    named = os.environ.get("SKYFOLD_DATA")
    return Path(named) if named and Path(named).is_dir() else None


def spoken(seconds: float) -> str:
    """
    >>> spoken(0.0000123)
    '12.3 us'
    """
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
