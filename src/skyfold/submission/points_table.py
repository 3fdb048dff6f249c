"""A table of forecasts at single places, the dams of a rain competition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.files import write_csv
from skyfold.types import ArraySequence, IntPair


def write_points(
    path: Path, ids: np.ndarray, values: ArraySequence, points: Sequence[IntPair], leads: Sequence[str]
) -> None:
    """Write a CSV of the forecasts at single places: id, lead time, and a column `row_column` for each point.

    values[i]: (H, W, L) of sample ids[i]; points: (row, column); leads: (L,) names of the lead times.
    """
    table = [["id", "lead", *(f"{row}_{column}" for row, column in points)]]
    for i, name in enumerate(ids.tolist()):
        for place, lead in enumerate(leads):
            table.append([name, lead, *(f"{values[i][row, column, place]:.3f}" for row, column in points)])
    write_csv(path, table)
