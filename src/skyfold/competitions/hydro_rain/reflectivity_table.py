"""Submission table of the rain contest: one row per test file, one column per pixel, in raw reflectivity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, listing
from skyfold.forecasting.rain_units import NO_DATA, below_any_echo, rain_of_raw, raw_of_rain
from skyfold.metrics.forecast import MAE_BY_CSI
from skyfold.submission.pixel_table import PixelTable
from skyfold.types import ArraySequence


class ReflectivityTable(PixelTable):
    """A `PixelTable` of raw reflectivity whose forecasts are mm/h, (H, W, 1) per file; a truth may have `NO_DATA`."""

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """values: mm/h. InvalidSubmission names a forecast of another shape, or with NaN or negative rain."""
        raw = []
        for i, name in enumerate(ids.tolist()):
            rain = np.asarray(values[i])
            expected = (*self.grid, len(self.labels(name)))
            if rain.shape != expected:
                raise InvalidSubmission(f"forecast of '{name}': expected {expected}, got {rain.shape}.")
            if not (rain >= 0).all():
                what = "NaN" if np.isnan(rain).any() else f"negative rain, {rain.min():g} mm/h. Clip it at 0"
                raise InvalidSubmission(f"forecast of '{name}': {what}.")
            raw.append(raw_of_rain(rain))
        return self.encode_raw(ids, raw)

    def encode_raw(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """values: raw reflectivity (H, W, 1) per file."""
        return super().encode(ids, values)

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> list[np.ndarray]:
        """float32 (H, W, 1) mm/h per file; InvalidSubmission where the rows are not those of `ids`, in their order."""
        return [rain_of_raw(raw) for raw in super().decode(table, ids)]

    def read_values(self, path: Path, ids: np.ndarray) -> list[np.ndarray]:
        """As `decode`, of the table at `path`.

        InvalidSubmission names the file and what is wrong with it, also where its numbers seem to be mm/h.
        """
        read = super().read_values(path, ids)
        if 0 < max((float(rain.max()) for rain in read), default=0.0) < MAE_BY_CSI.threshold:
            raise InvalidSubmission(
                f"{path}: no pixel reaches {MAE_BY_CSI.threshold:g} mm/h when read as raw reflectivity (hundredths of "
                "dBZ). If these are mm/h, convert them."
            )
        return read

    def read_truth(self, path: Path) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Ids, rain (H, W, 1) in mm/h and where it is known, bool (H, W, 1), of a table that may have `NO_DATA`.

        InvalidSubmission names the file, and an id that has two rows.
        """
        table = self.read(path)
        values = table.iloc[:, 1:].to_numpy(copy=True)
        for row, pixel in np.argwhere(below_any_echo(values))[:1].tolist():
            raise InvalidSubmission(
                f"{path}: row {row + 1} ('{table.iloc[row, 0]}'): pixel {pixel} is {values[row, pixel]:g}, too "
                f"little for hundredths of dBZ. Mark missing data by {NO_DATA}."
            )
        table.iloc[:, 1:] = np.maximum(values, 0)  # no data and weak echoes are no rain
        if problems := self.problems(table, None):
            raise InvalidSubmission(f"{path}: not a table of rain\n{listing(problems)}")
        keys = table.iloc[:, 0]
        if len(twice := keys[keys.duplicated()]):
            raise InvalidSubmission(f"{path}: '{twice.iloc[0]}' has two rows. Remove one.")
        ids = keys.to_numpy(dtype=str)
        return ids, self.decode(table, ids), list((values != NO_DATA).reshape(len(ids), *self.grid, 1))
