"""How often there is a frame of sea ice, and when forecasts are issued: every month, or every week."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from skyfold.errors import DataLayoutError, listing

LEADS = 12
DAYS_PER_YEAR = 365.2425


@dataclass(frozen=True)
class Cadence:
    """How often there is a frame, and when forecasts are issued.

    period: frames per year, on average; column, file_column: of times and of file names in the contest's tables; key:
    of the times in a series; gap: frames between the last known one and the first target.
    """

    name: str
    period: float
    unit: Literal["M", "D"]
    step: np.timedelta64
    column: str
    file_column: str
    key: str
    gap: int

    @property
    def lead_times(self) -> np.ndarray:
        """(L,) frames from the last known one to each target."""
        return self.gap + 1 + np.arange(LEADS)

    def issues(self, time: np.datetime64) -> bool:
        """Whether a forecast is issued when the frame of `time` is the last one: in December, or every week."""
        return self.unit == "D" or time.astype("datetime64[M]").astype(np.int64) % 12 == 11

    def time(self, text: str) -> np.datetime64:
        """ "2014-12", "201412" (months), "2018-01-01", "20180101" (weeks); ValueError for anything else."""
        digits = text.replace("-", "")
        length = 6 if self.unit == "M" else 8
        if not (digits.isascii() and digits.isdecimal()) or len(digits) != length:
            raise ValueError(f"expected {'yyyymm' if length == 6 else 'yyyymmdd'}, got '{text[:20]}'")
        return np.datetime64("-".join([digits[:4], digits[4:6], digits[6:]][: length // 2 - 1]), self.unit)

    def times(self, texts: Mapping[str, str], source: Path) -> np.ndarray:
        """datetime64 (n,) of the texts, given by place in `source`; DataLayoutError lists places that hold no time."""
        times, problems = [], []
        for place, text in texts.items():
            try:
                times.append(self.time(text))
            except ValueError as error:
                problems.append(f"{place}: {error}")
        if problems:
            raise DataLayoutError(f"{source}: these are not the times of {self.name} frames\n{listing(problems)}")
        return np.array(times)


MONTHLY = Cadence("monthly", 12, "M", np.timedelta64(1, "M"), "month", "month_file_nm", "yyyymm", gap=0)
WEEKLY = Cadence(
    "weekly", DAYS_PER_YEAR / 7, "D", np.timedelta64(7, "D"), "week_start", "week_file_nm", "week_start", gap=2
)
CADENCES = {cadence.name: cadence for cadence in (MONTHLY, WEEKLY)}
