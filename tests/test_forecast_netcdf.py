"""Forecasts in NetCDF by the CF conventions: xarray reads values, times and projection of what was submitted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.competitions.arctic_sea_ice.polar_grid import GRID, GRID_MAPPING, polar_geometry

pytest.importorskip("h5netcdf", reason="forecasts in NetCDF need h5netcdf")
xarray = pytest.importorskip("xarray", reason="xarray reads what is written")

from odim_listing import ODIM, write_odim  # noqa: E402

ICE = """
name: ice
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [16, 12]}
  folds: {years: [1999, 2002]}
forecasts:
  - {name: last_year, family: mean_of_years, options: {years: 1}}
  - {name: mean, family: mean_of_years, options: {years: 3}}
"""
RAIN = """
name: rain
data: {competition: hydro_rain, name: rain, folds: {k: 2}}
forecasts:
  - {name: persistence, family: persistence}
"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    for name, text in (("ice", ICE), ("rain", RAIN)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_forecast_of_sea_ice_is_what_was_submitted_with_its_months(root, capsys):
    data = root / "data" / "ice"
    build("arctic_sea_ice", {"grid": [16, 12]}).write_sample(data, years=8)  # type: ignore[misc]
    assert main(["run", str(root / "ice.yaml"), "--root", str(root)]) == 0
    assert main(["submit", str(root / "ice.yaml"), "--root", str(root), "--products"]) == 0
    path = root / "submissions" / "ice" / "ice.nc"
    assert f"products: {path}" in capsys.readouterr().out
    submitted = np.loadtxt(path.with_suffix(".csv"), delimiter=",", skiprows=1, usecols=range(1, 193))
    valid = build("arctic_sea_ice", {"grid": [16, 12]}).load(data, "test").valid[0]
    with xarray.open_dataset(path, engine="h5netcdf") as forecast:
        ice = forecast["siconc"]
        assert ice.dims == ("reference_time", "lead", "y", "x")
        assert (ice.attrs["units"], ice.attrs["standard_name"]) == ("1", "sea_ice_area_fraction")
        assert forecast["reference_time"].to_numpy().tolist() == [np.datetime64("2003-01-01", "ns").item()]
        months = forecast["time"].to_numpy()[0].astype("datetime64[M]")
        np.testing.assert_array_equal(months, np.datetime64("2003-01") + np.arange(12))
        np.testing.assert_array_equal(forecast["time_bounds"][0, :, 1].to_numpy().astype("datetime64[M]"), months + 1)
        assert forecast["forecast_period"].attrs["units"] == "minutes"
        assert (forecast["forecast_period"].to_numpy()[0, :3] / 1440).tolist() == [0, 31, 59]
        assert forecast.attrs["title"] == "ice: mean"
        values = ice.to_numpy()[0]
    known = np.moveaxis(valid, -1, 0)
    np.testing.assert_array_equal(np.isnan(values), ~known)
    np.testing.assert_allclose(values[known], submitted.reshape(12, 16, 12)[known] / 250, atol=3e-6)


def test_the_corners_of_the_polar_grid_are_where_nsidc_says():
    pyproj = pytest.importorskip("pyproj", reason="latitudes are computed by pyproj")
    geometry = polar_geometry(GRID)
    project = pyproj.Proj(pyproj.CRS.from_cf(GRID_MAPPING))
    x = np.array([geometry.x[0] - 12500, geometry.x[-1] + 12500])[[0, 1, 0, 1]]
    y = np.array([geometry.y[0] + 12500, geometry.y[-1] - 12500])[[0, 0, 1, 1]]
    longitude, latitude = project(x, y, inverse=True)
    np.testing.assert_allclose(latitude, [30.98, 31.37, 33.92, 34.35], atol=0.006)
    np.testing.assert_allclose(longitude % 360, [168.35, 102.34, 279.26, 350.03], atol=0.006)
    assert polar_geometry((16, 12)) is None


