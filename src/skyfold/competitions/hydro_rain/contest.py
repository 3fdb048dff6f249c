"""DACON 235646 "hydro rain" (2020): the rain over seven dams, ten minutes ahead, from four radar frames.

`train/*.npy` hold five frames of raw reflectivity, `test/*.npy` four; the fifth is asked for. A submission has a row a
test file: `file_name` and a column for each of the 14,400 pixels, in raw reflectivity like the files (assumed). The
score is MAE / CSI after all numbers have become mm/h. A folder with `patches.npz` instead, rain of several events in
codes, is read too; it has no test part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.hydro_rain import sample as rain_sample
from skyfold.competitions.hydro_rain.radar_files import GREATEST_RAIN, PatchRows, RawFiles, read_patches, read_raw
from skyfold.competitions.hydro_rain.reflectivity_table import RainTable
from skyfold.competitions.hydro_rain.shared_frames import shared_frame_groups
from skyfold.config.options import one_of
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.forecasting.rain_units import GREATEST_RAW, rain_of_raw, raw_of_rain
from skyfold.metrics.forecast import MAE_BY_CSI
from skyfold.progress import Progress
from skyfold.submission.pixel_table import PixelTable, read_keys
from skyfold.types import Samples

GRID = (120, 120)
FRAMES = {"train": 5, "test": 4}
KEY = "file_name"
OFFICIAL = {"train": 62735, "test": 2674}  # files of the contest
PATCHES = "patches.npz"
LEADS = ("+10 min",)
# (row, column) of the pixels over the dams.
DAMS = ((67, 28), (64, 46), (69, 57), (66, 62), (64, 68), (71, 70), (87, 56))
Conversion = Callable[[np.ndarray], np.ndarray]
# Least raw reflectivity of what counts as rain: files that never reach it hold none, or are in mm/h.
LEAST_RAW = float(raw_of_rain(np.array(MAE_BY_CSI.threshold)))
SUBMISSION_UNITS: dict[str, tuple[float, float, Conversion, Conversion]] = {
    "reflectivity": (GREATEST_RAW, LEAST_RAW, raw_of_rain, rain_of_raw),
    "mm/h": (GREATEST_RAIN, 0.0, np.asarray, np.asarray),
}


class HydroRain(Contest):
    """submission_unit: of the numbers in submissions and truth tables, "reflectivity" (raw, as the files) or "mm/h"."""

    submission_unit: Annotated[str, one_of(SUBMISSION_UNITS)] = "reflectivity"

    def build(self, folder: Path | None) -> Competition:
        coded = folder is not None and (folder / PATCHES).is_file()
        files = CodedPatches() if coded else ContestFiles()
        table = _table(self.submission_unit)
        return Competition(
            name="hydro_rain",
            task="forecasting",
            classes=LEADS,
            grid=GRID,
            unit="mm/h",
            metric=MAE_BY_CSI,
            submission=table,
            load=files.load,
            check=files.check,
            read_truth=partial(_read_truth, table),
            read_pred=table.read_values,
            sample_table=_sample_table,
            write_sample=partial(rain_sample.write_sample, table=table.numbers),
            parts=("train",) if coded else ("train", "test"),
            provenance=_provenance,
            points=DAMS,
        )


PLUGIN = HydroRain


def _table(unit: str) -> RainTable:
    greatest, least, to_numbers, to_rain = SUBMISSION_UNITS[unit]
    remedy = "Is it raw reflectivity? See data.options.submission_unit" if unit == "mm/h" else "Clip it"
    numbers = PixelTable(KEY, lambda name: [name], GRID, greatest, too_great=remedy)
    return RainTable(numbers, to_numbers, to_rain, least)


def _sample_table(folder: Path) -> Path | None:
    path = folder / "sample_submission.csv"
    return path if path.is_file() else None


def _provenance(folder: Path) -> str:
    if (folder / ABOUT).is_file():
        return "synthetic sample"
    found = {part: sum(1 for _ in (folder / part).glob("*.npy")) for part in OFFICIAL}
    return "official" if found == OFFICIAL else "other files"


@dataclass(frozen=True)
class ContestFiles:
    """The contest's layout: a file a sample, known by its name. Windows that share a frame are one group, an event."""

    def load(self, folder: Path, part: str) -> Samples:
        """Looks at names, and for the groups of train at three rows of each file. Test samples come in the order of
        sample_submission.csv, where there is one."""
        paths = self._paths(folder, part)
        ids = np.array([path.name for path in paths])
        files = RawFiles(paths, GRID, FRAMES[part], "inputs", has_target=part == "train")
        if part == "test":
            return Samples(ids=ids, inputs=files)
        return Samples(
            ids=ids,
            inputs=files,
            targets=replace(files, wanted="target"),
            valid=replace(files, wanted="valid"),
            groups=shared_frame_groups(paths),
        )

    def check(self, folder: Path) -> str:
        problems: list[str] = []
        found = []
        for part, frames in FRAMES.items():
            paths = self._paths(folder, part)
            missing = rainy = pixels = 0
            greatest = 0.0
            with Progress(f"checking {part}", len(paths), "files") as progress:
                for path in paths:
                    progress.advance()
                    try:
                        raw = read_raw(path, GRID, frames)
                    except DataLayoutError as error:
                        problems.append(str(error))
                        continue
                    greatest = max(greatest, float(raw.max()))
                    missing += int((raw < 0).sum())
                    rainy += int((rain_of_raw(raw) >= MAE_BY_CSI.threshold).sum())
                    pixels += raw.size
            if 0 < greatest < LEAST_RAW:
                problems.append(
                    f"{part}/: no value above {greatest:g} in any file. As raw reflectivity (hundredths of dBZ) that "
                    "is no rain at all. Are these mm/h? Save them as the contest does, or as patches.npz."
                )
            shares = f"rain in {rainy / max(pixels, 1):.0%} of the pixels, {missing / max(pixels, 1):.1%} without data"
            found.append(f"{len(paths)} {part} files ({shares})")
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise DataLayoutError(f"{folder}: {count}\n{listing(problems, limit=20)}")
        events = len(np.unique(shared_frame_groups(self._paths(folder, "train"))))
        return f"{_provenance(folder)}: {', '.join(found)}; {events} groups of train files that share frames"

    def _paths(self, folder: Path, part: str) -> list[Path]:
        if part not in FRAMES:
            raise ConfigError(f"part '{part}': there are train and test.")
        paths = _npy_files(folder / part)
        sample = _sample_table(folder)
        if part == "train" or sample is None:
            return paths
        names = _names(sample)
        by_name = {path.name: path for path in paths}
        problems = [f"{sample}: no row for '{name}'" for name in by_name if name not in set(names)]
        problems += [f"{sample}: row '{name}', but no such file in test/" for name in names if name not in by_name]
        if problems or len(set(names)) != len(names):
            problems = problems or [f"{sample}: a file stands there twice. Download it again."]
            raise DataLayoutError(f"{folder}: test files and sample submission differ\n{listing(problems)}")
        return [by_name[name] for name in names]


