"""How forecasts reach the disk: encoded, checked against the contest's own table, written whole, with a sidecar."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.files import file_digest, write_json, write_text
from skyfold.types import ArraySequence, IntPair


class ForecastTable(Protocol):
    """A `SubmissionFormat` of a table too wide for text objects: it is read and written by its own means."""

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame: ...

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]: ...

    def check_sample(self, path: Path, ids: np.ndarray) -> None: ...

    def read(self, path: Path) -> pd.DataFrame: ...

    def write(self, path: Path, table: pd.DataFrame) -> None: ...


def write_forecast(
    path: Path,
    ids: np.ndarray,
    values: ArraySequence,
    format: ForecastTable,
    sample_path: Path | None,
    sidecar: Mapping[str, Any],
) -> None:
    """Write `path` (.csv) and beside it the same name with .json: `sidecar`, with the file's sha256 and rows added.

    values[i]: float (H, W, L). sample_path: the contest's own submission, whose header is taken over and whose rows are
    wanted; None where it has none. InvalidSubmission lists what is wrong, and then nothing on disk has changed.
    """
    table = format.encode(ids, values)
    official = None if sample_path is None else format.read(sample_path)
    if official is not None and len(official.columns) == len(table.columns):
        table.columns = official.columns
    if problems := format.problems(table, official):
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InvalidSubmission(f"the submission has {count}:\n{listing(problems)}")
    format.write(path, table)
    about = {"file": path.name, "rows": len(table), "sha256": file_digest(path)}
    write_json(path.with_suffix(".json"), {**sidecar, **about})


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
