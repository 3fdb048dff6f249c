"""Write a submission: encoded, checked against the competition's own table, complete or not at all, with a sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission
from skyfold.files import file_digest, write_json
from skyfold.submission.validate import check_round_trip, check_table
from skyfold.types import ArraySequence, SubmissionFormat


def write_submission(
    path: Path,
    ids: np.ndarray,
    values: ArraySequence | Iterator[ArraySequence],
    format: SubmissionFormat,
    sample_path: Path | None,
    sidecar: Mapping[str, Any],
) -> None:
    """Write `path` (.csv) and beside it the same name with .json: `sidecar`, with the file's sha256 and rows added.

    values: one array a sample, or an iterator of chunks that together are the samples in the order of `ids`; a chunk
    is encoded and, where the format is exact, compared with its decoded self before the next is asked for.
    sample_path: the competition's sample submission, None where it has none. InvalidSubmission lists what is wrong, and
    then nothing on disk has changed.
    """
    ids = np.asarray(ids, dtype=str)
    table = _encode(ids, values if isinstance(values, Iterator) else iter([values]), format)
    sample = None
    if sample_path is not None:
        sample = format.read(sample_path)
        table = format.with_header_of(table, sample)
    check_table(table, format, sample, str(sample_path))
    format.write(path, table)
    about = {"file": path.name, "rows": len(table), "sha256": file_digest(path)}
    write_json(path.with_suffix(".json"), {**sidecar, **about})


def _encode(ids: np.ndarray, chunks: Iterable[ArraySequence], format: SubmissionFormat) -> pd.DataFrame:
    tables, complete = [], 0
    for chunk in chunks:
        rows = ids[complete : complete + len(chunk)]
        table = format.encode(rows, chunk)
        if format.exact:
            check_round_trip(table, rows, chunk, format)
        tables.append(table)
        complete += len(chunk)
    if complete != len(ids) or not tables:
        raise InvalidSubmission(f"{len(ids)} ids but {complete} predictions; predict every test sample first.")
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
