"""DACON 235646 "hydro rain" (2020): the rain over seven dams, ten minutes ahead, from four radar frames.

`train/*.npy` hold five frames of raw reflectivity, `test/*.npy` four; the fifth is the target. A submission has a row
per test file: `file_name` and a column for each of the 14,400 pixels, in raw reflectivity like the files (assumed). The
score is MAE / CSI of rain in mm/h. Two other kinds of folders are read too: `patches.npz`, rain of several events in
codes, which has no test part, and `composites/`, radar composites in ODIM HDF5 or NetCDF.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions._hdf5_files import SUFFIXES as COMPOSITE_SUFFIXES
from skyfold.competitions.hydro_rain.composite_samples import CompositeSamples
from skyfold.competitions.hydro_rain.radar_files import (
    inputs_and_targets_of_patches,
    inputs_of_files,
    inputs_of_patches,
    read_patches,
    read_raw,
    targets_of_files,
)
from skyfold.competitions.hydro_rain.reflectivity_table import ReflectivityTable
from skyfold.competitions.hydro_rain.sample import write_sample
from skyfold.competitions.hydro_rain.shared_frames import shared_frame_groups
from skyfold.config.fields import Above0, Seed
from skyfold.data.folder import files_in, note_others
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, Problems, shortened
from skyfold.forecasting.rain_units import GREATEST_RAW, NO_DATA, RAW_PER_DBZ, rain_of_raw
from skyfold.metrics.forecast import MAE_BY_CSI
from skyfold.progress import Progress
from skyfold.submission.pixel_table import read_keys, sample_table
from skyfold.tables import plain
from skyfold.types import Samples

GRID = (120, 120)
FRAMES = {"train": 5, "test": 4}
KNOWN_FRAMES = 4
KEY = "file_name"
OFFICIAL = {"train": 62735, "test": 2674}  # files of the contest
PATCHES = "patches.npz"
COMPOSITES = "composites"
SUFFIXES = (".npy",)
# (row, column) of the pixels over the dams.
DAMS = ((67, 28), (64, 46), (69, 57), (66, 62), (64, 68), (71, 70), (87, 56))
TABLE = ReflectivityTable(KEY, lambda name: [name], GRID, GREATEST_RAW)


class HydroRain(Contest):
    """Rain ten minutes ahead.

    raw_per_dbz: numbers in the contest's `.npy` files that are one dBZ; submissions and truth are in hundredths
    whatever it is. Of composites: corner: (row, column) of the first of 120 x 120 pixels, None: those in the middle;
    minutes: from one frame of a sample to the next.
    """

    raw_per_dbz: Above0 = RAW_PER_DBZ
    corner: tuple[Seed, Seed] | None = None
    minutes: Annotated[int, Field(gt=0, le=60)] = 10

    def build(self, folder: Path | None) -> Competition:
        samples = CompositeSamples(GRID, self.corner, KNOWN_FRAMES, self.minutes)
        competition = partial(
            Competition,
            name="hydro_rain",
            task="forecasting",
            classes=(f"+{self.minutes} min",),
            grid=GRID,
            unit=MAE_BY_CSI.unit.name,
            metric=MAE_BY_CSI,
            submission=TABLE,
            read_truth=lambda path: Truth(*TABLE.read_truth(path)),
            read_pred=TABLE.read_values,
            sample_table=sample_table,
            write_sample=partial(write_sample, table=TABLE),
            provenance=_provenance,
            read_frames=partial(_read_frames, samples=samples, per_dbz=self.raw_per_dbz),
            write_netcdf=samples.write_netcdf,
        )
        if folder is not None and (folder / PATCHES).is_file():
            return competition(load=_load_patches, check=_check_patches, parts=("train",), points=DAMS)
        if folder is not None and (folder / COMPOSITES).is_dir():
            return competition(
                load=lambda folder, part: samples.load(folder / COMPOSITES, part),
                check=lambda folder: samples.check(folder / COMPOSITES),
                write_netcdf=lambda path, source, *rest: samples.write_netcdf(path, source / COMPOSITES, *rest),
            )
        return competition(
            load=partial(_load_files, per_dbz=self.raw_per_dbz),
            check=partial(_check_files, per_dbz=self.raw_per_dbz),
            points=DAMS,
        )


PLUGIN = HydroRain


def _provenance(folder: Path) -> str:
    if (folder / ABOUT).is_file():
        return "synthetic sample"
    found = {part: sum(1 for _ in (folder / part).glob("*.npy")) for part in OFFICIAL}
    return "official" if found == OFFICIAL else "other files"


def _load_files(folder: Path, part: str, per_dbz: float) -> Samples:
    """The contest's files, a sample each, known by file name; windows that share a frame are one group, an event.

    Of train three rows of each file are read, for the groups. Test samples come in the order of sample_submission.csv,
    where there is one.
    """
    problems = Problems()
    paths = _paths(folder, part, problems)
    problems.refuse(folder)
    ids = np.array([plain(path.name) for path in paths])
    inputs = inputs_of_files(paths, GRID, FRAMES[part], KNOWN_FRAMES, per_dbz)
    if part == "test":
        return Samples(ids, inputs)
    targets, valid = targets_of_files(paths, GRID, FRAMES[part], per_dbz)
    return Samples(ids, inputs, targets, valid, groups=shared_frame_groups(paths))


def _read_frames(paths: Sequence[Path], samples: CompositeSamples, per_dbz: float) -> Samples:
    """The newest composites, one sample; or each `.npy` of the contest; or each patch of a `.npz`, all its frames."""
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes <= set(COMPOSITE_SUFFIXES):
        return samples.newest(paths)
    if suffixes == {".npz"} and len(paths) == 1:
        patches, events = read_patches(paths[0], GRID)
        return Samples(_patch_ids(events), inputs_of_patches(patches))
    if suffixes == {".npy"}:
        ids = [plain(path.name) for path in paths]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise DataLayoutError(f"two files are called {shortened(twice)}. Name each once.")
        return Samples(np.array(ids), inputs_of_files(paths, GRID, KNOWN_FRAMES, KNOWN_FRAMES, per_dbz))
    raise DataLayoutError(
        f"{paths[0].parent}: files ending in {', '.join(sorted(suffixes))}; expected radar composites "
        f"({', '.join(COMPOSITE_SUFFIXES)}), .npy files of the contest, or one .npz of patches. Name files of one kind."
    )


def _check_files(folder: Path, per_dbz: float) -> str:
    problems = Problems()
    found, said = [], list[str]()
    for part, frames in FRAMES.items():
        paths = _paths(folder, part, problems)
        missing = rainy = pixels = 0
        greatest = 0.0
        empty, alike = list[str](), list[str]()
        with Progress(f"checking {part}", len(paths), "files") as progress:
            for path in paths:
                progress.advance()
                try:
                    raw = read_raw(path, GRID, frames, per_dbz)
                except DataLayoutError as error:
                    problems.add_error(error)
                    continue
                rain = rain_of_raw(raw)
                greatest = max(greatest, float(rain.max()))
                missing += int((raw == NO_DATA).sum())
                rainy += int((rain >= MAE_BY_CSI.threshold).sum())
                pixels += raw.size
                for frame, values in enumerate(np.moveaxis(raw, -1, 0)):
                    if (values == values.flat[0]).all() and values.flat[0] != 0:
                        (empty if values.flat[0] == NO_DATA else alike).append(f"{part}/{path.name}, frame {frame}")
        if 0 < greatest < MAE_BY_CSI.threshold:
            problems.add(
                "parts in another unit",
                f"{part}/: no pixel of any file reaches {MAE_BY_CSI.threshold:g} mm/h when {per_dbz:g} are one dBZ. "
                "Are these dBZ? Set data.options.raw_per_dbz: 1. Are these mm/h? Save them as the contest does, or as "
                "patches.npz.",
            )
        fractions = f"rain in {rainy / max(pixels, 1):.0%} of the pixels, {missing / max(pixels, 1):.1%} without data"
        found.append(f"{len(paths)} {part} files ({fractions})")
        for kind, frames_of_kind in (("without data", empty), ("with the same rain in every pixel", alike)):
            if frames_of_kind:
                many = f"{len(frames_of_kind)} frame{'s' * (len(frames_of_kind) > 1)} {kind}"
                said.append(f"{many}: {shortened(frames_of_kind)}. Are the files whole?")
    problems.refuse(folder)
    for part in FRAMES:
        note_others(folder / part, SUFFIXES, expected="radar frames")
    events = len(np.unique(shared_frame_groups(_paths(folder, "train", problems))))
    whole = f"{_provenance(folder)}: {', '.join(found)}; {events} groups of train files that share frames"
    return "\n".join([whole, *said])


def _paths(folder: Path, part: str, problems: Problems) -> list[Path]:
    """The files of `part`, of test in the order of the sample submission; what is wrong with them is added to
    `problems`."""
    if part not in FRAMES:
        raise ConfigError(f"part '{part}': there are train and test.")
    paths = files_in(folder / part, SUFFIXES, problems, expected=".npy files")
    sample = sample_table(folder)
    if part == "train" or sample is None:
        return paths
    try:
        header, names = read_keys(sample)
    except InvalidSubmission as error:
        problems.add("tables that cannot be read", str(error))
        return paths
    if header[0] != KEY:
        problems.add(
            "tables that cannot be read", f"{sample}: the first column is '{header[0][:30]}', expected '{KEY}'."
        )
        return paths
    by_name, named = {plain(path.name): path for path in paths}, set(names)
    unlisted = [f"{sample}: no row for '{name}'" for name in by_name if name not in named]
    problems.add("files without a row", *unlisted)
    unknown = [f"{sample}: row '{name}', but no such file in test/" for name in names if name not in by_name]
    problems.add("rows without a file", *unknown)
    if not unknown and not unlisted and len(named) != len(names):
        problems.add("rows that are there twice", f"{sample}: a file has two rows. Download it again.")
    return [by_name[name] for name in names if name in by_name]


def _load_patches(folder: Path, part: str) -> Samples:
    """One file of patches in codes, read and checked as a whole, all of them to train on; the groups are its events."""
    if part != "train":
        raise ConfigError(f"part '{part}': {folder / PATCHES} has only train.")
    patches, events = read_patches(folder / PATCHES, GRID)
    return Samples(_patch_ids(events), *inputs_and_targets_of_patches(patches), groups=events)


def _patch_ids(events: np.ndarray) -> np.ndarray:
    return np.array([f"{event}_{row:05d}" for row, event in enumerate(events)])


def _check_patches(folder: Path) -> str:
    _, events = read_patches(folder / PATCHES, GRID)
    names, counts = np.unique(events, return_counts=True)
    by_event = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"other files: {len(events)} patches of {len(names)} rain events ({by_event})"
