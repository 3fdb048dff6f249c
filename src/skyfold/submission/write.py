"""Write a submission: encoded, checked against the competition's own table, complete or not at all, with a sidecar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.files import file_digest, with_checksum, write_json
from skyfold.types import ArraySequence, SubmissionFormat

CHUNK_ROWS = 64


def write_submission(
    path: Path,
    ids: np.ndarray,
    values: ArraySequence | Iterator[ArraySequence],
    format: SubmissionFormat,
    sample_path: Path | None,
    sidecar: Mapping[str, Any],
) -> None:
    """Write `path` (.csv) and beside it the same name with .json: `sidecar`, with the file's sha256 and rows added.

    values: one array a sample, each read once, or an iterator of chunks that together are the samples in the order of
    `ids`; a chunk is encoded and, where the format is exact, compared with its decoded self before the next is read.
    sample_path: the competition's sample submission, None where it has none. InvalidSubmission lists what is wrong, and
    then nothing on disk has changed.
    """
    ids = np.asarray(ids, dtype=str)
    tables, complete = [], 0
    for chunk in values if isinstance(values, Iterator) else _chunks(values):
        rows = ids[complete : complete + len(chunk)]
        tables.append(format.encode(rows, chunk))
        if format.exact:
            _check_round_trip(tables[-1], rows, chunk, format)
        complete += len(chunk)
    if complete != len(ids) or not tables:
        raise InvalidSubmission(f"{len(ids)} ids but {complete} predictions; predict every test sample first.")
    table, sample = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True), None
    if sample_path is not None:
        sample = format.read(sample_path)
        if problems := format.problems(sample, None):
            raise InvalidSubmission(
                f"{sample_path}: not as the contest gave it, with one row for each test image and class. Download it "
                f"again.\n{listing(problems)}"
            )
        table = format.with_header_of(table, sample)
    if problems := format.problems(table, sample):
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InvalidSubmission(f"the submission has {count}:\n{listing(problems)}")
    beside = path.with_suffix(".json")
    beside.unlink(missing_ok=True)  # a process killed now leaves a table without a record, never with that of another
    format.write(path, table)
    about = {"file": path.name, "rows": len(table), "sha256": file_digest(path)}
    write_json(beside, with_checksum({**sidecar, **about}))


def _chunks(values: ArraySequence) -> Iterator[ArraySequence]:
    """Masks that are computed when they are indexed are computed once for encoding and comparing."""
    for start in range(0, len(values), CHUNK_ROWS):
        yield [values[i] for i in range(start, min(start + CHUNK_ROWS, len(values)))]


def _check_round_trip(table: pd.DataFrame, ids: np.ndarray, masks: ArraySequence, format: SubmissionFormat) -> None:
    """InvalidSubmission where decoding `table` does not give `masks` again, pixel for pixel."""
    decoded = format.decode(table, ids)
    differing = [f"'{ids[i]}'" for i in range(len(ids)) if not np.array_equal(decoded[i], masks[i])]
    if differing:
        raise InvalidSubmission(
            f"masks that do not come back from the table they were written to:\n{listing(differing)}"
        )
