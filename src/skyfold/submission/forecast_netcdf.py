"""Write forecasts as a NetCDF file by the CF conventions: values, times, lead times and the grid mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.files import write_atomic
from skyfold.types import ArraySequence

CONVENTIONS = "CF-1.11"
TIME = {"units": "minutes since 1970-01-01", "calendar": "standard"}


@dataclass(frozen=True)
class MapGeometry:
    """Where the cells of a map lie.

    y, x          (H,) and (W,), centres of rows and columns in the projection, m
    grid_mapping  attributes of the projection by the CF conventions, "grid_mapping_name" among them
    """

    y: np.ndarray
    x: np.ndarray
    grid_mapping: Mapping[str, Any]


@dataclass(frozen=True)
class ForecastLayout:
    """What the values of a competition's forecasts are.

    name        of the variable
    attributes  of the variable: standard_name, long_name, units
    scale       of values, to the units of the file
    issued      issued(id) -> datetime64, the time of the last known frame
    periods     periods(id) -> datetime64 (L, 2), begin and end of each target; both the same where it is a moment
    """

    name: str
    attributes: Mapping[str, str]
    scale: float
    issued: Callable[[str], np.datetime64]
    periods: Callable[[str], np.ndarray]


def require_h5netcdf() -> None:
    """Raise ConfigError where h5netcdf is not installed."""
    try:
        import h5netcdf  # noqa: F401
    except ImportError:
        raise ConfigError("forecasts in NetCDF need h5netcdf: pip install -e .[netcdf]") from None


def write_forecast(
    path: Path,
    ids: Sequence[str],
    values: ArraySequence,
    layout: ForecastLayout,
    geometry: MapGeometry | None,
    about: Mapping[str, str],
) -> None:
    """Write the forecasts `values` of samples `ids`: values[i] float (H, W, L), NaN where nothing is forecast.

    The variable has the axes (reference_time, lead, y, x); `time` and `forecast_period` give its time for each lead.
    geometry: None where it is not known; about: attributes of the file, "title" for instance.
    """
    require_h5netcdf()
    import h5netcdf

    issued = np.array([layout.issued(name) for name in ids]).astype("datetime64[m]")
    periods = np.stack([layout.periods(name) for name in ids]).astype("datetime64[m]")
    height, width, leads = values[0].shape

    def write(beside: Path) -> None:
        with h5netcdf.File(beside, "w") as file:
            file.attrs.update({"Conventions": CONVENTIONS, **about})
            file.dimensions = {"reference_time": len(ids), "lead": leads, "y": height, "x": width, "bounds": 2}
            _write_times(file, issued, periods)
            own = {**layout.attributes, "coordinates": "time forecast_period"}
            if geometry is not None:
                _write_geometry(file, geometry)
                own["grid_mapping"] = "crs"
            axes, chunks = ("reference_time", "lead", "y", "x"), (1, 1, height, width)
            made = file.create_variable(
                layout.name, axes, "f4", fillvalue=np.float32(np.nan), chunks=chunks, compression="gzip", shuffle=True
            )
            made.attrs.update(own)
            for row in range(len(ids)):
                made[row] = np.moveaxis(np.asarray(values[row], dtype=np.float32) * np.float32(layout.scale), -1, 0)

    write_atomic(path, write)


def _write_times(file: Any, issued: np.ndarray, periods: np.ndarray) -> None:
    epoch = np.datetime64("1970-01-01", "m")
    by_lead, moments = ("reference_time", "lead"), bool((periods[..., 0] == periods[..., 1]).all())
    _write(file, "reference_time", by_lead[:1], issued - epoch, standard_name="forecast_reference_time", **TIME)
    lead = np.arange(1, periods.shape[1] + 1, dtype=np.int32)
    _write(file, "lead", by_lead[1:], lead, long_name="number of the lead time", units="1")
    bounds = {} if moments else {"bounds": "time_bounds"}
    _write(file, "time", by_lead, periods[..., 0] - epoch, standard_name="time", **TIME, **bounds)
    period = periods[..., 0] - issued[:, None]
    _write(file, "forecast_period", by_lead, period, standard_name="forecast_period", units="minutes")
    if not moments:
        _write(file, "time_bounds", (*by_lead, "bounds"), periods - epoch)


def _write_geometry(file: Any, geometry: MapGeometry) -> None:
    for name, values in (("y", geometry.y), ("x", geometry.x)):
        standard = f"projection_{name}_coordinate"
        _write(file, name, (name,), values, standard_name=standard, units="m", axis=name.upper())
    file.create_variable("crs", (), "i4").attrs.update(geometry.grid_mapping)


def _write(file: Any, name: str, axes: tuple[str, ...], values: np.ndarray, **attributes: Any) -> None:
    kind = values.dtype if values.dtype.kind == "i" else np.dtype("f8")
    file.create_variable(name, axes, kind, data=values.astype(kind)).attrs.update(attributes)
