"""Read radar composites in mm/h: ODIM HDF5 (version 2), and NetCDF by the CF conventions.

    ODIM      quantity RATE (mm/h) or DBZH (dBZ); gain, offset, nodata and undetect of its `what` group
    NetCDF    one variable in mm/h or dBZ on (time, y, x) or (y, x); _FillValue or missing_value, _Undetect

What was not measured (nodata, _FillValue, NaN) is NaN. What was measured and gave no echo (undetect) is 0, as is a weak
echo of negative dBZ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions._hdf5_files import Hdf5File
from skyfold.errors import DataLayoutError
from skyfold.forecasting.rain_units import GREATEST_RAIN, GREATEST_RAW, LEAST_RAW, RAW_PER_DBZ, rain_of_raw
from skyfold.types import IntPair

QUANTITIES = {"RATE": 1.0, "DBZH": None}  # of ODIM, the first that a file has; factor to mm/h, None: dBZ
OBJECTS = ("COMP", "IMAGE")
# Units of NetCDF variables, without blanks around a slash and in small letters.
UNITS = {
    "dbz": None,
    **dict.fromkeys(("mm/h", "mm h-1", "mm h^-1", "mm/hr", "mm hr-1", "kg m-2 h-1"), 1.0),
    **dict.fromkeys(("kg m-2 s-1", "mm s-1", "mm/s"), 3600.0),
}


@dataclass(frozen=True)
class Composite:
    """What a file of composites holds, and how its numbers are read.

    variable  its path
    times     (T,) datetime64[m]
    shape     (H, W)
    per_hour  factor to mm/h; None where values are dBZ
    gain, offset  value = gain * number + offset
    nodata    numbers that are no measurement
    undetect  number of no echo; None where none is told
    """

    variable: str
    times: np.ndarray
    shape: IntPair
    per_hour: float | None
    gain: float
    offset: float
    nodata: tuple[float, ...]
    undetect: float | None


def read_header(path: Path) -> Composite:
    """What the file at `path` holds, without its pixels. DataLayoutError names the file and what is not as expected."""
    with Hdf5File(path) as file:
        return _odim(file) if "what" in file else _netcdf(file)


def read_rain(path: Path, frame: int, corner: IntPair, size: IntPair) -> np.ndarray:
    """Rain of one frame of a file in mm/h, NaN where it is not known: float32 (h, w), the part of `size` at `corner`.

    DataLayoutError as `read_header`, or where a value can be no rain: below 0 or above 1000 mm/h, beyond 90 dBZ.
    """
    with Hdf5File(path) as file:
        about = _odim(file) if "what" in file else _netcdf(file)
        rows, columns = (slice(first, first + side) for first, side in zip(corner, size, strict=True))
        of_one = (slice(frame, frame + 1), rows, columns)[3 - len(file.shape(about.variable)) :]
        numbers = file.read(about.variable, of_one).astype(np.float64)
    numbers = numbers.reshape(numbers.shape[-2:])
    if numbers.shape != tuple(size):
        raise DataLayoutError(
            f"{path}: {about.shape[0]} x {about.shape[1]} pixels, expected {size[0]} x {size[1]} at row {corner[0]}, "
            f"column {corner[1]} and beyond. Set data.options.corner."
        )
    return _rain(path, numbers, about, corner)


def _rain(path: Path, numbers: np.ndarray, about: Composite, corner: IntPair) -> np.ndarray:
    unknown = np.isnan(numbers) | np.isin(numbers, about.nodata)
    dry = np.isin(numbers, () if about.undetect is None else (about.undetect,)) & ~unknown
    values = np.where(unknown | dry, 0.0, numbers * about.gain + about.offset)
    if about.per_hour is None:
        low, high, unit = LEAST_RAW / RAW_PER_DBZ, GREATEST_RAW / RAW_PER_DBZ, "dBZ"
    else:
        low, high, unit = 0.0, GREATEST_RAIN, "mm/h"
        values = values * about.per_hour
    for row, column in np.argwhere((values < low) | (values > high))[:1].tolist():
        raise DataLayoutError(
            f"{path}: {about.variable}, row {row + corner[0]}, column {column + corner[1]}: {values[row, column]:g} "
            f"{unit}, expected {low:g} to {high:g}. Correct scale and offset, or mark it as missing data."
        )
    rain = values.astype(np.float32) if about.per_hour else rain_of_raw(values * RAW_PER_DBZ)
    return np.where(unknown, np.float32(np.nan), np.where(dry, np.float32(0), rain))


def _odim(file: Hdf5File) -> Composite:
    about, path = file.attributes("what"), file.path
    if (kind := str(about.get("object"))) not in OBJECTS:
        raise DataLayoutError(
            f"{path}: object {kind[:20]}, expected {' or '.join(OBJECTS)}. Radar scans and volumes "
            "are not read; take the composite."
        )
    found = {quantity: (name, what) for name, quantity, what in _odim_data(file)}
    quantity = next((name for name in QUANTITIES if name in found), None)
    if quantity is None:
        raise DataLayoutError(
            f"{path}: quantity {', '.join(found)[:60] or 'of no data'}, expected {' or '.join(QUANTITIES)}."
        )
    name, what = found[quantity]
    given = {key: what.get(key) for key in ("gain", "offset", "nodata", "undetect")}
    if absent := [key for key, value in given.items() if not isinstance(value, float)]:
        raise DataLayoutError(f"{path}: {name}: no number for {', '.join(absent)} in its what group. Get it again.")
    gain, offset, nodata, undetect = (float(value or 0) for value in given.values())
    _refuse_scale(path, name, gain, offset)
    if nodata == undetect:
        raise DataLayoutError(
            f"{path}: {name}: nodata and undetect are both {nodata:g}, so that dry and unknown pixels look alike."
        )
    shape, where = file.shape(name), file.attributes("where") if "where" in file else {}
    told = [str(where.get(key, side)).removesuffix(".0") for key, side in zip(("ysize", "xsize"), shape, strict=False)]
    if len(shape) != 2 or told != list(map(str, shape)):
        raise DataLayoutError(
            f"{path}: {name} has shape {shape}, but where tells {' x '.join(told)[:40]} pixels. Download it again."
        )
    height, width = shape
    times, per_hour = _odim_time(path, about), QUANTITIES[quantity]
    return Composite(name, times, (height, width), per_hour, gain, offset, (nodata,), undetect)


def _odim_data(file: Hdf5File) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, quantity and `what` of each array of data, the last one first, so that the first is kept by name."""
    for dataset in _numbered(file.names(), "dataset"):
        of_dataset = dict(file.attributes(f"{dataset}/what")) if f"{dataset}/what" in file else {}
        for data in _numbered(file.names(dataset), "data"):
            own = f"{dataset}/{data}"
            what = of_dataset | (dict(file.attributes(f"{own}/what")) if f"{own}/what" in file else {})
            yield f"{own}/data", str(what.get("quantity")), what


