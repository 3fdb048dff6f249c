"""Where the cells of NSIDC's north polar grid of 25 km lie."""

from __future__ import annotations

import numpy as np

from skyfold.submission.forecast_netcdf import MapGeometry
from skyfold.types import IntPair

GRID = (448, 304)
CELL = 25_000.0  # m
TOP, LEFT = 5_850_000.0, -3_850_000.0  # outer edges of the first row and column, m
GRID_MAPPING = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": -45.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 70.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378273.0,
    "inverse_flattening": 298.279411123064,
}


def polar_geometry(grid: IntPair) -> MapGeometry | None:
    """The geometry of a grid (H, W); None where it is another one than NSIDC's."""
    if grid != GRID:
        return None
    centres = [CELL * (np.arange(side) + 0.5) for side in grid]
    return MapGeometry(TOP - centres[0], LEFT + centres[1], GRID_MAPPING)