@pytest.mark.real_data
def test_the_cells_of_the_polar_grid_are_those_of_nsidc():
    pyproj = pytest.importorskip("pyproj", reason="latitudes are computed by pyproj")
    path = Path(os.environ.get("SKYFOLD_DATA", "")) / "seaice" / "grid_psn25.npz"
    if not path.is_file():
        pytest.skip("needs grid_psn25.npz of the folder that SKYFOLD_DATA names")
    geometry = polar_geometry(GRID)
    x, y = np.meshgrid(geometry.x, geometry.y)
    longitude, latitude = pyproj.Proj(pyproj.CRS.from_cf(GRID_MAPPING))(x, y, inverse=True)
    with np.load(path) as grid:
        np.testing.assert_allclose(latitude, grid["lat"], atol=0.01)
        off = (longitude - grid["lon"] + 180) % 360 - 180
        assert np.abs(off * np.cos(np.radians(latitude))).max() < 0.01


def test_a_forecast_of_composites_has_their_time_and_projection(root):
    pyproj = pytest.importorskip("pyproj", reason="the projection of ODIM files needs pyproj")
    listing = ODIM.replace("xsize = 5", "xsize = 124").replace("ysize = 4", "ysize = 122")
    for day in (26, 27):
        for minute in range(0, 60, 10):
            data = np.full((122, 124), 90 + minute, np.uint8)
            write_odim(
                root / "data" / "rain" / "composites" / f"{day}_{minute:02}.h5",
                listing.replace('date = "20100826"', f'date = "201008{day}"'),
                {"dataset1/data1/data": data},
                minute,
            )
    assert main(["run", str(root / "rain.yaml"), "--root", str(root)]) == 0
    assert main(["submit", str(root / "rain.yaml"), "--root", str(root), "--products"]) == 0
    assert (root / "submissions" / "rain" / "rain.csv").read_text().startswith("file_name,")
    with xarray.open_dataset(root / "submissions" / "rain" / "rain.nc", engine="h5netcdf") as forecast:
        rain = forecast["rainfall_rate"]
        np.testing.assert_allclose(rain.to_numpy(), (10**3.8 / 200) ** 0.625, rtol=1e-5)  # of 00:50: 38 dBZ
        assert rain.attrs["units"] == "mm h-1"
        assert forecast["reference_time"].to_numpy()[0] == np.datetime64("2010-08-27T00:50")
        assert forecast["time"].to_numpy().tolist() == [[np.datetime64("2010-08-27T01:00", "ns").item()]]
        assert forecast["forecast_period"].to_numpy()[0, 0] == 10
        assert rain.attrs["grid_mapping"] == "crs"
        assert forecast["crs"].attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"
        x, y = forecast["x"].to_numpy(), forecast["y"].to_numpy()
        crs = pyproj.CRS.from_cf(forecast["crs"].attrs)
    assert np.diff(x).tolist() == [2000] * 119
    assert np.diff(y).tolist() == [-2000] * 119
    # The sample is the middle of the composite: two columns and one row are left out at each side.
    longitude, latitude = pyproj.Proj(crs)(x[0] - 5000, y[-1] - 3000, inverse=True)
    assert (longitude, latitude) == pytest.approx((-10.434576838640398, 31.746215319325056), abs=1e-6)


def test_forecasts_without_a_time_and_a_missing_package_are_named(root, capsys, monkeypatch):
    contest = build("hydro_rain", {})
    contest.write_sample(root / "data" / "rain", train=8, test=2, train_events=2, test_events=1)  # type: ignore[misc]
    assert main(["run", str(root / "rain.yaml"), "--root", str(root)]) == 0
    capsys.readouterr()
    assert main(["submit", str(root / "rain.yaml"), "--root", str(root), "--products"]) == 2
    assert "data set 'rain': its samples have no time" in capsys.readouterr().err
    assert main(["submit", str(root / "rain.yaml"), "--root", str(root), "--json"]) == 0
    assert '"forecast": "rain"' in capsys.readouterr().out
    data = root / "data" / "ice"
    build("arctic_sea_ice", {"grid": [16, 12]}).write_sample(data, years=8)  # type: ignore[misc]
    assert main(["run", str(root / "ice.yaml"), "--root", str(root)]) == 0
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    assert main(["submit", str(root / "ice.yaml"), "--root", str(root), "--products"]) == 2
    assert "pip install -e .[netcdf]" in capsys.readouterr().err
    assert not (root / "submissions" / "ice" / "ice.nc").exists()
