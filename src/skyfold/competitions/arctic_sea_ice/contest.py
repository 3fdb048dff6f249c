"""Arctic sea ice (DACON, 2021): the concentration of the next twelve months, or weeks, on 448 x 304 cells.

A sample is a date on which a forecast is issued, named by the last frame that is known then ("2014-12"). Its input is
every frame up to it, its target the frames at the lead times; flagged cells count as 0, in truth and forecast.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.arctic_sea_ice.cadence import CADENCES
from skyfold.competitions.arctic_sea_ice.ice_files import read_files, read_series
from skyfold.competitions.arctic_sea_ice.ice_frames import FULL_ICE, MISSING, known_ice, without_flags
from skyfold.competitions.arctic_sea_ice.polar_grid import GRID, polar_geometry
from skyfold.competitions.arctic_sea_ice.sample import write_sample
from skyfold.config.fields import Size
from skyfold.config.options import one_of
from skyfold.data.folder import note_others
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing, shortened
from skyfold.files import digest
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.metrics.forecast import CONCENTRATION, MAE_BY_F1
from skyfold.progress import note
from skyfold.submission.forecast_netcdf import ForecastLayout, write_forecast
from skyfold.submission.pixel_table import PixelTable, sample_table
from skyfold.types import ArraySequence, LazyArrays, Samples

SUFFIXES = (".bin", ".csv", ".json", ".nc", ".npy", ".npz")
KNOWN_FRAMES = 12  # at least so many before a forecast
FLAGGED_TRUTH = 255  # codes above 250 in a truth file are flags


class ArcticSeaIce(Contest):
    """cadence: "monthly" (forecasts of twelve months, issued each December) or "weekly" (of twelve weeks after a gap of
    two, issued every week); grid: (H, W) of the files; since: the first frame to read ("1988-01", or "2017-09-04" where
    weekly), None: all; fill_gaps: "climatology": frames that are missing, up to a year in a row, are in inputs the mean
    of their season in earlier years, and count in no score and no loss; None: they are refused by name."""

    cadence: Annotated[str, one_of(CADENCES)] = "monthly"
    grid: Size = GRID
    since: str | None = None
    fill_gaps: Literal["climatology"] | None = None

    @field_validator("since", mode="before")
    @classmethod
    def _is_a_frame(cls, value: Any, info: ValidationInfo) -> str | None:
        """Unquoted, YAML reads a day as a date."""
        if value is not None and "cadence" in info.data:
            CADENCES[info.data["cadence"]].time(str(value))
        return None if value is None else str(value)

    def build(self, folder: Path | None) -> Competition:
        cadence, table = CADENCES[self.cadence], self._table()
        return Competition(
            name="arctic_sea_ice",
            task="forecasting",
            classes=tuple(f"+{lead} {'months' if cadence.unit == 'M' else 'weeks'}" for lead in cadence.lead_times),
            grid=self.grid,
            unit=CONCENTRATION.name,
            metric=MAE_BY_F1,
            submission=table,
            load=self._load,
            read_frames=self._read_frames,
            check=self._check,
            read_truth=self._read_truth,
            read_pred=table.read_values,
            sample_table=sample_table,
            write_sample=partial(write_sample, cadence=cadence, grid=self.grid),
            provenance=_provenance,
            horizon=int(cadence.lead_times[-1]) * cadence.step,
            write_netcdf=self._write_netcdf,
        )

    def _table(self) -> PixelTable:
        cadence = CADENCES[self.cadence]

        def labels(name: str) -> list[str]:
            return (cadence.time(name) + cadence.lead_times * cadence.step).astype(str).tolist()

        return PixelTable(cadence.column, labels, self.grid, float(FULL_ICE), share_suspected=True)

    def _write_netcdf(
        self,
        path: Path,
        source: Path | Sequence[Path],
        ids: np.ndarray,
        values: ArraySequence,
        about: Mapping[str, str],
    ) -> None:
        """Fractions of cells, and the month or week of each; the time of issue is when the last known one ends."""
        cadence = CADENCES[self.cadence]

        def periods(name: str) -> np.ndarray:
            begin = cadence.time(name) + cadence.lead_times * cadence.step
            return np.stack([begin, begin + cadence.step], axis=-1)

        attributes = {
            "standard_name": "sea_ice_area_fraction",
            "long_name": "sea-ice concentration",
            "units": "1",
            "cell_methods": "time: mean",
        }
        layout = ForecastLayout(
            "siconc", attributes, 1 / FULL_ICE, lambda name: cadence.time(name) + cadence.step, periods
        )
        write_forecast(path, ids.tolist(), values, layout, polar_geometry(self.grid), about)

    def _series(self, folder: Path, paths: Sequence[Path] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The frames in `folder`, or in the files `paths` in it."""
        cadence = CADENCES[self.cadence]
        since = None if self.since is None else cadence.time(self.since)
        read = read_series if paths is None else partial(read_files, paths)
        return read(folder, cadence, self.grid, since=since, fill_gaps=self.fill_gaps is not None)

    def _load(self, folder: Path, part: str) -> Samples:
        """train: every date whose targets are all known; test: the newest date.

        The `times` of samples are those of their first target.
        """
        if part not in ("train", "test"):
            raise ConfigError(f"part '{part}': there are train and test.")
        cadence = CADENCES[self.cadence]
        times, codes = self._series(folder)
        last, horizon = len(times) - 1, int(cadence.lead_times[-1])
        issued = [row for row in range(KNOWN_FRAMES - 1, last + 1) if cadence.issues(times[row])]
        issued = [row for row in issued if row + horizon <= last] if part == "train" else issued[-1:]
        if not issued:
            raise DataLayoutError(
                f"{folder}: {last + 1} {cadence.name} frames, {times[0]} to {times[-1]}: no forecast could be issued "
                f"for {part}. It takes {KNOWN_FRAMES} known frames{f' and {horizon} more' if part == 'train' else ''}."
            )
        return self._samples(times, codes, np.array(issued), part)

    def _read_frames(self, paths: Sequence[Path]) -> Samples:
        """One sample: the newest frame in the files `paths` is the last one that is known."""
        cadence, folder = CADENCES[self.cadence], Path(os.path.commonpath([path.resolve().parent for path in paths]))
        times, codes = self._series(folder, paths)
        if len(times) < KNOWN_FRAMES:
            raise DataLayoutError(
                f"{folder}: {len(times)} {cadence.name} frames, {times[0]} to {times[-1]}: a forecast takes at least "
                f"{KNOWN_FRAMES}. Add earlier ones."
            )
        if not cadence.issues(times[-1]):
            note(
                f"the newest frame is of {times[-1]}: the forecast is issued then, those that are trained on and "
                "scored are issued in December."
            )
        return self._samples(times, codes, np.array([len(times) - 1]), "test")

    def _samples(self, times: np.ndarray, codes: np.ndarray, rows: np.ndarray, part: str) -> Samples:
        """A sample for each of `rows`, the last known frame of each; as `_load`."""
        cadence = CADENCES[self.cadence]
        frames = without_flags(codes, cadence.period, climatology=self.fill_gaps is not None)
        known = PastFrames(frames, cadence.lead_times, cadence.period)
        inputs = PastFramesSource(
            len(rows),
            lambda i: known.until(int(rows[i])),
            lambda: digest(frames.tobytes(), rows.tobytes()),
            lambda: _digests(frames, rows),
        )
        targets = LazyArrays(len(rows), lambda i: np.moveaxis(codes[rows[i] + cadence.lead_times], 0, -1))
        first = times[rows] + int(cadence.lead_times[0]) * cadence.step
        samples = partial(Samples, times[rows].astype(str), inputs, times=first)
        if part == "test":  # cells that are missing in the last frame may be known later; other flags stay
            counts = known_ice(codes[-1]) | (codes[-1] == MISSING)
            return samples(valid=[np.repeat(counts[..., None], len(cadence.lead_times), axis=-1)])
        return samples(
            targets=LazyArrays(len(rows), lambda i: _concentration(targets[i])),
            valid=LazyArrays(len(rows), lambda i: known_ice(targets[i])),
        )

    def _check(self, folder: Path) -> str:
        cadence = CADENCES[self.cadence]
        times, codes = self._series(folder)
        note_others(folder, SUFFIXES, expected="frames")
        train, test = len(self._load(folder, "train")), self._load(folder, "test")
        assert test.times is not None
        if not known_ice(codes).any():
            raise DataLayoutError(f"{folder}: every cell of every frame is flagged. Get the files again.")
        return (
            f"{len(times)} {cadence.name} frames of {self.grid[0]} x {self.grid[1]} cells, {times[0]} to {times[-1]}; "
            f"{train} dates with known outcome; forecast wanted from {test.times[0]} on; mean concentration of the "
            f"last year {_concentration(codes[-round(cadence.period) :]).mean():.1f} of {FULL_ICE}"
            f"{_suspicious(times, codes, filled=self.fill_gaps is not None)}"
        )

    def _read_truth(self, path: Path) -> Truth:
        """A table as it is submitted, with flags as codes above 250."""
        table = self._table()
        read = table.read(path)
        if problems := table.header_problems(read):
            raise InvalidSubmission(f"{path}:\n{listing(problems)}")
        ids = self._ids(path, read.iloc[:, 0].astype(str).tolist())
        codes = np.stack(table.decode_from(path, read, ids))
        known = known_ice(codes)
        for name, own, counts in zip(ids.tolist(), codes, known, strict=True):
            if not ((own >= 0) & (own <= FLAGGED_TRUTH)).all():  # NaN, too
                raise InvalidSubmission(f"{path}: truth of {name}: values outside 0 to 250 and the flags 251 to 255.")
            if not counts.any():
                raise InvalidSubmission(f"{path}: truth of {name}: every cell is flagged, so that nothing is known.")
        return Truth(ids, _concentration(codes), known)

    def _ids(self, path: Path, labels: list[str]) -> np.ndarray:
        """The date on which the forecast of each twelve rows of a table was issued."""
        cadence = CADENCES[self.cadence]
        leads = len(cadence.lead_times)
        if not labels or len(labels) % leads:
            raise InvalidSubmission(f"{path}: {len(labels)} rows, expected {leads} for each forecast.")
        try:
            first = np.array([cadence.time(label) for label in labels[::leads]])
        except ValueError as error:
            raise InvalidSubmission(f"{path}: column '{cadence.column}': {error}.") from None
        return np.array((first - int(cadence.lead_times[0]) * cadence.step).astype(str).tolist())


