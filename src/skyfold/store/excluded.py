"""Samples that a config leaves out of training and of the score, listed with the reasons in a CSV."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest
from skyfold.tables import read_rows

COLUMNS = ("id", "reason")


def read_excluded(path: Path, ids: np.ndarray) -> np.ndarray:
    """Which of the training samples `ids` (n,) the CSV lists, whose columns are id and reason: bool (n,).

    ConfigError names every row that is of no sample, or is listed twice.
    """
    header, rows = read_rows(path, COLUMNS, refuse=ConfigError)
    place, known = header.index("id"), set(ids.tolist())
    names = [(line, fields[place]) for line, fields in rows]
    problems = [
        f"line {line}: no training sample '{name}'{nearest(name, ids.tolist())}. Correct or remove the row."
        for line, name in names
        if name not in known
    ]
    counts = Counter(name for _, name in names)
    problems += [f"'{name}' is listed {count} times. Keep one row." for name, count in counts.items() if count > 1]
    if problems:
        raise ConfigError(f"{path}:\n{listing(problems)}")
    return np.isin(ids, [name for _, name in names])
