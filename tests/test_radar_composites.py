"""Radar composites in ODIM HDF5 and NetCDF: layouts, a second reader, dry apart from unknown, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.competitions.hydro_rain.composite_files import read_header, read_rain
from skyfold.errors import ConfigError, DataLayoutError

pytest.importorskip("h5netcdf", reason="files in NetCDF need h5netcdf")
pytest.importorskip("pyfive", reason="files in HDF5 need pyfive")

from netcdf_listing import write_listing
from odim_listing import ODIM, write_odim

OPERA_RATE = (
    ODIM.replace('"DBZH"', '"RATE"')
    .replace("gain = 0.5", "gain = 1.0")
    .replace("offset = -32.0", "offset = 0.0")
    .replace("nodata = 255.0", "nodata = -9999000.0")
    .replace("undetect = 0.0", "undetect = -8888000.0")
)
# A composite by the CF conventions.
CF = """
netcdf composite {
dimensions:
    time = UNLIMITED ; // (1 currently)
    y = 4 ;
    x = 5 ;
variables:
    int crs ;
        crs:grid_mapping_name = "lambert_azimuthal_equal_area" ;
        crs:latitude_of_projection_origin = 55. ;
        crs:longitude_of_projection_origin = 10. ;
    double time(time) ;
        time:standard_name = "time" ;
        time:units = "minutes since 2010-08-26 00:00:00" ;
        time:calendar = "standard" ;
    double y(y) ;
        y:standard_name = "projection_y_coordinate" ;
        y:units = "m" ;
    double x(x) ;
        x:standard_name = "projection_x_coordinate" ;
        x:units = "m" ;
    short reflectivity(time, y, x) ;
        reflectivity:_FillValue = -32768s ;
        reflectivity:standard_name = "equivalent_reflectivity_factor" ;
        reflectivity:long_name = "radar reflectivity" ;
        reflectivity:units = "dBZ" ;
        reflectivity:scale_factor = 0.01 ;
        reflectivity:add_offset = 0. ;
        reflectivity:_Undetect = -32767s ;
        reflectivity:grid_mapping = "crs" ;
}
"""
CF_RATE = (
    CF.replace("short", "float")
    .replace("-32768s", "-9999.f")
    .replace("-32767s", "-8888.f")
    .replace("scale_factor = 0.01", "scale_factor = 1.")
    .replace("dBZ", "mm h-1")
    .replace("equivalent_reflectivity_factor", "rainfall_rate")
)
# One pixel of each kind; 23 dBZ is nearly 1 mm/h (23.01 is Z = 200), 39 dBZ 10 mm/h.
DBZ = np.full((4, 5), -20.0)
DBZ[1, 1], DBZ[1, 2], DBZ[2, 3] = 23.0, 39.0, 0.5
UNKNOWN, DRY = (0, 0), (3, 4)
RAIN = np.zeros((4, 5))
RAIN[1, 1], RAIN[1, 2], RAIN[2, 3] = (10**2.3 / 200) ** 0.625, (10**3.9 / 200) ** 0.625, (10**0.05 / 200) ** 0.625
RAIN[UNKNOWN] = np.nan


def numbers(kind: str) -> np.ndarray:
    """The pixels as a file of a kind stores them."""
    stored = {
        "odim dBZ": np.rint((DBZ + 32) / 0.5).astype(np.uint8),
        "odim rate": np.nan_to_num(RAIN),
        "cf dBZ": np.rint(DBZ * 100).astype(np.int16),
        "cf rate": np.nan_to_num(RAIN).astype(np.float32),
    }[kind]
    nodata, undetect = {
        "odim dBZ": (255, 0),
        "odim rate": (-9999000.0, -8888000.0),
        "cf dBZ": (-32768, -32767),
        "cf rate": (-9999, -8888),
    }[kind]
    stored[UNKNOWN], stored[DRY] = nodata, undetect
    return stored


def write_cf(path: Path, listing: str, data: np.ndarray, minutes: Any = (10.0,)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = {"y": np.arange(data.shape[-2]) * -1000.0, "x": np.arange(data.shape[-1]) * 1000.0}
    frames = data.reshape(-1, *data.shape[-2:])
    write_listing(path, listing, {"time": np.array(minutes, float), "reflectivity": frames, **sides})
    return path


def written(folder: Path, kind: str) -> Path:
    if kind.startswith("odim"):
        listing = ODIM if kind == "odim dBZ" else OPERA_RATE
        return write_odim(folder / "a.h5", listing, {"dataset1/data1/data": numbers(kind)})
    return write_cf(folder / "a.nc", CF if kind == "cf dBZ" else CF_RATE, numbers(kind))


KINDS = ["odim dBZ", "odim rate", "cf dBZ", "cf rate"]
WHOLE = ((0, 0), (4, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_dry_and_weak_pixels_are_kept_apart(tmp_path, kind):
    path = written(tmp_path, kind)
    header = read_header(path)
    assert header.shape == (4, 5)
    assert header.times.tolist() == [np.datetime64("2010-08-26T00:10").item()]
    rain = read_rain(path, 0, *WHOLE)
    assert rain.dtype == np.float32
    np.testing.assert_allclose(rain, RAIN, rtol=1e-6)
    assert rain[DRY] == 0  # no echo
    assert rain[0, 1] == 0  # -20 dBZ
    np.testing.assert_array_equal(read_rain(path, 0, (1, 2), (2, 3)), rain[1:3, 2:5])


@pytest.mark.parametrize("kind", ["odim dBZ", "odim rate"])
def test_pysteps_reads_the_same_composite(tmp_path, kind):
    importers = pytest.importorskip("pysteps.io.importers", reason="the second reader of ODIM is that of pysteps")
    pytest.importorskip("pyproj", reason="the importer of pysteps needs pyproj")
    path = written(tmp_path, kind)
    quantity = "DBZH" if kind == "odim dBZ" else "RATE"
    values, _, _ = importers.import_odim_hdf5(str(path), qty=quantity)
    values = np.asarray(values, dtype=np.float64)
    if quantity == "DBZH":
        values = np.where(values > 0, (10 ** (values / 10) / 200) ** 0.625, np.where(np.isnan(values), np.nan, 0))
    np.testing.assert_allclose(read_rain(path, 0, *WHOLE), values, rtol=1e-6)


@pytest.mark.parametrize("kind", ["cf dBZ", "cf rate"])
def test_xarray_reads_the_same_composite(tmp_path, kind):
    xarray = pytest.importorskip("xarray", reason="the second reader of NetCDF is xarray")
    path = written(tmp_path, kind)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        values = data["reflectivity"].to_numpy()[0].astype(np.float64)
        assert data["time"].to_numpy()[0] == read_header(path).times[0]
    assert np.argwhere(np.isnan(values)).tolist() == [list(UNKNOWN)]
    values[DRY] = 0  # xarray does not know _Undetect
    if kind == "cf dBZ":
        values = np.where(values > 0, (10 ** (values / 10) / 200) ** 0.625, np.where(np.isnan(values), np.nan, 0))
    np.testing.assert_allclose(read_rain(path, 0, *WHOLE), values, rtol=1e-5)


def test_a_rate_goes_before_reflectivity_and_quality_is_left_aside(tmp_path):
    second = OPERA_RATE[OPERA_RATE.index("/dataset1/data1/what") :].replace("data1/what", "data2/what")
    quality = '/dataset1/data1/quality1/what quantity = "QIND"\n'
    arrays = {"dataset1/data1/data": numbers("odim dBZ"), "dataset1/data2/data": numbers("odim rate")}
    arrays["dataset1/data1/quality1/data"] = np.ones((4, 5))
    path = write_odim(tmp_path / "a.h5", ODIM + second + quality, arrays)
    assert read_header(path).variable == "dataset1/data2/data"
    np.testing.assert_allclose(read_rain(path, 0, *WHOLE), RAIN, rtol=1e-6)


def test_what_may_stand_in_the_group_of_the_dataset(tmp_path):
    listing = ODIM.replace("/dataset1/data1/what", "/dataset1/what")
    path = write_odim(tmp_path / "a.h5", listing, {"dataset1/data1/data": numbers("odim dBZ")})
    np.testing.assert_allclose(read_rain(path, 0, *WHOLE), RAIN, rtol=1e-6)


def test_nan_is_unknown_and_a_rate_in_kg_per_second_is_multiplied(tmp_path):
    rate = np.full((4, 5), 2 / 3600, np.float32)
    rate[2, 2] = np.nan
    path = write_cf(tmp_path / "a.nc", CF_RATE.replace("mm h-1", "kg m-2 s-1"), rate)
    rain = read_rain(path, 0, *WHOLE)
    assert np.argwhere(np.isnan(rain)).tolist() == [[2, 2]]
    np.testing.assert_allclose(rain[rain > 0], 2, rtol=1e-6)


# Windows

SIDE = 130


def rain_at(minute: int) -> np.ndarray:
    """A shower on a map of 130 x 140 pixels, in the bytes of ODIM, one column further every ten minutes."""
    rows, columns = np.mgrid[:SIDE, : SIDE + 10]
    dbz = 45 - 0.02 * ((rows - 60) ** 2 + (columns - 50 - minute // 10) ** 2)
    data = np.where(dbz > -30, np.rint((dbz + 32) / 0.5), 0).astype(np.uint8)
    data[:12] = 255
    return data


LARGE = ODIM.replace("xsize = 5", f"xsize = {SIDE + 10}").replace("ysize = 4", f"ysize = {SIDE}")


def write_composite(folder: Path, day: int, minute: int) -> None:
    listing = LARGE.replace('date = "20100826"', f'date = "201008{day}"')
    path = folder / "composites" / str(day) / f"{minute:04}.h5"
    write_odim(path, listing, {"dataset1/data1/data": rain_at(minute)}, minute)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two days of five minutes; the second lacks a frame, and a day begins where the other one ends."""
    made = tmp_path_factory.mktemp("radar")
    for minute in range(23 * 60, 24 * 60, 5):
        write_composite(made, 26, minute)
    for minute in [*range(0, 60, 5), 70, 80, 90, 100]:
        if minute != 30:
            write_composite(made, 27, minute)
    return made


