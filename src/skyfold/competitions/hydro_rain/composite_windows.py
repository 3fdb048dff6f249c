"""Windows of radar composites: frames that follow each other, of one part of the map, grouped by day.

A window lies within one day (UTC), so that windows of different days share no frame. A day is a rain event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competitions._hdf5_files import SUFFIXES
from skyfold.competitions.hydro_rain.composite_files import read_header, read_rain
from skyfold.errors import DataLayoutError, Problems
from skyfold.progress import Progress
from skyfold.types import IntPair


@dataclass(frozen=True)
class Frames:
    """Composites in the order of time.

    times   (n,) datetime64[m], each once
    places  file of each, and its number in there
    shape   (H, W) of all
    """

    times: np.ndarray
    places: Sequence[tuple[Path, int]]
    shape: IntPair

    def rain(self, rows: np.ndarray, corner: IntPair, size: IntPair) -> np.ndarray:
        """Frames `rows` as `read_rain`: float32 (h, w, len(rows))."""
        places = [self.places[row] for row in rows.tolist()]
        return np.stack([read_rain(path, frame, corner, size) for path, frame in places], axis=-1)

    def windows(self, length: int, minutes: int) -> np.ndarray:
        """Rows of every `length` frames of one day that follow each other by `minutes`: int (n, length)."""
        wanted = self.times[:, None] + np.arange(length) * np.timedelta64(minutes, "m")
        rows = np.minimum(np.searchsorted(self.times, wanted), len(self.times) - 1)
        days = wanted.astype("datetime64[D]")
        return rows[(self.times[rows] == wanted).all(axis=1) & (days[:, 0] == days[:, -1])]

    def days(self, rows: np.ndarray) -> np.ndarray:
        """The day of each frame, str (len(rows),)."""
        return self.times[rows].astype("datetime64[D]").astype(str)

    def names(self, rows: np.ndarray) -> np.ndarray:
        """The time of each frame as a name of a file, "20200131T0950", str (len(rows),)."""
        return np.array([str(time).replace("-", "").replace(":", "") for time in self.times[rows]])


def find_frames(source: Path | Sequence[Path]) -> Frames:
    """The composites in the files of a folder and the folders in it, or in these files.

    DataLayoutError lists each file that is none, one of another size, and a time that is there twice.
    """
    paths, folder = source, source if isinstance(source, Path) else source[0].parent
    if isinstance(paths, Path):
        paths = sorted(path for path in paths.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataLayoutError(f"{folder}: no radar composites in this folder ({', '.join(SUFFIXES)}).")
    problems, found, sizes = Problems(), dict[np.datetime64, tuple[Path, int]](), dict[IntPair, Path]()
    with Progress("reading the times of composites", len(paths), "files") as progress:
        for path in paths:
            progress.advance()
            try:
                header = read_header(path)
            except DataLayoutError as error:
                problems.add_error(error)
                continue
            sizes.setdefault(header.shape, path)
            for number, time in enumerate(header.times):
                if time in found:
                    problems.add("times that are there twice", f"{time}: {found[time][0]} and {path}. Remove one.")
                found[time] = (path, number)
    if len(sizes) > 1:
        problems.add("composites of different sizes", *(f"{path}: {h} x {w}" for (h, w), path in sizes.items()))
    problems.refuse(folder)
    times = np.array(sorted(found), dtype="datetime64[m]")
    return Frames(times, [found[time] for time in times], next(iter(sizes)))
