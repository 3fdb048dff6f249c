"""Opening the monthly record of sea ice in NetCDF, a file a month, against xarray, which opens one after the other.

The files are made up, on NSIDC's grid and packed as NSIDC-0051 version 2. Both give the bytes as they are stored; ours
are checked as well: scale, flags, times and gaps.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5netcdf
import numpy as np
import xarray
from timing import Line, Work, ratios, under

from skyfold.competitions.arctic_sea_ice.cadence import MONTHLY
from skyfold.competitions.arctic_sea_ice.ice_files import read_series
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes

GRID, FIRST = (448, 304), np.datetime64("1978-11")
MONTHS = 434
SECONDS = 10.0


def lines(*, quick: bool) -> list[Line]:
    months, rounds = (12, 1) if quick else (MONTHS, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes = procedural_codes(FIRST + np.arange(months), GRID, 0)
        paths = [write(folder, FIRST + month, frame) for month, frame in enumerate(codes)]
        ours = Work(lambda: read_series(folder, MONTHLY, GRID))
        for read in (read_series(folder, MONTHLY, GRID)[1], by_xarray(paths)):
            assert (read == codes).all()
        what = f"record of {months} months, a NetCDF file each"
        return [
            under(f"{what}, opened", ours, wanted=SECONDS, rounds=rounds),
            *ratios(what, ours, {"xarray and h5netcdf": (Work(lambda: by_xarray(paths)), None)}, rounds=rounds),
        ]


def by_xarray(paths: list[Path]) -> np.ndarray:
    frames = []
    for path in paths:
        with xarray.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as data:
            frames.append(data["F17_ICECON"].to_numpy())
    return np.concatenate(frames)


def write(folder: Path, month: np.datetime64, frame: np.ndarray) -> Path:
    path = folder / f"NSIDC0051_SEAICE_PS_N25km_{str(month).replace('-', '')}_v2.0.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 1, "y": GRID[0], "x": GRID[1]}
        days = (month.astype("datetime64[D]") - np.datetime64("1970-01-01")).astype(float)
        time = file.create_variable("time", ("time",), "f8", data=np.array([days]))
        time.attrs["units"] = "days since 1970-01-01"
        packing = {"compression": "gzip", "shuffle": True}
        ice = file.create_variable("F17_ICECON", ("time", "y", "x"), "u1", data=frame[None], **packing)
        ice.attrs["scale_factor"] = 0.004
    return path