def test_windows_are_frames_ten_minutes_apart_within_one_day(folder):
    contest = build("hydro_rain", {}, folder)
    train, test = contest.load(folder, "train"), contest.load(folder, "test")
    first, second = [f"20100826T23{minute}" for minute in (30, 35, 40, 45)], ["20100827T0035", "20100827T0045"]
    assert train.ids.tolist() == first + second
    assert train.groups.tolist() == ["2010-08-26"] * 4 + ["2010-08-27"] * 2
    assert test.ids.tolist() == ["20100827T0140"]
    inputs, target, valid = train.inputs[0], train.targets[0], train.valid[0]
    assert (inputs.shape, target.shape, valid.shape) == ((4, 120, 120), (120, 120, 1), (120, 120, 1))
    unknown = np.zeros((120, 120), bool)
    unknown[:7] = True  # the composite has 130 rows, of which those from 5 on are read
    np.testing.assert_array_equal(valid[..., 0], ~unknown)
    assert not inputs[:, unknown].any()
    np.testing.assert_array_equal(inputs[1][:, 1:], inputs[0][:, :-1])
    np.testing.assert_array_equal(target[:, 1:, 0], inputs[3][:, :-1])
    text = contest.check(folder)
    assert "27 composites of 130 x 140 pixels, 2010-08-26T23:00 to 2010-08-27T01:40" in text
    assert "5.8% without data); 6 windows of 2 days" in text


