"""What was submitted to a contest, and what it scored there: `submitted/scores.csv` beside a data set's submissions.

The table may be edited by hand. `public` and `private` are empty until they are known; `sha256` is that of the file as
it was submitted, empty where it is not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from skyfold.errors import DataLayoutError
from skyfold.files import write_csv
from skyfold.store.locks import held
from skyfold.tables import read_rows

FOLDER = "submitted"
FILE = "scores.csv"
CLOCKS = timedelta(minutes=5)  # by which the time of a contest may differ from the one noted here


@dataclass(frozen=True)
class Submitted:
    """A file that was submitted. date: UTC; submission: its name, without ".csv"."""

    date: datetime
    submission: str
    public: float | None = None
    private: float | None = None
    message: str = ""
    sha256: str = ""

    def completes(self, row: Submitted) -> bool:
        """Whether this says more of `row`: of the same time, the score of the same file, or what Kaggle lists of it.

        The same file submitted again is a submission of its own.
        """
        if self.submission != row.submission:
            return False
        if self.date == row.date and self.message in ("", row.message):
            return True
        if self.sha256:
            scored = self.public is not None or self.private is not None
            return scored and self.sha256 == row.sha256 and (self.public is None or row.public is None)
        return self.message == row.message and abs(self.date - row.date) <= CLOCKS


COLUMNS = tuple(field.name for field in fields(Submitted))


def read_submitted(folder: Path) -> list[Submitted]:
    """Rows of the table of the submissions in `folder`, the oldest first; none where there is no table.

    DataLayoutError names a line that cannot be read.
    """
    path = folder / FOLDER / FILE
    if not path.is_file():
        return []
    header, lines = read_rows(path, COLUMNS, refuse=DataLayoutError)
    found = []
    for line, cells in lines:
        row = dict(zip(header, cells, strict=True))
        where = f"{path}: line {line} ('{row['submission'][:40]}')"
        if not row["submission"]:
            raise DataLayoutError(f"{where}: no submission is named. Name it, or delete the line.")
        found.append(
            Submitted(
                date=parse_date(row["date"], where),
                submission=row["submission"],
                public=number(row["public"], where, "public"),
                private=number(row["private"], where, "private"),
                message=row["message"],
                sha256=row["sha256"],
            )
        )
    return sorted(found, key=lambda one: one.date)


def add_submitted(folder: Path, added: Iterable[Submitted]) -> list[Submitted]:
    """Add rows to the table in `folder`; what is known of a submission that stands there is completed.

    Returns all rows.
    """
    path = folder / FOLDER / FILE
    with held(writes=[path]):
        rows = read_submitted(folder)
        for new in added:
            place = next((i for i, row in enumerate(rows) if new.completes(row)), None)
            if place is None:
                rows.append(new)
            else:
                known = {name: value for name in COLUMNS[2:] if (value := getattr(new, name)) not in (None, "")}
                rows[place] = replace(rows[place], **known)
        rows.sort(key=lambda one: one.date)
        lines = [["" if cell is None else cell for cell in astuple(row)] for row in rows]
        write_csv(path, [COLUMNS, *([f"{line[0]:%Y-%m-%dT%H:%M:%SZ}", *line[1:]] for line in lines)])
    return rows


def number(text: str, where: str, name: str) -> float | None:
    """A score; None for an empty text. DataLayoutError, which begins with `where`, for anything but a finite number."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataLayoutError(f"{where}: {name} '{text[:40]}' is no score. Write a number, or nothing.")
    return value


def parse_date(text: str, where: str) -> datetime:
    """A date, or date and time, as ISO 8601, UTC where it names no zone. DataLayoutError begins with `where`."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise DataLayoutError(
            f"{where}: the date '{text[:40]}' cannot be read. Write it as 2026-11-30T17:05:00Z."
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
