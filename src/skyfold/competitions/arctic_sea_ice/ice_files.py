"""Read files of sea-ice concentration: the contest's own, NSIDC's, and whole series in one `.npz`.

    contest   <cadence>_train.csv beside <cadence>_train/*.npy, each (H, W, 5): concentration, and one plane for each of
              pole hole, coast, land, missing
    NSIDC     nt_<yyyymm or yyyymmdd>_*.bin as in NSIDC-0051 and NSIDC-0081: 300 bytes of header, one byte per cell
    NetCDF    *.nc of NSIDC, see `netcdf_files`
    series    <cadence>_*.npz with `sic` uint8 (T, H, W) and `yyyymm` or `week_start`

Whatever the kind, the frames must follow each other, on the competition's grid, in known codes; see `gaps`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from skyfold.competitions.arctic_sea_ice.cadence import Cadence
from skyfold.competitions.arctic_sea_ice.gaps import close_gaps, refuse_gaps
from skyfold.competitions.arctic_sea_ice.ice_frames import FLAGS, FULL_ICE
from skyfold.competitions.arctic_sea_ice.netcdf_files import read_netcdf
from skyfold.data.array_files import read_array, read_arrays
from skyfold.errors import DataLayoutError, Problems, listing
from skyfold.files import read_bytes
from skyfold.submission.formats import read_table
from skyfold.types import IntPair

NSIDC_HEADER = 300
KNOWN_CODES = np.isin(np.arange(256), [*range(FULL_ICE + 1), *FLAGS.values()])


def read_series(
    folder: Path, cadence: Cadence, grid: IntPair, *, since: np.datetime64 | None = None, fill_gaps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The frames in `folder`, of whichever kind: times (T,) datetime64, codes uint8 (T, H, W) with flags in them.

    since: the first frame to read; a gap before it does not matter. fill_gaps: put frames of missing cells into gaps,
    as `close_gaps`. DataLayoutError names every file, frame or cell that is wrong.
    """
    index = folder / f"{cadence.name}_train.csv"
    found = [index] if index.is_file() else []
    for pattern in ("**/nt_*.bin", f"{cadence.name}_*.npz", "**/*.nc"):
        found += sorted(folder.glob(pattern))
    return read_files(found, folder, cadence, grid, since=since, fill_gaps=fill_gaps)


