"""Read variables of HDF5 and NetCDF-4 files, and refuse those that are damaged or claim more than the file can hold.

pyfive reads them: it is written in Python, so that a damaged file is an exception, where the HDF5 library may loop for
ever. Nothing in a file is executed: neither pickled objects nor filters of other libraries are loaded.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataLayoutError, SkyfoldError
from skyfold.files import require_file
from skyfold.memory import too_large

SUFFIXES = (".h5", ".hdf", ".hdf5", ".nc", ".nc4")
CLASSIC = b"CDF"  # how a NetCDF-3 file begins
UNDEFINED = 2**64 - 1  # the place of data that are not there
MOST_PACKED = 1032  # bytes that deflate makes of one
UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
CALENDARS = ("gregorian", "standard", "proleptic_gregorian")


class Hdf5File:
    """An open HDF5 or NetCDF-4 file, to be used in a `with` statement.

    Groups and variables are named by their path ("dataset1/data1/data"). Every method raises DataLayoutError with the
    path of the file where it is damaged, or lacks what is asked for.
    """

    def __init__(self, path: Path) -> None:
        pyfive = _pyfive()
        self.path = path
        require_file(path, "an HDF5 or NetCDF-4 file")
        with self._whole():
            with open(path, "rb") as file:
                if file.read(3) == CLASSIC:
                    raise DataLayoutError(f"{path}: a NetCDF-3 file. Convert it: nccopy -k nc4 FILE NEW_FILE.")
            self._file = pyfive.File(str(path))

    def __enter__(self) -> Hdf5File:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def names(self, group: str = "/") -> list[str]:
        """Names of the groups and variables in a group."""
        with self._whole():
            found = self._find(group)
            if hasattr(found, "shape"):  # which would count without an end
                raise DataLayoutError(f"{self.path}: '{group}' is a variable, expected a group. Get the file again.")
            return [str(name) for name in found]

    def __contains__(self, name: str) -> bool:
        with self._whole():
            try:
                self._file[name]
            except KeyError:
                return False
            return True

    def attributes(self, name: str = "/") -> Mapping[str, Any]:
        """Attributes of a group or variable: text as str, one number as float, several as float (n,); others not."""
        with self._whole():
            found = {str(key): _plain(value) for key, value in dict(self._find(name).attrs).items()}
            return {key: value for key, value in found.items() if value is not None}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a variable."""
        with self._whole():
            return tuple(int(side) for side in self._find(name).shape)

    def read(self, name: str, window: tuple[slice, ...] = ()) -> np.ndarray:
        """A variable of numbers, or the part of it in `window`.

        DataLayoutError where it holds no numbers, or more than the file can hold or memory can take.
        """
        with self._whole():
            variable = self._find(name)
            shape, dtype = variable.shape, np.dtype(variable.dtype)
            if dtype.kind not in "iuf":
                raise DataLayoutError(f"{self.path}: {name} holds {dtype}, expected numbers.")
            claimed = dtype.itemsize * max(math.prod(shape), math.prod(variable.chunks or ()))
            if claimed > MOST_PACKED * self.path.stat().st_size:
                raise DataLayoutError(
                    f"{self.path}: {name} claims {claimed} bytes, more than the file can hold. Download it again."
                )
            if shortage := too_large(claimed):
                raise DataLayoutError(f"{self.path}: {name}: {shortage}. Free memory, or cut the file into several.")
            if _unwritten(variable):
                raise DataLayoutError(f"{self.path}: {name} has no data in this file. Download it again.")
            if variable.chunks and _largest_chunk(variable) > 2 * dtype.itemsize * math.prod(variable.chunks) + 1024:
                raise DataLayoutError(f"{self.path}: {name} has a chunk that unpacks to too much. Download it again.")
            return np.asarray(variable[window], dtype=dtype.newbyteorder("="))

    def times(self, name: str = "time") -> np.ndarray:
        """Times of a CF variable in days, hours, minutes or seconds since a date: datetime64[s] (n,)."""
        about, values = self.attributes(name), np.atleast_1d(self.read(name))
        units, calendar = str(about.get("units", "")), str(about.get("calendar", CALENDARS[0])).lower()
        found = re.match(r"(\w+) since (\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2}):(\d{2}))?", units, re.ASCII)
        if found is None or found[1] not in UNITS or calendar not in CALENDARS:
            raise DataLayoutError(
                f"{self.path}: {name} is in '{units[:60]}', calendar '{calendar[:20]}', expected days, hours, minutes "
                "or seconds since a date of the standard calendar."
            )
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[1:])
        seconds = values.astype(np.float64) * UNITS[found[1]] + (hour * 60 + minute) * 60 + second
        try:
            first = np.datetime64(f"{year:04}-{month:02}-{day:02}", "s")
        except ValueError:
            raise DataLayoutError(f"{self.path}: {name} is in '{units[:60]}', which is no date.") from None
        if values.ndim != 1 or not (np.abs(seconds) < 1e12).all():  # NaN, too; 30,000 years
            raise DataLayoutError(f"{self.path}: {name} has shape {values.shape} or holds what is no time.")
        return first + np.rint(seconds).astype("timedelta64[s]")

    def _find(self, name: str) -> Any:
        try:
            return self._file[name]
        except KeyError:
            raise DataLayoutError(f"{self.path}: '{name}' is not in this file.") from None

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Whatever a parser says of bytes that are no such file; it checks little, and fails where it happens to."""
        try:
            yield
        except SkyfoldError:
            raise
        except (NotImplementedError, ImportError) as error:
            raise DataLayoutError(
                f"{self.path}: stored in a way that is not read ({str(error)[:80]}). Download it again, or repack it: "
                "h5repack -f GZIP=4 FILE NEW_FILE."
            ) from None
        except Exception as error:
            raise DataLayoutError(
                f"{self.path}: not a whole HDF5 or NetCDF-4 file ({type(error).__name__}: {str(error)[:80]}). Download "
                "it again."
            ) from None


def _pyfive() -> Any:
    try:
        import pyfive
    except ImportError:
        raise ConfigError("NetCDF and HDF5 files are read by pyfive: pip install -e .[netcdf]") from None
    warnings.filterwarnings("ignore", module=r"pyfive\.")  # types of attributes that nobody asks for
    return pyfive


def _unwritten(variable: Any) -> bool:
    """Whether nothing of it was ever written into the file: it would be read as zeros, or lies in another file."""
    if variable.chunks:
        return bool(variable.id.get_num_chunks() == 0)
    return bool(getattr(variable.id, "data_offset", 0) == UNDEFINED)


def _largest_chunk(variable: Any) -> int:
    """Bytes of the largest chunk as it is stored: packed, an honest one is hardly larger than what it holds."""
    index = variable.id
    return max((index.get_chunk_info(number).size for number in range(index.get_num_chunks())), default=0)


def _plain(value: Any) -> str | float | np.ndarray | None:
    array = np.asarray(value)
    if array.dtype.kind in "iufb":
        return float(array.item()) if array.size == 1 else array.astype(float).ravel()
    one = array.item() if array.size == 1 else None
    text = one.decode(errors="replace") if isinstance(one, bytes) else one
    return text.rstrip("\0") if isinstance(text, str) else None
