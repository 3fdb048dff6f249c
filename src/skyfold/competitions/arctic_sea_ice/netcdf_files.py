"""Read sea-ice concentration from NetCDF files of NSIDC as codes: NSIDC-0051 and 0081 version 2, G02202 version 4 to 6.

    NSIDC-0051, 0081   <satellite>_ICECON, ubyte of 0.004; flags 251 pole hole, 253 coast, 254 land, 255 missing
    G02202 version 4   cdr_seaice_conc_monthly, ubyte of 0.01; flags 251 pole hole, 252 lakes, 253 coast, 254 land, 255
    G02202 5 and 6     the same with 255 as its only flag; the others in surface_type_mask: 75 lake, 100 pole hole,
                       200 coast, 250 land

A file holds one frame or several. A frame without a measured cell counts as one that is not there: version 5 has
December 1987 and January 1988 as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions._hdf5_files import Hdf5File
from skyfold.competitions.arctic_sea_ice.cadence import Cadence
from skyfold.competitions.arctic_sea_ice.ice_frames import COAST, FULL_ICE, LAND, MISSING, POLE_HOLE, known_ice
from skyfold.errors import DataLayoutError
from skyfold.types import IntPair

ICECON = re.compile(r"[A-Z]\d{2}_ICECON", re.ASCII)
SATELLITES = ("N07", "F08", "F11", "F13", "F16", "F17", "F18")  # of two in one file, the later one is read
CDR = "cdr_seaice_conc_monthly"
SURFACES = ("cdr_supplementary/surface_type_mask", "surface_type_mask")
ICECON_SCALE, CDR_SCALE = 0.004, 0.01
# What the files call their flags, and the code of each; lakes are land to a forecast of sea ice.
MEANINGS = {
    **dict.fromkeys(("pole_hole", "pole_hole_mask", "polehole_mask"), POLE_HOLE),
    **dict.fromkeys(("coast", "coastal"), COAST),
    **dict.fromkeys(("land", "land_mask", "lake", "lakes"), LAND),
    **dict.fromkeys(("missing", "missing_data"), MISSING),
}
NSIDC_FLAGS = {251: POLE_HOLE, 253: COAST, 254: LAND, 255: MISSING}
CDR_FLAGS = {**NSIDC_FLAGS, 252: LAND}
NO_CODE = 252  # what no cell of a whole file has


def read_netcdf(path: Path, cadence: Cadence, grid: IntPair) -> tuple[np.ndarray, np.ndarray]:
    """The frames of one file that have a measured cell: times (T,) datetime64, codes uint8 (T, H, W).

    DataLayoutError names the file and what is wrong: no concentration of these products, another grid, scale, cadence,
    an unknown code, or a month that differs from the one in the name.
    """
    with Hdf5File(path) as file:
        name, scale, flags = _concentration(file)
        frames = _frames(file, name, grid)
        codes = _table(file, name, scale, flags)[frames]
        if surface := next((name for name in SURFACES if name in file), None):
            _stamp_surface(file, surface, grid, codes)
        elif name == CDR and "flag_meanings" not in file.attributes(name):
            raise DataLayoutError(
                f"{path}: {name} has no flag_meanings, and there is no surface_type_mask beside it, so that land looks "
                "like missing data. Download the whole file."
            )
        times = _times(file, cadence, len(codes))
    unknown = codes == NO_CODE
    if unknown.any():
        frame, row, column = np.argwhere(unknown)[0]
        raise DataLayoutError(
            f"{path}: unknown code {frames[frame, row, column]} at row {row}, column {column} of frame {frame} of "
            f"{name}. Download the file again."
        )
    measured = known_ice(codes).any(axis=(1, 2))
    return times[measured], codes[measured]


def _concentration(file: Hdf5File) -> tuple[str, float, Mapping[int, int]]:
    """Name of the variable, its scale, and its flags."""
    names = file.names()
    if CDR in names:
        return CDR, CDR_SCALE, CDR_FLAGS
    found = [name for name in names if ICECON.fullmatch(name)]
    if not found:
        raise DataLayoutError(
            f"{file.path}: no variable <satellite>_ICECON or {CDR}, but {', '.join(names)[:100] or 'none at all'}. "
            "Expected NSIDC-0051 or G02202, monthly; NSIDC's files of days without data have none. Remove it."
        )
    latest = max(found, key=lambda name: SATELLITES.index(name[:3]) if name[:3] in SATELLITES else len(SATELLITES))
    return latest, ICECON_SCALE, NSIDC_FLAGS


def _frames(file: Hdf5File, name: str, grid: IntPair) -> np.ndarray:
    """A variable of bytes: uint8 (T, H, W)."""
    shape = file.shape(name)
    if shape[-2:] != tuple(grid) or len(shape) not in (2, 3):
        raise DataLayoutError(
            f"{file.path}: {name} has shape {shape}, expected (frames, {grid[0]}, {grid[1]}). Take the file of the "
            "northern hemisphere, 25 km, or set data.options.grid."
        )
    values = file.read(name)
    if values.dtype != np.uint8:
        raise DataLayoutError(f"{file.path}: {name} holds {values.dtype}, expected bytes, as NSIDC packs them.")
    return values.reshape(-1, *grid)


def _table(file: Hdf5File, name: str, scale: float, flags: Mapping[int, int]) -> np.ndarray:
    """The code of each byte, uint8 (256,), from the scale and the flags of the file."""
    about = file.attributes(name)
    found, offset = about.get("scale_factor"), about.get("add_offset", 0.0)
    if not isinstance(found, float) or abs(found - scale) > 1e-6 or not (isinstance(offset, float) and offset == 0):
        raise DataLayoutError(
            f"{file.path}: {name} has scale_factor {found} and add_offset {offset}, expected {scale} and 0. Download "
            "the file again."
        )
    ice = np.floor(np.arange(256) * scale * FULL_ICE + 0.5 + 1e-3)  # halves up, in whatever precision
    table = np.where(ice <= FULL_ICE, ice, NO_CODE).astype(np.uint8)
    for value, code in _flags(file.path, name, about, flags).items():
        table[value] = code
    return table


def _flags(path: Path, name: str, about: Mapping[str, Any], usual: Mapping[int, int]) -> dict[int, int]:
    """The code of each flag, by its meaning where the file tells it."""
    values, meanings = about.get("flag_values"), about.get("flag_meanings")
    fill = about.get("_FillValue", 0.0)
    missing = {int(fill): MISSING} if isinstance(fill, float) and FULL_ICE < fill < 256 else {}
    if not isinstance(values, float | np.ndarray) or not isinstance(meanings, str):
        return {**usual, **missing}
    words = meanings.split()
    numbers = np.atleast_1d(values).tolist()
    if len(words) != len(numbers) or not all(number in range(256) for number in numbers):
        raise DataLayoutError(
            f"{path}: {name}: {len(numbers)} flag_values and {len(words)} flag_meanings, expected as many bytes as "
            "words. Download the file again."
        )
    told = zip(map(int, numbers), words, strict=True)
    return {number: MEANINGS[word] for number, word in told if word in MEANINGS} | missing


def _stamp_surface(file: Hdf5File, name: str, grid: IntPair, codes: np.ndarray) -> None:
    """Write the flags of a mask of surface types, of each frame or of all of them, into the codes."""
    surface = _frames(file, name, grid)
    if len(surface) not in (1, len(codes)):
        raise DataLayoutError(f"{file.path}: {name} has {len(surface)} frames, expected {len(codes)}. Get it again.")
    for value, code in _flags(file.path, name, file.attributes(name), {}).items():
        codes[np.broadcast_to(surface == value, codes.shape)] = code


def _times(file: Hdf5File, cadence: Cadence, count: int) -> np.ndarray:
    """datetime64 (n,) of the frames; a name with one date must tell the same."""
    times = file.times().astype(f"datetime64[{cadence.unit}]")
    if times.shape != (count,):
        raise DataLayoutError(f"{file.path}: {len(times)} times, but {count} frames. Download the file again.")
    dates = re.findall(r"(?<![0-9])(?:\d{8}|\d{6})(?![0-9])", file.path.name, re.ASCII)
    if len(dates) == 1:
        try:
            named = cadence.time(dates[0])
        except ValueError as error:
            raise DataLayoutError(f"{file.path}: the name is not that of a {cadence.name} file: {error}.") from None
        if count != 1 or times[0] != named:
            raise DataLayoutError(
                f"{file.path}: the name tells {named}, the file {', '.join(map(str, times[:3]))}. Rename it, or "
                "download it again."
            )
    return times