def read_files(
    paths: Sequence[Path],
    folder: Path,
    cadence: Cadence,
    grid: IntPair,
    *,
    since: np.datetime64 | None = None,
    fill_gaps: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """As `read_series`, the frames in the files `paths`, which lie in or below `folder`.

    Of the contest's, its table, or `.npy` files that are named by their times.
    """
    kinds: dict[str, list[Path]] = {".csv": [], ".npz": [], ".nc": [], ".bin": [], ".npy": []}
    for path in paths:
        if path.suffix not in kinds:
            raise DataLayoutError(f"{path}: not a file of sea-ice frames ({', '.join(kinds)}). Leave it out.")
        kinds[path.suffix].append(path)
    tables, series, netcdf, bins, _ = kinds.values()
    if len(found := [suffix for suffix, own in kinds.items() if own]) != 1:
        raise DataLayoutError(
            f"{folder}: expected {cadence.name}_train.csv with the contest's files, or nt_*.bin of NSIDC, or *.nc of "
            f"NSIDC, or one {cadence.name}_*.npz; found {'more than one kind' if found else 'none of these'}. Keep "
            "files of one kind."
        )
    if len(tables) + len(series) > 1:
        raise DataLayoutError(f"{folder}: {len(tables + series)} files {cadence.name}_*{found[0]}; leave one.")
    problems = Problems()
    if series:
        times, codes = _read_npz(series[0], cadence, grid, problems)
        places = [f"row {row}" for row in range(len(times))]
    elif netcdf:
        times, codes, places = _read_netcdfs(netcdf, cadence, grid, problems)
        problems.refuse(folder)
    else:
        if not tables:
            named = {str(path): path.stem.removeprefix("nt_").partition("_")[0] for path in paths}
            times = cadence.times(named, folder)
        else:
            paths, times = _listed(tables[0], cadence)
        order = np.argsort(times, kind="stable")
        times, paths = times[order], [paths[place] for place in order.tolist()]
        codes = _read_files(paths, grid, read_nsidc if bins else read_contest, problems)
        places = list(map(str, paths))
    if not len(times):
        raise DataLayoutError(f"{folder}: not a single {cadence.name} frame. Download the files again.")
    taken = np.ones(len(times), dtype=bool) if since is None else times >= since
    if not taken.any():
        raise DataLayoutError(
            f"{folder}: no {cadence.name} frame is left since {since}; there are {times.min()} to {times.max()}."
        )
    times, codes, places = times[taken], codes[taken], [places[row] for row in np.flatnonzero(taken).tolist()]
    refuse_gaps(times, places, cadence, problems, may_be_filled=fill_gaps)
    problems.refuse(folder)
    return close_gaps(times, codes, cadence) if fill_gaps else (times, codes)


def read_nsidc(path: Path, grid: IntPair) -> np.ndarray:
    """One `.bin` file of NSIDC: uint8 (H, W). DataLayoutError where its size or header is of another grid."""
    raw = read_bytes(path, "a .bin file of NSIDC")
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

    DataLayoutError where it is no such array, or holds NaN or an impossible concentration.
    """
    planes = read_array(path)
    if planes.shape != (*grid, 1 + len(FLAGS)) or planes.dtype.kind not in "biuf":
        raise DataLayoutError(f"{path}: expected numbers {(*grid, 1 + len(FLAGS))}, got {planes.dtype} {planes.shape}.")
    if not np.isfinite(planes).all():
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


def _read_npz(path: Path, cadence: Cadence, grid: IntPair, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    codes, stamps = read_arrays(path, ("sic", cadence.key))
    if stamps.ndim != 1:
        raise DataLayoutError(f"{path}: {cadence.key} has shape {stamps.shape}, expected one for each frame of sic.")
    if codes.dtype != np.uint8 or codes.shape != (len(stamps), *grid):
        raise DataLayoutError(
            f"{path}: sic is {codes.dtype} {codes.shape}, expected uint8 {(len(stamps), *grid)} beside {len(stamps)} "
            f"{cadence.key}."
        )
    times = cadence.times({f"{cadence.key}, row {row}": str(stamp) for row, stamp in enumerate(stamps)}, path)
    for time, frame in zip(times, codes, strict=True):
        try:
            _known(frame, f"{path}, frame {time}")
        except DataLayoutError as error:
            problems.add_error(error)
    return times, codes


def _read_files(
    paths: Sequence[Path], grid: IntPair, read: Callable[[Path, IntPair], np.ndarray], problems: Problems
) -> np.ndarray:
    """Codes, uint8 (n, H, W); files that cannot be used are added to `problems`."""
    codes = np.zeros((len(paths), *grid), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            codes[row] = read(path, grid)
        except DataLayoutError as error:
            problems.add_error(error)
    return codes


def _read_netcdfs(
    paths: Sequence[Path], cadence: Cadence, grid: IntPair, problems: Problems
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Times, codes and places of the frames of all files, in the order of their times."""
    times, codes, places = [np.empty(0, f"datetime64[{cadence.unit}]")], [np.empty((0, *grid), np.uint8)], list[str]()
    for path in paths:
        try:
            own, frames = read_netcdf(path, cadence, grid)
        except DataLayoutError as error:
            problems.add_error(error)
            continue
        times.append(own)
        codes.append(frames)
        places += [str(path)] * len(own)
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(times)[order], np.concatenate(codes)[order], [places[row] for row in order.tolist()]


def _listed(index: Path, cadence: Cadence) -> tuple[list[Path], np.ndarray]:
    """Paths and times of the files in the contest's table."""
    table = read_table(index, (cadence.file_column, cadence.column), refuse=DataLayoutError)
    names, folder = table[cadence.file_column].tolist(), index.with_suffix("")
    lines = list(enumerate(names, start=2))
    problems = [
        f"line {line}: '{name}' is not the plain name of a file in {folder.name}"
        for line, name in lines
        if Path(name).name != name
    ]
    problems += [
        f"line {line}: '{name}' stands in line {first}, too"
        for line, name in lines
        if (first := names.index(name) + 2) != line
    ]
    if problems:
        raise DataLayoutError(f"{index}:\n{listing(problems)}")
    times = cadence.times({f"line {line}": text for line, text in enumerate(table[cadence.column], start=2)}, index)
    return [folder / name for name in names], times


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
