"""A line of an acceptance table: what was measured, what is wanted, and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, what is wanted (None: shown for comparison), and the 95 % interval.

    at_most: the wanted figure is not to be exceeded; else it is to be reached.
    """

    what: str
    measured: float | None
    wanted: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""
    at_most: bool = False

    def cells(self) -> list[str]:
        measured = "not run" if self.measured is None else f"{self.measured:.4f}"
        wanted = "" if self.wanted is None else f"{'<=' if self.at_most else '>='} {self.wanted:.4f}"
        interval = "" if self.interval is None else f"{self.interval[0]:.4f} to {self.interval[1]:.4f}"
        verdict = ""
        if self.wanted is not None:
            verdict = "met" if self._is_met(self.wanted) else "missed"
        return [self.what, wanted, measured, interval, verdict, self.note]

    def _is_met(self, wanted: float) -> bool:
        if self.measured is None:
            return False
        return self.measured <= wanted if self.at_most else self.measured >= wanted


def as_markdown(figures: Sequence[Figure]) -> str:
    head = ["figure", "wanted", "measured", "95 % interval", "", "note"]
    rows = [head, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