def test_corner_and_minutes_choose_other_windows(folder):
    contest = build("hydro_rain", {"corner": [0, 20], "minutes": 5}, folder)
    assert contest.classes == ("+5 min",)
    train = contest.load(folder, "train")
    assert len(train) == 8 + 2 + 1
    middle = build("hydro_rain", {"minutes": 5}, folder).load(folder, "train")
    np.testing.assert_array_equal(train.inputs[0][:, 5:, :110], middle.inputs[0][:, :115, 10:])
    with pytest.raises(
        DataLayoutError, match=r"130 x 140 pixels have no 120 x 120 at row 11, column 0.*options\.corner"
    ):
        build("hydro_rain", {"corner": [11, 0]}, folder).load(folder, "train")
    with pytest.raises(DataLayoutError, match=r"none has 4 others of its day before it, 60 minutes.*options\.minutes"):
        build("hydro_rain", {"minutes": 60}, folder).load(folder, "train")


def test_copied_files_are_the_same_data(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    first, other = (build("hydro_rain", {}, at).load(at, "train").inputs.checksum for at in (folder, tmp_path / "copy"))
    assert first == other
    next((tmp_path / "copy").rglob("1410.h5")).write_bytes(next(folder.rglob("1380.h5")).read_bytes())
    with pytest.raises(DataLayoutError, match=r"2010-08-26T23:00: .*1380\.h5 and .*1410\.h5\. Remove one"):
        build("hydro_rain", {}, tmp_path / "copy").load(tmp_path / "copy", "train")


def test_the_newest_frames_may_be_of_two_days_and_must_all_be_there(tmp_path):
    for day, minute in [(26, 1420), (26, 1430), (27, 0), (27, 10)]:
        write_composite(tmp_path, day, minute)
    contest = build("hydro_rain", {}, tmp_path)
    test = contest.load(tmp_path, "test")
    assert test.ids.tolist() == ["20100827T0010"]
    np.testing.assert_array_equal(test.inputs[0][1][:, 1:], test.inputs[0][0][:, :-1])
    with pytest.raises(DataLayoutError, match="none has 4 others of its day before it"):
        contest.load(tmp_path, "train")
    next(tmp_path.rglob("1430.h5")).unlink()
    with pytest.raises(DataLayoutError, match="is of 2010-08-27T00:10, but there is none of 2010-08-26T23:50"):
        contest.load(tmp_path, "test")


def test_every_composite_that_cannot_be_used_is_listed_by_prepare(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    damaged = sorted((tmp_path / "copy").rglob("*.h5"))[:2]
    listing = LARGE.replace("gain = 0.5", "gain = 5.0")
    for path in damaged:
        write_odim(path, listing, {"dataset1/data1/data": rain_at(0)}, int(path.stem))
    with pytest.raises(DataLayoutError) as refused:
        build("hydro_rain", {}, tmp_path / "copy").check(tmp_path / "copy")
    assert "files that cannot be read (2)" in str(refused.value)
    assert all(str(path) in str(refused.value) for path in damaged)


# What is refused


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda listing: listing.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (swapped('"COMP"\n/what v', '"PVOL"\n/what v'), "object PVOL, expected COMP or IMAGE"),
        (swapped('"DBZH"', '"ACRR"'), "quantity ACRR, expected RATE or DBZH"),
        (swapped("/dataset1/data1/what undetect = 0.0\n", ""), "no number for undetect in its what group"),
        (swapped("undetect = 0.0", "undetect = 255.0"), "nodata and undetect are both 255"),
        (swapped("gain = 0.5", "gain = 0.0"), "scale 0.0 and offset -32.0"),
        (swapped("xsize = 5", "xsize = 7"), "has shape (4, 5), but where tells 4 x 7 pixels"),
        (swapped('date = "20100826"', 'date = "20101326"'), "what: date 20101326, time 001000, expected yyyymmdd"),
        (swapped("gain = 0.5", "gain = 5.0"), "row 1, column 1: 518 dBZ, expected -90 to 90"),
        (swapped("nodata = 255.0", "nodata = 254.0"), "row 0, column 0: 95.5 dBZ, expected -90 to 90"),
    ],
)
def test_a_composite_of_odim_that_cannot_be_read_is_named(tmp_path, edit, named):
    path = write_odim(tmp_path / "a.h5", edit(ODIM), {"dataset1/data1/data": numbers("odim dBZ")})
    with pytest.raises(DataLayoutError) as refused:
        read_rain(path, 0, *WHOLE)
    assert str(refused.value).startswith(f"{path}: ")
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (swapped('"dBZ"', '"m"'), "0 variables in mm/h or dBZ (by their units), expected one"),
        (swapped('crs:grid_mapping_name = "lambert_azimuthal_equal_area"', 'crs:units = "dBZ"'), "2 variables in mm/h"),
        (swapped("scale_factor = 0.01", "scale_factor = 1."), "reflectivity, row 0, column 1: -2000 dBZ, expected -90"),
        (swapped("-32767s", "-32768s"), "so that dry and unknown pixels look alike"),
        (swapped("minutes since", "months since"), "time is in 'months since"),
        (swapped('"dBZ"', '"mm/h"'), "row 0, column 1: -20 mm/h, expected 0 to 1000"),
    ],
)
def test_a_composite_in_netcdf_that_cannot_be_read_is_named(tmp_path, edit, named):
    path = write_cf(tmp_path / "a.nc", edit(CF), numbers("cf dBZ"))
    with pytest.raises(DataLayoutError) as refused:
        read_rain(path, 0, *WHOLE)
    assert str(refused.value).startswith(f"{path}: ")
    assert named in str(refused.value)


