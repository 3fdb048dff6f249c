"""How files of sea-ice concentration are read: the contest's own, NSIDC's, and whole series in one `.npz`.

    contest   <cadence>_train.csv beside <cadence>_train/*.npy, each (H, W, 5): concentration, and one plane for each of
              pole hole, coast, land, missing
    NSIDC     nt_<yyyymm or yyyymmdd>_*.bin as NSIDC-0051 and NSIDC-0081 hand them out: 300 bytes of header, one byte a
              cell
    series    <cadence>_*.npz with `sic` uint8 (T, H, W) and `yyyymm` or `week_start`

Whatever kind, the frames must follow each other without a break, on the competition's grid, in known codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from skyfold.competitions.arctic_sea_ice.ice_frames import FLAGS, FULL_ICE
from skyfold.errors import DataLayoutError, InvalidSubmission, listing
from skyfold.files import NO_ARRAY
from skyfold.submission.formats import read_table
from skyfold.types import IntPair

NSIDC_HEADER = 300
KNOWN_CODES = np.zeros(256, dtype=bool)
KNOWN_CODES[: FULL_ICE + 1] = True
KNOWN_CODES[list(FLAGS.values())] = True


@dataclass(frozen=True)
class Cadence:
    """How often there is a frame. period: frames in a year; column: of its time in the contest's tables, whose files
    stand in `<column of files>`; key: of the times in a series."""

    name: str
    period: int
    unit: Literal["M", "D"]
    step: np.timedelta64
    column: str
    file_column: str
    key: str

    def time(self, text: str) -> np.datetime64:
        """ "2014-12", "201412" (months), "2018-01-01", "20180101" (weeks); ValueError for anything else."""
        digits = text.replace("-", "")
        length = 6 if self.unit == "M" else 8
        if not digits.isdecimal() or len(digits) != length:
            raise ValueError(f"expected {'yyyymm' if length == 6 else 'yyyymmdd'}, got '{text[:20]}'")
        return np.datetime64("-".join([digits[:4], digits[4:6], digits[6:]][: length // 2 - 1]), self.unit)


MONTHLY = Cadence("monthly", 12, "M", np.timedelta64(1, "M"), "month", "month_file_nm", "yyyymm")
WEEKLY = Cadence("weekly", 52, "D", np.timedelta64(7, "D"), "week_start", "week_file_nm", "week_start")
CADENCES = {cadence.name: cadence for cadence in (MONTHLY, WEEKLY)}


@dataclass(frozen=True)
class IceSeries:
    """times (T,) datetime64, each a step after the one before; codes uint8 (T, H, W), flags in them."""

    times: np.ndarray
    codes: np.ndarray


def read_series(
    folder: Path,
    cadence: Cadence,
    grid: IntPair,
    *,
    since: np.datetime64 | None = None,
    until: np.datetime64 | None = None,
) -> IceSeries:
    """The frames in `folder`, of whichever kind; DataLayoutError names every file, frame or cell that is wrong.

    since, until: the first and the last frame to take; a break before or behind them is no matter.
    """
    index, bins = folder / f"{cadence.name}_train.csv", sorted(folder.glob("**/nt_*.bin"))
    series = sorted(folder.glob(f"{cadence.name}_*.npz"))
    kinds = [kind for kind in (index if index.is_file() else None, bins, series) if kind]
    if len(kinds) != 1:
        found = "none of these" if not kinds else "more than one kind"
        raise DataLayoutError(
            f"{folder}: expected {index.name} with the contest's files, or nt_*.bin of NSIDC, or one "
            f"{cadence.name}_*.npz; found {found}. Put one kind there alone."
        )
    if series:
        if len(series) > 1:
            raise DataLayoutError(f"{folder}: {len(series)} files {cadence.name}_*.npz; leave one.")
        read = _read_npz(series[0], cadence, grid)
    elif bins:
        read = _read_files([_dated_bin(path, cadence) for path in bins], cadence, grid, read_nsidc)
    else:
        read = _read_files(_listed(index, cadence), cadence, grid, read_contest)
    if not len(read.times):
        raise DataLayoutError(f"{folder}: not a single {cadence.name} frame. Download the files again.")
    taken = np.ones(len(read.times), dtype=bool)
    if since is not None:
        taken &= read.times >= since
    if until is not None:
        taken &= read.times <= until
    if not taken.any():
        asked = " and ".join(
            f"{name} {time}" for name, time in (("since", since), ("until", until)) if time is not None
        )
        raise DataLayoutError(
            f"{folder}: no {cadence.name} frame is left {asked}; there are {read.times.min()} to {read.times.max()}."
        )
    read = IceSeries(read.times[taken], read.codes[taken])
    _refuse_breaks(read.times, cadence, folder)
    return read


def read_nsidc(path: Path, grid: IntPair) -> np.ndarray:
    """One `.bin` file of NSIDC: uint8 (H, W). DataLayoutError where its size or header is of another grid."""
    raw = path.read_bytes()
    cells = grid[0] * grid[1]
    if len(raw) != NSIDC_HEADER + cells:
        raise DataLayoutError(
            f"{path}: {len(raw)} bytes, expected {NSIDC_HEADER} of header and one for each of {grid[0]} x "
            f"{grid[1]} cells. Take the file of the northern hemisphere, 25 km, and download it again."
        )
    said = [re.sub(rb"\D", b"", raw[start : start + 6]) for start in (12, 6)]  # rows, columns
    if all(said) and (int(said[0]), int(said[1])) != tuple(grid):
        raise DataLayoutError(
            f"{path}: its header says {int(said[0])} x {int(said[1])} cells, expected {grid[0]} x {grid[1]}."
        )
    codes = np.frombuffer(raw, dtype=np.uint8, offset=NSIDC_HEADER).reshape(grid)
    return _known(codes, str(path))


def read_contest(path: Path, grid: IntPair) -> np.ndarray:
    """One `.npy` file of the contest, (H, W, 5), as codes: uint8 (H, W).

    DataLayoutError where it is no such array, holds NaN, or wants pickle.
    """
    try:
        planes = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataLayoutError(f"{path}: no such file, though the table names it. Download it again.") from None
    except NO_ARRAY as error:
        why = "wants pickle, which can run anything" if "pickle" in str(error) else f"not a whole array ({error})"
        raise DataLayoutError(f"{path}: {why}. Take the contest's own file.") from None
    if not isinstance(planes, np.ndarray) or planes.shape != (*grid, 1 + len(FLAGS)) or planes.dtype.kind not in "biuf":
        found = f"{planes.dtype} {planes.shape}" if isinstance(planes, np.ndarray) else type(planes).__name__
        raise DataLayoutError(f"{path}: expected numbers {(*grid, 1 + len(FLAGS))}, got {found}.")
    if planes.dtype.kind == "f" and not np.isfinite(planes).all():
        row, column, plane = np.argwhere(~np.isfinite(planes))[0]
        raise DataLayoutError(f"{path}: NaN or infinite at row {row}, column {column}, plane {plane}.")
    ice, flags = planes[..., 0], planes[..., 1:] != 0
    flagged = flags.any(axis=-1)
    wrong = ~flagged & ((ice < 0) | (ice > FULL_ICE) | (ice != np.round(ice)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataLayoutError(
            f"{path}: {ice[row, column]:g} at row {row}, column {column} without a flag, expected a whole number of 0 "
            f"to {FULL_ICE}."
        )
    codes = np.where(flagged, 0, ice).astype(np.uint8)
    for plane, code in enumerate(FLAGS.values()):
        codes[flags[..., plane]] = code
    return codes


def _read_npz(path: Path, cadence: Cadence, grid: IntPair) -> IceSeries:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            codes, stamps = arrays["sic"], arrays[cadence.key]
    except (KeyError, *NO_ARRAY) as error:
        raise DataLayoutError(
            f"{path}: expected the arrays sic and {cadence.key}, without pickle: {error}. Take the file again."
        ) from None
    if stamps.ndim != 1:
        raise DataLayoutError(f"{path}: {cadence.key} has shape {stamps.shape}, expected one for each frame of sic.")
    if codes.dtype != np.uint8 or codes.shape != (len(stamps), *grid):
        raise DataLayoutError(
            f"{path}: sic is {codes.dtype} {codes.shape}, expected uint8 {(len(stamps), *grid)} beside {len(stamps)} "
            f"{cadence.key}."
        )
    problems, times = [], []
    for row, fingerprint in enumerate(stamps.tolist()):
        try:
            times.append(cadence.time(str(fingerprint)))
        except ValueError as error:
            problems.append(f"{cadence.key}, row {row}: {error}")
    if problems:
        raise DataLayoutError(f"{path}:\n{listing(problems)}")
    for time, frame in zip(times, codes, strict=True):
        _known(frame, f"{path}, frame {time}")
    return IceSeries(np.array(times), codes)


def _read_files(
    files: Sequence[tuple[np.datetime64, Path]],
    cadence: Cadence,
    grid: IntPair,
    read: Callable[[Path, IntPair], np.ndarray],
) -> IceSeries:
    problems = []
    codes = np.zeros((len(files), *grid), dtype=np.uint8)
    for row, (_, path) in enumerate(files):
        try:
            codes[row] = read(path, grid)
        except DataLayoutError as error:
            problems.append(str(error))
    if problems:
        raise DataLayoutError(f"{len(problems)} of {len(files)} {cadence.name} files are unfit:\n{listing(problems)}")
    order = np.argsort([time for time, _ in files], kind="stable")
    return IceSeries(np.array([time for time, _ in files])[order], codes[order])


def _dated_bin(path: Path, cadence: Cadence) -> tuple[np.datetime64, Path]:
    fingerprint = path.name.split("_")[1]
    try:
        return cadence.time(fingerprint), path
    except ValueError as error:
        raise DataLayoutError(
            f"{path}: {error} behind nt_. Files of days must be averaged to {cadence.name} ones first."
        ) from None


def _listed(index: Path, cadence: Cadence) -> list[tuple[np.datetime64, Path]]:
    try:
        table = read_table(index, (cadence.file_column, cadence.column))
    except InvalidSubmission as error:
        raise DataLayoutError(str(error)) from None
    folder = index.with_suffix("")
    listed: list[tuple[np.datetime64, Path]] = []
    line_of: dict[str, int] = {}
    problems = []
    for row, (name, fingerprint) in enumerate(zip(table[cadence.file_column], table[cadence.column], strict=True)):
        try:
            time = cadence.time(fingerprint)
        except ValueError as error:
            problems.append(f"line {row + 2}: {error}")
            continue
        if Path(name).name != name:
            problems.append(f"line {row + 2}: '{name}' is not the plain name of a file in {folder.name}")
        if line_of.setdefault(name, row + 2) != row + 2:
            problems.append(f"line {row + 2}: '{name}' stands in line {line_of[name]}, too")
        listed.append((time, folder / name))
    if problems:
        raise DataLayoutError(f"{index}:\n{listing(problems)}")
    return listed


def _known(codes: np.ndarray, where: str) -> np.ndarray:
    unknown = ~KNOWN_CODES[codes]
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        named = ", ".join(f"{code} {name}" for name, code in FLAGS.items())
        raise DataLayoutError(
            f"{where}: unknown code {codes[row, column]} at row {row}, column {column}; known are 0 to {FULL_ICE}, "
            f"{named}."
        )
    return codes


def _refuse_breaks(times: np.ndarray, cadence: Cadence, folder: Path) -> None:
    problems = []
    for before, after in pairwise(times):
        if after <= before:
            problems.append(f"{after} is there twice, or out of order")
        elif after != before + cadence.step:
            problems.append(f"{before + cadence.step} is missing: {after} follows {before}")
    if problems:
        raise DataLayoutError(
            f"{folder}: the {cadence.name} frames must follow each other without a break. Add what is missing, or "
            "take the frames behind it alone (data.options.since); keep one of each, oldest first.\n"
            f"{listing(problems)}"
        )
