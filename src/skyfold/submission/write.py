"""How a submission reaches the disk: encoded, checked, written whole, with a sidecar that says how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission
from skyfold.files import file_digest, write_atomic, write_json
from skyfold.submission.formats import read_table
from skyfold.submission.validate import check_round_trip, check_table
from skyfold.types import ArraySequence, SubmissionFormat


def write_submission(
    path: Path,
    ids: np.ndarray,
    masks: ArraySequence | Iterator[np.ndarray],
    format: SubmissionFormat,
    sample_path: Path | None,
    sidecar: Mapping[str, Any],
) -> None:
    """Write `path` (.csv) and beside it the same name with .json: `sidecar`, with the file's sha256 and rows added.

    masks: one array a sample, or an iterator of chunks (m, H, W, K) that together are the samples in the order of
    `ids`; a chunk is encoded and compared with its decoded self before the next is asked for. sample_path: the
    contest's own submission, None where it has none. InvalidSubmission lists what is wrong, and then nothing on disk
    has changed.
    """
    ids = np.asarray(ids, dtype=str)
    table = _encode(ids, masks if isinstance(masks, Iterator) else iter([masks]), format)
    columns = [str(column) for column in table.columns]
    sample = None if sample_path is None else read_table(sample_path, columns)
    check_table(table, format, sample, str(sample_path))
    write_atomic(path, lambda beside: _write_csv(beside, table))
    sha256 = file_digest(path)
    write_json(path.with_suffix(".json"), {**sidecar, "file": path.name, "rows": len(table), "sha256": sha256})


def _encode(ids: np.ndarray, chunks: Iterable[ArraySequence], format: SubmissionFormat) -> pd.DataFrame:
    tables, done = [], 0
    for chunk in chunks:
        rows = ids[done : done + len(chunk)]
        table = format.encode(rows, chunk)
        check_round_trip(table, rows, chunk, format)
        tables.append(table)
        done += len(chunk)
    if done != len(ids) or not tables:
        raise InvalidSubmission(f"{len(ids)} ids but {done} masks; predict every test image before submitting.")
    return pd.concat(tables, ignore_index=True)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write, and read again: what a CSV writer quotes or a reader trims must not change a single field."""
    table.to_csv(path, index=False, lineterminator="\n")
    if read_table(path, list(table.columns)).to_numpy().tolist() != table.astype(str).to_numpy().tolist():
        raise InvalidSubmission(f"{path}: an id or label does not survive being written as CSV. Rename it.")