def test_unknown_parts_and_folders_without_composites_are_refused(tmp_path, folder):
    with pytest.raises(ConfigError, match="part 'valid': there are train and test"):
        build("hydro_rain", {}, folder).load(folder, "valid")
    (tmp_path / "composites").mkdir()
    with pytest.raises(DataLayoutError, match="no radar composites in this folder"):
        build("hydro_rain", {}, tmp_path).load(tmp_path, "train")


# Plain dBZ in the contest's files


def test_plain_dbz_are_suspected_by_their_scale_and_read_with_the_option(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    data = tmp_path / "data" / "hydro_rain"
    rng = np.random.default_rng(0)
    for part, frames in (("train", 5), ("test", 4)):
        (data / part).mkdir(parents=True)
        for number in range(4):
            dbz = rng.uniform(-32, 60, (120, 120, frames)).astype(np.float32)
            dbz[:9] = -9999
            np.save(data / part / f"{number}.npy", dbz)
    config = tmp_path / "data.yaml"
    config.write_text("data: {competition: hydro_rain, folds: {k: 2}}\n")
    assert main(["prepare", str(config), "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no pixel of any file reaches 0.1 mm/h when 100 are one dBZ" in error
    assert "Set data.options.raw_per_dbz: 1" in error
    config.write_text("data: {competition: hydro_rain, folds: {k: 2}, options: {raw_per_dbz: 1}}\n")
    assert main(["prepare", str(config), "--root", str(tmp_path)]) == 0
    train = build("hydro_rain", {"raw_per_dbz": 1}, data).load(data, "train")
    raw = np.load(data / "train" / "0.npy")
    np.testing.assert_array_equal(train.valid[0][..., 0], raw[..., 4] != -9999)
    expected = np.where(raw[..., 4] > 0, (10 ** (raw[..., 4].astype(float) / 10) / 200) ** 0.625, 0)
    np.testing.assert_allclose(train.targets[0][..., 0], expected, rtol=1e-4)
