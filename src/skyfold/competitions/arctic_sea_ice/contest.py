"""Arctic sea ice (DACON, 2021): the concentration of twelve months, or weeks, to come, on 448 x 304 cells.

A sample is a date on which a forecast is issued, named by the last frame that is known then ("2014-12"). Its input is
every frame up to it, its target the frames asked for; cells that are flagged there count as 0, in truth and forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.arctic_sea_ice.ice_files import CADENCES, Cadence, IceSeries, read_series
from skyfold.competitions.arctic_sea_ice.ice_frames import FULL_ICE, MISSING, POLE_FILLS, known_ice, without_flags
from skyfold.competitions.arctic_sea_ice.sample import write_sample
from skyfold.config.fields import Size
from skyfold.config.options import one_of
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.files import digest
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.metrics.forecast import CONCENTRATION, MAE_BY_F1
from skyfold.submission.pixel_table import PixelTable
from skyfold.types import IntPair, Samples

GRID = (448, 304)  # NSIDC's north polar grid of 25 km
LEADS = 12
KNOWN_FRAMES = 12  # at least so many before a forecast
GAP = {"monthly": 0, "weekly": 2}  # frames between the last known and the first wanted one
ISSUED_IN = {"monthly": (12,), "weekly": None}  # calendar months; None: at every frame
Month = Annotated[int, Field(ge=1, le=12)]
FLAGGED_TRUTH = 255  # codes above 250 in a truth file are flags


class ArcticSeaIce(Contest):
    """cadence: "monthly" (the twelve months after the last) or "weekly" (twelve weeks after a gap of two).

    grid          (H, W) of the files; another one than the contest's for a sample
    issued_in     calendar months of the last known frame; None: December only where monthly, every week where weekly
    since, until  the first and last frame to take ("1988-01", or "2017-09-04" where weekly); None: all there are
    pole          of the rim of the sensor's hole at the pole, what fills the hole in inputs: "mean" or "median"
    """

    cadence: Annotated[str, one_of(CADENCES)] = "monthly"
    grid: Size = GRID
    issued_in: Annotated[tuple[Month, ...], Field(min_length=1)] | None = None
    since: str | None = None
    until: str | None = None
    pole: Annotated[str, one_of(POLE_FILLS)] = "mean"

    @field_validator("since", "until", mode="before")
    @classmethod
    def _is_a_frame(cls, value: Any, info: ValidationInfo) -> str | None:
        """Unquoted, YAML reads a day as a date."""
        if value is not None and "cadence" in info.data:
            CADENCES[info.data["cadence"]].time(str(value))
        return None if value is None else str(value)

    def build(self, folder: Path | None) -> Competition:
        cadence = CADENCES[self.cadence]
        since, until = (None if text is None else cadence.time(text) for text in (self.since, self.until))
        months = ISSUED_IN[self.cadence] if self.issued_in is None else self.issued_in
        files = Layout(cadence, self.grid, months, since, until, self.pole)
        return Competition(
            name="arctic_sea_ice",
            task="forecasting",
            classes=tuple(
                f"+{lead_times} {'months' if cadence.unit == 'M' else 'weeks'}" for lead_times in files.lead_times
            ),
            grid=files.grid,
            unit=CONCENTRATION.name,
            metric=MAE_BY_F1,
            submission=files.submission,
            load=files.load,
            check=files.check,
            read_truth=files.read_truth,
            read_pred=files.submission.read_values,
            sample_table=_sample_table,
            write_sample=files.write_sample,
            provenance=_provenance,
            horizon=int(files.lead_times[-1]) * cadence.step,
        )


PLUGIN = ArcticSeaIce


@dataclass(frozen=True)
class Layout:
    """What the files hold and which forecasts are asked for."""

    cadence: Cadence
    grid: IntPair
    issued_in: tuple[int, ...] | None
    since: np.datetime64 | None
    until: np.datetime64 | None
    pole: str

    @property
    def lead_times(self) -> np.ndarray:
        """(L,) frames from the last known one to each wanted one."""
        return GAP[self.cadence.name] + 1 + np.arange(LEADS)

    @property
    def submission(self) -> PixelTable:
        return PixelTable(self.cadence.column, self._labels, self.grid, float(FULL_ICE), share_suspected=True)

    def load(self, folder: Path, part: str) -> Samples:
        """train: every date whose wanted frames are all known; test: the newest date.

        The `times` of samples are those of their first wanted frame.
        """
        if part not in ("train", "test"):
            raise ConfigError(f"part '{part}': there are train and test.")
        series = self._series(folder)
        last = len(series.times) - 1
        issued = [i for i in range(KNOWN_FRAMES - 1, last + 1) if self._issues(series.times[i])]
        issued = [i for i in issued if i + self.lead_times[-1] <= last] if part == "train" else issued[-1:]
        if not issued:
            raise DataLayoutError(
                f"{folder}: {last + 1} {self.cadence.name} frames, {series.times[0]} to {series.times[-1]}: no "
                f"forecast could be issued for {part}. It takes {KNOWN_FRAMES} known frames"
                f"{f' and {int(self.lead_times[-1])} behind them' if part == 'train' else ''}."
            )
        frames = without_flags(series.codes, self.pole, self.cadence.period)
        rows = np.array(issued)
        known = part == "train"
        return Samples(
            ids=series.times[rows].astype(str),
            inputs=Histories(frames, rows, self.lead_times, self.cadence.period),
            targets=WantedFrames(series.codes, rows, self.lead_times, _concentration) if known else None,
            valid=WantedFrames(series.codes, rows, self.lead_times, known_ice)
            if known
            else LastFlags(series.codes[-1]),
            times=series.times[rows] + int(self.lead_times[0]) * self.cadence.step,
        )

    def check(self, folder: Path) -> str:
        series = self._series(folder)
        train, wanted = len(self.load(folder, "train")), self.load(folder, "test")
        assert wanted.times is not None
        if not known_ice(series.codes).any():
            raise DataLayoutError(f"{folder}: every cell of every frame is flagged. Get the files again.")
        return (
            f"{len(series.times)} {self.cadence.name} frames of {self.grid[0]} x {self.grid[1]} cells, "
            f"{series.times[0]} to {series.times[-1]}; {train} dates with known outcome; forecast wanted from "
            f"{wanted.times[0]} on; mean concentration of the last year "
            f"{_concentration(series.codes[-self.cadence.period :]).mean():.1f} of {FULL_ICE}"
        )

    def read_truth(self, path: Path) -> Truth:
        """A table as it is handed in, with flags as codes above 250."""
        table = self.submission.read(path)
        if problems := self.submission.header_problems(table):
            raise InvalidSubmission(f"{path}:\n{listing(problems)}")
        ids = self._ids(path, table.iloc[:, 0].astype(str).tolist())
        codes = np.stack(self.submission.decode_from(path, table, ids))
        unknown = ~((codes >= 0) & (codes <= FLAGGED_TRUTH))  # NaN, too
        if unknown.any():
            name = ids[np.argwhere(unknown)[0][0]]
            raise InvalidSubmission(f"{path}: truth of {name}: values outside 0 to 250 and the flags 251 to 255.")
        known = known_ice(codes)
        for name, own in zip(ids.tolist(), known, strict=True):
            if not own.any():
                raise InvalidSubmission(f"{path}: truth of {name}: every cell is flagged, so that nothing is known.")
        return Truth(ids=ids, targets=_concentration(codes), valid=known)

    def write_sample(self, folder: Path, **settings: int) -> None:
        write_sample(folder, cadence=self.cadence, grid=self.grid, lead_times=self.lead_times, **settings)

    def _series(self, folder: Path) -> IceSeries:
        return read_series(folder, self.cadence, self.grid, since=self.since, until=self.until)

    def _issues(self, time: np.datetime64) -> bool:
        month = int(time.astype("datetime64[M]").astype(np.int64)) % 12 + 1
        return self.issued_in is None or month in self.issued_in

    def _labels(self, name: str) -> list[str]:
        issued = self.cadence.time(name)
        return [str(issued + int(lead_times) * self.cadence.step) for lead_times in self.lead_times]

    def _ids(self, path: Path, labels: list[str]) -> np.ndarray:
        """The date each LEADS rows of a table were issued on."""
        if not labels or len(labels) % LEADS:
            raise InvalidSubmission(f"{path}: {len(labels)} rows, expected {LEADS} for each forecast.")
        try:
            first = [self.cadence.time(label) for label in labels[::LEADS]]
        except ValueError as error:
            raise InvalidSubmission(f"{path}: column '{self.cadence.column}': {error}.") from None
        return np.array([str(time - int(self.lead_times[0]) * self.cadence.step) for time in first])


@dataclass(frozen=True)
class Histories(PastFramesSource):
    """[i]: the frames up to the date of sample i, uint8 (T_i, H, W), a view. `history(i)`: with what is asked for."""

    frames: np.ndarray
    rows: np.ndarray
    lead_times: np.ndarray
    period: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.history(index).frames

    @cached_property
    def checksum(self) -> str:
        return digest(self.frames.tobytes(), self.rows.tobytes())

    def history(self, index: int) -> PastFrames:
        return PastFrames(self.frames, self.lead_times, self.period).until(int(self.rows[index]))


@dataclass(frozen=True)
class WantedFrames:
    """[i]: what `meaning` says of the frames asked for at the date of sample i, (H, W, L)."""

    codes: np.ndarray
    rows: np.ndarray
    lead_times: np.ndarray
    meaning: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self.meaning(self.codes[self.rows[index] + self.lead_times]), 0, -1))


@dataclass(frozen=True)
class LastFlags:
    """Cells that will count where the outcome is not known, at every lead: no land, coast or pole hole in the last
    frame. What is missing there may be known later."""

    codes: np.ndarray

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> np.ndarray:
        counts = known_ice(self.codes) | (self.codes == MISSING)
        return np.repeat(counts[..., None], LEADS, axis=-1)


def _concentration(codes: np.ndarray) -> np.ndarray:
    """Flags as 0."""
    return np.where(known_ice(codes), codes, 0)


def _sample_table(folder: Path) -> Path | None:
    path = folder / "sample_submission.csv"
    return path if path.is_file() else None


def _provenance(folder: Path) -> str:
    if (folder / "sample.json").is_file():
        return "synthetic sample"
    return "official" if any(folder.glob("*_train.csv")) else "other files"