def _numbered(names: list[str], kind: str) -> list[str]:
    found = [name for name in names if re.fullmatch(rf"{kind}\d{{1,4}}", name, re.ASCII)]
    return sorted(found, key=lambda name: -int(name.removeprefix(kind)))


def _odim_time(path: Path, about: Any) -> np.ndarray:
    """The nominal time, datetime64[m] (1,)."""
    date, time = str(about.get("date")), str(about.get("time"))
    try:
        if not re.fullmatch(r"\d{8} \d{6}", f"{date} {time}", re.ASCII):
            raise ValueError
        return np.array([f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}"], dtype="datetime64[m]")
    except ValueError:
        raise DataLayoutError(
            f"{path}: what: date {date[:20]}, time {time[:20]}, expected yyyymmdd and HHMMSS. Get it again."
        ) from None


def _netcdf(file: Hdf5File) -> Composite:
    path, found = file.path, dict[str, float | None]()
    for name in file.names():
        unit = re.sub(r"\s*/\s*", "/", str(file.attributes(name).get("units", "")).strip().lower())
        if unit in UNITS:
            found[name] = UNITS[unit]
    rates = [name for name, per_hour in found.items() if per_hour is not None]
    if len(chosen := rates or list(found)) != 1:
        raise DataLayoutError(
            f"{path}: {len(chosen)} variables in mm/h or dBZ ({', '.join(chosen)[:80] or 'by their units'}), expected "
            "one. Leave one, or take a composite of ODIM or by the CF conventions."
        )
    name = chosen[0]
    about, shape, times = file.attributes(name), file.shape(name), file.times()
    if len(shape) not in (2, 3) or times.shape != ((shape[0],) if len(shape) == 3 else (1,)):
        raise DataLayoutError(
            f"{path}: {name} has shape {shape}, expected (y, x), or (time, y, x) for {len(times)} times."
        )
    gain, offset = about.get("scale_factor", 1.0), about.get("add_offset", 0.0)
    _refuse_scale(path, name, gain, offset)
    nodata = tuple(value for key in ("_FillValue", "missing_value") if isinstance(value := about.get(key), float))
    undetect = about.get("_Undetect")
    if undetect is not None and (not isinstance(undetect, float) or undetect in nodata):
        raise DataLayoutError(
            f"{path}: {name}: _Undetect is {undetect}, _FillValue {nodata}, so that dry and unknown pixels look alike."
        )
    height, width = shape[-2:]
    times = times.astype("datetime64[m]")
    return Composite(name, times, (height, width), found[name], gain, offset, nodata, undetect)


def _refuse_scale(path: Path, name: str, gain: Any, offset: Any) -> None:
    if not all(isinstance(value, float) and np.isfinite(value) for value in (gain, offset)) or not gain > 0:
        raise DataLayoutError(f"{path}: {name}: scale {gain} and offset {offset}, expected a number above 0 and one.")
