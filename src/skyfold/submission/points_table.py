"""A table of forecasts at single places, the dams of a rain competition."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.files import write_text
from skyfold.types import ArraySequence, IntPair


def write_points(
    path: Path, ids: np.ndarray, values: ArraySequence, points: Sequence[IntPair], leads: Sequence[str]
) -> None:
    """Write a CSV of what is forecast at single places: id, lead time, and a column `row_column` for each point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "lead", *(f"{row}_{column}" for row, column in points)])
    for i, name in enumerate(ids.tolist()):
        for place, lead in enumerate(leads):
            writer.writerow([name, lead, *(f"{values[i][row, column, place]:.3f}" for row, column in points)])
    write_text(path, text.getvalue())
