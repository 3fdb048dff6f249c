"""Whether a table says what the masks say and is what the contest takes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.types import ArraySequence, SubmissionFormat


def validate(
    table: pd.DataFrame, ids: np.ndarray, masks: ArraySequence, format: SubmissionFormat, sample: pd.DataFrame | None
) -> None:
    """InvalidSubmission lists all that the contest would refuse, or the samples whose masks do not come back.

    table: what `format.encode(ids, masks)` gave; sample: the contest's own submission, None where it has none.
    """
    check_table(table, format, sample)
    check_round_trip(table, ids, masks, format)


def check_table(
    table: pd.DataFrame,
    format: SubmissionFormat,
    sample: pd.DataFrame | None,
    sample_name: str = "the sample submission",
) -> None:
    """InvalidSubmission lists what is wrong with `sample`, as `sample_name`, or else with `table`."""
    if sample is not None and (problems := format.problems(sample, None)):
        raise InvalidSubmission(
            f"{sample_name}: not as the contest gave it, with one row for each test image and class. Download it "
            f"again.\n{listing(problems)}"
        )
    if problems := format.problems(table, sample):
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InvalidSubmission(f"the submission has {count}:\n{listing(problems)}")


def check_round_trip(table: pd.DataFrame, ids: np.ndarray, masks: ArraySequence, format: SubmissionFormat) -> None:
    """InvalidSubmission where decoding `table` does not give `masks` again, pixel for pixel."""
    decoded = format.decode(table, ids)
    differing = [f"'{ids[i]}'" for i in range(len(ids)) if not np.array_equal(decoded[i], masks[i])]
    if differing:
        raise InvalidSubmission(
            f"masks that do not come back from the table they were written to:\n{listing(differing)}"
        )
