"""Where the pixels of a radar composite lie: projection and coordinates, from ODIM or the CF conventions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions._hdf5_files import Hdf5File
from skyfold.competitions.hydro_rain.composite_files import read_header
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.submission.forecast_netcdf import MapGeometry
from skyfold.types import IntPair

METRES = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0}


def read_geometry(path: Path, corner: IntPair, size: IntPair) -> MapGeometry | None:
    """The geometry of the part of `size` (H, W) at `corner` (row, column) of a composite; None where it tells none.

    DataLayoutError where the projection of an ODIM file is unknown, ConfigError where pyproj is not installed.
    """
    header = read_header(path)
    with Hdf5File(path) as file:
        found = _odim(file, header.shape) if "what" in file else _cf(file, header.variable, header.shape)
    if found is None:
        return None
    rows, columns = (slice(first, first + side) for first, side in zip(corner, size, strict=True))
    return MapGeometry(found.y[rows], found.x[columns], found.grid_mapping)


def _odim(file: Hdf5File, shape: IntPair) -> MapGeometry | None:
    """From the projection, the outer corner of the lower left pixel, and the size of pixels in m."""
    where = file.attributes("where") if "where" in file else {}
    numbers = [where.get(key) for key in ("LL_lon", "LL_lat", "xscale", "yscale")]
    projection = where.get("projdef")
    if not isinstance(projection, str) or not all(isinstance(number, float) for number in numbers):
        return None
    longitude, latitude, width, height = (float(number or 0) for number in numbers)
    try:
        import pyproj
    except ImportError:
        raise ConfigError("the projection of ODIM files needs pyproj: pip install -e .[netcdf]") from None
    try:
        left, bottom = pyproj.Proj(projection)(longitude, latitude)
        mapping: Mapping[str, Any] = pyproj.CRS(projection).to_cf()
    except pyproj.exceptions.ProjError as error:
        raise DataLayoutError(
            f"{file.path}: where: projdef '{projection[:80]}' is not known to PROJ ({error})."
        ) from None
    rows, columns = (np.arange(side) + 0.5 for side in shape)
    return MapGeometry(bottom + height * rows[::-1], left + width * columns, mapping)


def _cf(file: Hdf5File, variable: str, shape: IntPair) -> MapGeometry | None:
    """From the coordinate variables of the projection, and the variable that grid_mapping names."""
    mapping, sides = file.attributes(variable).get("grid_mapping"), []
    for axis, side in zip("yx", shape, strict=True):
        standard = f"projection_{axis}_coordinate"
        named = [name for name in file.names() if file.attributes(name).get("standard_name") == standard]
        unit = str(file.attributes(named[0]).get("units")) if len(named) == 1 else ""
        if unit not in METRES or file.shape(named[0]) != (side,):
            return None
        sides.append(file.read(named[0]).astype(np.float64) * METRES[unit])
    if not isinstance(mapping, str) or mapping not in file:
        return None
    about = {key: value for key, value in file.attributes(mapping).items() if not key.startswith("_")}
    return MapGeometry(sides[0], sides[1], about) if "grid_mapping_name" in about else None
