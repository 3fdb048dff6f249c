"""Samples of a folder of radar composites: windows of frames to train on, and the newest frames to forecast from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competitions.hydro_rain.composite_geometry import read_geometry
from skyfold.competitions.hydro_rain.composite_windows import Frames, find_frames
from skyfold.competitions.hydro_rain.radar_files import digest_of_files, rain_source
from skyfold.errors import ConfigError, DataLayoutError, Problems
from skyfold.files import digest
from skyfold.forecasting.past_frames import PastFramesSource
from skyfold.metrics.forecast import MAE_BY_CSI
from skyfold.progress import Progress
from skyfold.submission.forecast_netcdf import ForecastLayout, write_forecast
from skyfold.types import ArraySequence, IntPair, LazyArrays, Samples


@dataclass(frozen=True)
class CompositeSamples:
    """How samples are cut from composites.

    grid     (H, W) of a sample
    corner   (row, column) of its first pixel in the composite; None: so that it lies in the middle
    known    number of frames that a forecast is made from
    minutes  between frames, and from the last one to the target
    """

    grid: IntPair
    corner: IntPair | None
    known: int
    minutes: int

    def load(self, folder: Path, part: str) -> Samples:
        """train: every window whose target is there, a group for each day; test: the newest frames.

        A sample has the time of its last known frame as its id, "20200131T0950". DataLayoutError where there is none.
        """
        if part == "test":
            return self.newest(folder)
        if part != "train":
            raise ConfigError(f"part '{part}': there are train and test.")
        frames = find_frames(folder)
        corner = self._corner(folder, frames)
        windows = frames.windows(self.known + 1, self.minutes)
        if not len(windows):
            raise DataLayoutError(
                f"{folder}: {len(frames.times)} composites, {frames.times[0]} to {frames.times[-1]}: none has "
                f"{self.known} others of its day before it, {self.minutes} minutes apart. Add them, or set "
                "data.options.minutes."
            )
        known, target = windows[:, :-1], windows[:, -1:]
        found = LazyArrays(len(windows), lambda index: frames.rain(target[index], corner, self.grid))
        rain = LazyArrays(len(windows), lambda index: np.nan_to_num(found[index], nan=0.0))
        valid = LazyArrays(len(windows), lambda index: ~np.isnan(found[index]))
        last = known[:, -1]
        inputs = self._inputs(frames, known, corner)
        return Samples(frames.names(last), inputs, rain, valid, groups=frames.days(last))

    def newest(self, source: Path | Sequence[Path]) -> Samples:
        """One sample: the newest frames of a folder, or of these files; its time is that of the target."""
        frames = find_frames(source)
        rows = self._newest(frames)
        inputs = self._inputs(frames, rows, self._corner(_first(frames), frames))
        return Samples(frames.names(rows[:, -1]), inputs, times=frames.times[rows[:, -1]] + self._step)

    def check(self, folder: Path) -> str:
        """A line about the composites, of which every pixel that samples have is read."""
        frames, windows = find_frames(folder), self.load(folder, "train")
        corner, problems, unknown, rainy, pixels = self._corner(folder, frames), Problems(), 0, 0, 0
        with Progress("checking composites", len(frames.times), "frames") as progress:
            for row in range(len(frames.times)):
                progress.advance()
                try:
                    rain = frames.rain(np.array([row]), corner, self.grid)
                except DataLayoutError as error:
                    problems.add_error(error)
                    continue
                unknown += int(np.isnan(rain).sum())
                rainy += int((rain >= MAE_BY_CSI.threshold).sum())
                pixels += rain.size
        problems.refuse(folder)
        assert windows.groups is not None
        return (
            f"other files: {len(frames.times)} composites of {frames.shape[0]} x {frames.shape[1]} pixels, "
            f"{frames.times[0]} to {frames.times[-1]} (rain in {rainy / pixels:.0%} of the pixels, "
            f"{unknown / pixels:.1%} without data); {len(windows)} windows of {len(np.unique(windows.groups))} days"
        )

    def write_netcdf(
        self,
        path: Path,
        source: Path | Sequence[Path],
        ids: np.ndarray,
        values: ArraySequence,
        about: Mapping[str, str],
    ) -> None:
        """Rain rates in mm/h at a moment, issued at the time of the last known frame."""
        frames = find_frames(source)
        attributes = {"standard_name": "rainfall_rate", "long_name": "rain rate", "units": "mm h-1"}
        times = dict(zip(frames.names(np.arange(len(frames.times))).tolist(), frames.times, strict=True))
        layout = ForecastLayout(
            "rainfall_rate", attributes, 1.0, times.__getitem__, lambda name: np.array([[times[name] + self._step] * 2])
        )
        geometry = read_geometry(frames.places[-1][0], self._corner(_first(frames), frames), self.grid)
        write_forecast(path, ids.tolist(), values, layout, geometry, about)

    @property
    def _step(self) -> np.timedelta64:
        return np.timedelta64(self.minutes, "m")

    def _newest(self, frames: Frames) -> np.ndarray:
        """Rows of the newest frames, whatever their day, int (1, known)."""
        wanted = frames.times[-1] - np.arange(self.known)[::-1] * self._step
        if absent := [str(time) for time in wanted if time not in frames.times]:
            raise DataLayoutError(
                f"{_first(frames)}: the newest composite is of {frames.times[-1]}, but there is none of "
                f"{', '.join(absent)}. Add it, or remove what is newer."
            )
        return np.searchsorted(frames.times, wanted)[None]

    def _inputs(self, frames: Frames, windows: np.ndarray, corner: IntPair) -> PastFramesSource:
        def rain(index: int) -> np.ndarray:
            return np.nan_to_num(frames.rain(windows[index], corner, self.grid), nan=0.0)

        paths = sorted({path for path, _ in frames.places})
        about = (corner, self.grid, frames.times[windows].astype(str).tolist())
        return rain_source(len(windows), rain, lambda: digest(digest_of_files(paths), str(about)))

    def _corner(self, folder: Path, frames: Frames) -> IntPair:
        spare = [side - own for side, own in zip(frames.shape, self.grid, strict=True)]
        corner = self.corner or (max(spare[0], 0) // 2, max(spare[1], 0) // 2)
        if any(first > most for first, most in zip(corner, spare, strict=True)):
            raise DataLayoutError(
                f"{folder}: composites of {frames.shape[0]} x {frames.shape[1]} pixels have no {self.grid[0]} x "
                f"{self.grid[1]} at row {corner[0]}, column {corner[1]}. Set data.options.corner."
            )
        return corner


def _first(frames: Frames) -> Path:
    """Folder of the oldest composite, for errors."""
    return frames.places[0][0].parent
