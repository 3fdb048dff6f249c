"""Where on the earth the pixels of a scene lie: its coordinate reference system, transform and nodata.

Read and written with rasterio, the extra `geo`. Areas are those of the projection where it measures in metres; of
longitudes and latitudes they are taken on a sphere of the earth's surface.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from skyfold.errors import ConfigError
from skyfold.files import write_atomic
from skyfold.types import IntPair

EXTRA = "pip install -e .[geo]"
MODEL_TAGS = (33550, 34264)  # of GeoTIFF: size of a pixel, or a matrix
EARTH_RADIUS = 6_371_007.2  # metres, of the sphere with the surface of the ellipsoid WGS 84
NO_DATA = 255  # in a map of classes


@dataclass(frozen=True)
class Georeference:
    """crs: of rasterio; transform: affine, from (column, row) of a pixel's corner to coordinates; size: (H, W)."""

    crs: Any
    transform: Any
    size: IntPair

    def areas(self) -> np.ndarray:
        """Square kilometres of a pixel in each row, float64 (H,); NaN where the unit of the projection is unknown."""
        rows, pixel = self.size[0], abs(self.transform.a * self.transform.e - self.transform.b * self.transform.d)
        if self.crs is not None and self.crs.is_geographic:
            edges = np.radians([(self.transform @ (0, row))[1] for row in range(rows + 1)])
            return np.asarray(
                EARTH_RADIUS**2 * np.radians(abs(self.transform.a)) * np.abs(np.diff(np.sin(edges))) * 1e-6
            )
        if self.crs is None or not self.crs.is_projected:
            return np.full(rows, np.nan)
        return np.full(rows, pixel * self.crs.linear_units_factor[1] ** 2 * 1e-6)


def georeference_of(path: Path) -> Georeference | None:
    """That of a scene; None where the file has none, as PNG and JPEG. ConfigError where it has one and rasterio is
    missing."""
    if path.suffix.lower() not in (".tif", ".tiff", ".jp2") or not _is_placed(path):
        return None
    if importlib.util.find_spec("rasterio") is None:
        raise ConfigError(f"{path}: is georeferenced, which needs the extra geo: {EXTRA}")
    import rasterio

    with rasterio.open(path) as scene:
        if scene.crs is None and scene.transform.is_identity:
            return None
        return Georeference(scene.crs, scene.transform, (scene.height, scene.width))


def defined_pixels(path: Path) -> np.ndarray:
    """Where a scene was measured, bool (H, W): by its nodata value, alpha band or mask."""
    import rasterio

    with rasterio.open(path) as scene:
        return np.asarray(scene.dataset_mask() != 0)


def write_class_map(path: Path, places: np.ndarray, where: Georeference, colours: Mapping[str, Any]) -> None:
    """Write a tiled, cloud-optimised GeoTIFF of uint8 (H, W) class indices, with a colour table and overviews.

    places: NO_DATA where nothing was measured. colours: (red, green, blue) of each class, in the order of the indices.
    """
    import rasterio
    import rasterio.shutil

    table = {index: (*colour, 255) for index, colour in enumerate(colours.values())}
    kept = {"height": where.size[0], "width": where.size[1], "crs": where.crs, "transform": where.transform}

    def write(beside: Path) -> None:
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", count=1, dtype="uint8", nodata=NO_DATA, **kept) as plain:
                plain.write(places, 1)
                plain.write_colormap(1, {**table, NO_DATA: (0, 0, 0, 0)})
                plain.update_tags(1, **{f"class_{index}": name for index, name in enumerate(colours)})
            with memory.open() as plain:
                options = {"compress": "DEFLATE", "overview_resampling": "MODE"}
                rasterio.shutil.copy(plain, beside, driver="COG", **options)

    write_atomic(path, write)


def polygons_of(places: np.ndarray, where: Georeference, classes: list[str]) -> dict[str, Any]:
    """GeoJSON of the areas of each class but the first, in longitudes and latitudes (RFC 7946).

    ConfigError where the scene has no coordinate reference system.
    """
    from rasterio.features import shapes
    from rasterio.warp import transform_geom

    if where.crs is None:
        raise ConfigError("polygons: the scene has no coordinate reference system, so that it lies nowhere on earth.")
    wanted = (places > 0) & (places != NO_DATA)
    found = [
        {
            "type": "Feature",
            "properties": {"class": classes[int(value)]},
            "geometry": transform_geom(where.crs, "EPSG:4326", shape, precision=7),
        }
        for shape, value in shapes(places, mask=wanted, connectivity=8, transform=where.transform)
    ]
    return {"type": "FeatureCollection", "features": found}


def _is_placed(path: Path) -> bool:
    if path.suffix.lower() == ".jp2":
        return True
    try:
        with tifffile.TiffFile(path) as file:
            return any(tag in file.pages.first.tags for tag in MODEL_TAGS)
    except Exception:  # a damaged file is named where it is read
        return False