PLUGIN = ArcticSeaIce


def _digests(frames: np.ndarray, rows: np.ndarray) -> list[str]:
    """SHA-256 of the frames up to each of `rows`, in ascending order; every frame is read once."""
    read, done, found = hashlib.sha256(), 0, []
    for row in rows.tolist():
        read.update(np.ascontiguousarray(frames[done : row + 1]).data)
        done = row + 1
        found.append(read.copy().hexdigest())
    return found


def _concentration(codes: np.ndarray) -> np.ndarray:
    """Flags as 0."""
    return np.where(known_ice(codes), codes, 0)


def _suspicious(times: np.ndarray, codes: np.ndarray, *, filled: bool) -> str:
    """Frames that can hardly be observations, named, each kind on a line; '' without any."""
    known = known_ice(codes).reshape(len(codes), -1)
    values = codes.reshape(len(codes), -1)
    least = values.min(axis=1, where=known, initial=FULL_ICE)
    greatest = values.max(axis=1, where=known, initial=0)
    empty = ~known.any(axis=1)
    alike = (least == greatest) & (known.sum(axis=1) > 1)
    whole = "Are the files whole?"
    lines = [
        ("filled from earlier years, which count in no score", empty & filled, "Asked for by fill_gaps."),
        ("without a measured cell, on which errors count as 0", empty & (not filled), whole),
        ("with the same concentration in every measured cell", alike, whole),
    ]
    names = times.astype(str)
    return "".join(
        f"\n{found.sum()} of {len(times)} frames {what}: {shortened(names[found].tolist())}. {advice}"
        for what, found, advice in lines
        if found.any()
    )


def _provenance(folder: Path) -> str:
    if (folder / ABOUT).is_file():
        return "synthetic sample"
    return "official" if any(folder.glob("*_train.csv")) else "other files"
