"""The rain contest's table: a row a test file, a column a pixel, in raw reflectivity, all else being in mm/h."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.submission.pixel_table import PixelTable
from skyfold.types import ArraySequence


@dataclass(frozen=True)
class RainTable:
    """Keeps `SubmissionFormat`; forecasts are (H, W, 1) mm/h, or (H, W, L) where a file has several rows.

    numbers: the table as it lies in the file; to_numbers: from mm/h to what stands there; to_rain: back, no data
    (below 0) becoming 0; least: numbers below it are no rain, so that a submission that stays below it, not all 0, is
    taken for one of another unit.
    """

    numbers: PixelTable
    to_numbers: Callable[[np.ndarray], np.ndarray]
    to_rain: Callable[[np.ndarray], np.ndarray]
    least: float = 0.0
    exact: ClassVar[bool] = False

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """InvalidSubmission names a forecast of another shape, or with NaN or negative rain."""
        raw = []
        for i, name in enumerate(ids.tolist()):
            rain = np.asarray(values[i])
            expected = (*self.numbers.grid, len(self.numbers.labels(name)))
            if rain.shape != expected:
                raise InvalidSubmission(f"forecast of '{name}': expected {expected}, got {rain.shape}.")
            if not (rain >= 0).all():
                what = "NaN" if np.isnan(rain).any() else f"negative rain, {rain.min():g} mm/h. Clip it at 0"
                raise InvalidSubmission(f"forecast of '{name}': {what}.")
            raw.append(self.to_numbers(rain))
        return self.numbers.encode(ids, raw)

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> list[np.ndarray]:
        """float32 (H, W, L) mm/h a file; InvalidSubmission where the rows are not those of `ids`, in their order."""
        return [self.to_rain(numbers) for numbers in self.numbers.decode(table, ids)]

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]:
        return self.numbers.problems(table, sample)

    def read(self, path: Path) -> pd.DataFrame:
        """As `PixelTable.read`."""
        return self.numbers.read(path)

    def with_header_of(self, table: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        return self.numbers.with_header_of(table, sample)

    def check_sample(self, path: Path, ids: np.ndarray) -> None:
        """As `PixelTable.check_sample`."""
        self.numbers.check_sample(path, ids)

    def read_values(self, path: Path, ids: np.ndarray) -> list[np.ndarray]:
        """As `decode`, of the table at `path`. InvalidSubmission names the file and lists what is wrong with it."""
        read = self.numbers.read_values(path, ids)
        if 0 < max((float(numbers.max()) for numbers in read), default=0.0) < self.least:
            raise InvalidSubmission(
                f"{path}: no number reaches {self.least:g}, from which on it rains in raw reflectivity. If these are "
                "mm/h, set data.options.submission_unit: mm/h."
            )
        return [self.to_rain(numbers) for numbers in read]

    def read_truth(self, path: Path) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """ids, rain (H, W, L) in mm/h and where it is known (H, W) of a table in which numbers below 0 are no data."""
        table = self.numbers.read(path)
        values = table.iloc[:, 1:].to_numpy(copy=True)
        table.iloc[:, 1:] = np.maximum(values, 0)
        if problems := self.problems(table, None):
            raise InvalidSubmission(f"{path}: not a table of rain\n{listing(problems)}")
        ids = table.iloc[:, 0].to_numpy(dtype=str)
        if len(set(ids.tolist())) != len(ids):
            twice = Counter(ids.tolist()).most_common(1)[0][0]
            raise InvalidSubmission(f"{path}: '{twice}' stands in two rows. Leave one out.")
        known = list((values >= 0).reshape(len(ids), *self.numbers.grid))
        return ids, self.decode(table, ids), known

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """As `PixelTable.write`."""
        self.numbers.write(path, table)