@dataclass(frozen=True)
class CodedPatches:
    """One file of patches in codes, all of them to learn from; the groups are its events."""

    def load(self, folder: Path, part: str) -> Samples:
        """Reads and checks the whole file."""
        if part != "train":
            raise ConfigError(f"part '{part}': {folder / PATCHES} has train alone.")
        patches, events = read_patches(folder / PATCHES, GRID)
        ids = np.array([f"{event}_{row:05d}" for row, event in enumerate(events)])
        return Samples(
            ids=ids, inputs=PatchRows(patches, "inputs"), targets=PatchRows(patches, "target"), groups=events
        )

    def check(self, folder: Path) -> str:
        _, events = read_patches(folder / PATCHES, GRID)
        names, counts = np.unique(events, return_counts=True)
        by_event = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        return f"other files: {len(events)} patches of {len(names)} rain events ({by_event})"


def _read_truth(table: RainTable, path: Path) -> Truth:
    """A table like a submission, numbers below 0 being no data; a folder of files of five frames; or patches."""
    if path.suffix == ".npz":
        samples = CodedPatches().load(path.parent, "train") if path.name == PATCHES else None
        if samples is None or samples.targets is None:
            raise InvalidSubmission(f"{path}: expected {PATCHES}, a .csv, or a folder of .npy files.")
        return Truth(ids=samples.ids, targets=samples.targets)
    if path.is_dir():
        paths = _npy_files(path)
        targets = RawFiles(paths, GRID, FRAMES["train"], "target")
        ids = np.array([file.name for file in paths])
        return Truth(ids=ids, targets=targets, valid=replace(targets, wanted="valid"))
    ids, rain, known = table.read_truth(path)
    return Truth(ids=ids, targets=rain, valid=known)


def _names(table: Path) -> list[str]:
    try:
        header, names = read_keys(table)
    except InvalidSubmission as error:
        raise DataLayoutError(str(error)) from None
    if header[0] != KEY:
        raise DataLayoutError(f"{table}: the first column is '{header[0][:30]}', expected '{KEY}'.")
    return names


def _npy_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataLayoutError(f"{folder}: no such folder. The contest's .npy files are expected in it.")
    paths = sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))
    if not paths:
        raise DataLayoutError(f"{folder}: no .npy file in this folder.")
    return paths
