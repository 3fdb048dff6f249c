"""Sea-ice concentration in NetCDF: the layouts that NSIDC publishes, a second reader, gaps, and what is refused."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from skyfold.competition import build
from skyfold.competitions.arctic_sea_ice.cadence import MONTHLY, WEEKLY
from skyfold.competitions.arctic_sea_ice.ice_files import read_series
from skyfold.competitions.arctic_sea_ice.ice_frames import COAST, LAND, MISSING, POLE_HOLE
from skyfold.competitions.arctic_sea_ice.netcdf_files import read_netcdf
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.errors import ConfigError, DataLayoutError

h5netcdf = pytest.importorskip("h5netcdf", reason="files in NetCDF need h5netcdf")
xarray = pytest.importorskip("xarray", reason="the second reader is xarray")
pytest.importorskip("pyfive", reason="files in NetCDF need pyfive")

from netcdf_listing import write_listing  # noqa: E402

GRID = (12, 9)
EPOCHS = {"1970": np.datetime64("1970-01-01"), "1601": np.datetime64("1601-01-01")}

# NSIDC-0051 version 2; 0081 differs in the satellites.
NSIDC_0051 = """
netcdf NSIDC0051_SEAICE_PS_N25km_197811_v2.0 {
dimensions:
    x = 304 ;
    y = 448 ;
    time = UNLIMITED ; // (1 currently)
variables:
    char crs ;
        crs:grid_mapping_name = "polar_stereographic" ;
        crs:straight_vertical_longitude_from_pole = -45. ;
        crs:false_easting = 0. ;
        crs:false_northing = 0. ;
        crs:latitude_of_projection_origin = 90. ;
        crs:standard_parallel = 70. ;
        crs:long_name = "NSIDC_NH_PolarStereo_25km" ;
        crs:longitude_of_prime_meridian = 0. ;
        crs:semi_major_axis = 6378273. ;
        crs:inverse_flattening = 298.279411123064 ;
        crs:proj4text = "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +k=1 +a=6378273 +b=6356889.449 +units=m" ;
    double x(x) ;
        x:standard_name = "projection_x_coordinate" ;
        x:units = "meters" ;
    double y(y) ;
        y:standard_name = "projection_y_coordinate" ;
        y:units = "meters" ;
    double time(time) ;
        time:standard_name = "time" ;
        time:long_name = "ANSI date" ;
        time:calendar = "standard" ;
        time:units = "days since 1970-01-01" ;
        time:axis = "T" ;
    ubyte N07_ICECON(time, y, x) ;
        N07_ICECON:standard_name = "sea_ice_area_fraction" ;
        N07_ICECON:long_name = "Sea Ice Concentration" ;
        N07_ICECON:units = "1" ;
        N07_ICECON:scale_factor = 0.004 ;
        N07_ICECON:add_offset = 0. ;
        N07_ICECON:valid_range = 0UB, 250UB ;
        N07_ICECON:flag_values = 251UB, 252UB, 253UB, 254UB, 255UB ;
        N07_ICECON:flag_meanings = "pole_hole_mask unused coast land missing" ;
        N07_ICECON:grid_mapping = "crs" ;
}
"""
G02202_V4 = """
netcdf seaice_conc_monthly_nh_197811_n07_v04r00 {
dimensions:
    tdim = UNLIMITED ; // (1 currently)
    y = 448 ;
    x = 304 ;
variables:
    ubyte cdr_seaice_conc_monthly(tdim, y, x) ;
        cdr_seaice_conc_monthly:_FillValue = 255UB ;
        cdr_seaice_conc_monthly:long_name = "NOAA/NSIDC CDR of Passive Microwave Monthly NH Sea Ice Concentration" ;
        cdr_seaice_conc_monthly:standard_name = "sea_ice_area_fraction" ;
        cdr_seaice_conc_monthly:units = "1" ;
        cdr_seaice_conc_monthly:valid_range = 0UB, 100UB ;
        cdr_seaice_conc_monthly:flag_values = 251UB, 252UB, 253UB, 254UB, 255UB ;
        cdr_seaice_conc_monthly:flag_meanings = "pole_hole lakes coastal land_mask missing_data" ;
        cdr_seaice_conc_monthly:scale_factor = 0.01f ;
        cdr_seaice_conc_monthly:add_offset = 0.f ;
        cdr_seaice_conc_monthly:grid_mapping = "projection" ;
    char projection ;
        projection:grid_mapping_name = "polar_stereographic" ;
    double time(tdim) ;
        time:standard_name = "time" ;
        time:units = "days since 1601-01-01 00:00:00" ;
        time:calendar = "gregorian" ;
    float xgrid(x) ;
        xgrid:units = "meters" ;
    float ygrid(y) ;
        ygrid:units = "meters" ;
}
"""
G02202_V5 = """
netcdf sic_psn25_197811_n07_v05r00 {
dimensions:
    time = UNLIMITED ; // (1 currently)
    y = 448 ;
    x = 304 ;
variables:
    double time(time) ;
        time:long_name = "ANSI date" ;
        time:axis = "T" ;
        time:coverage_content_type = "coordinate" ;
        time:standard_name = "time" ;
        time:units = "days since 1970-01-01 00:00:00" ;
        time:calendar = "standard" ;
    int crs ;
        crs:grid_mapping_name = "polar_stereographic" ;
    ubyte cdr_seaice_conc_monthly(time, y, x) ;
        cdr_seaice_conc_monthly:_FillValue = 255UB ;
        cdr_seaice_conc_monthly:long_name = "NOAA/NSIDC CDR of Passive Microwave Monthly NH Sea Ice Concentration" ;
        cdr_seaice_conc_monthly:standard_name = "sea_ice_area_fraction" ;
        cdr_seaice_conc_monthly:coverage_content_type = "image" ;
        cdr_seaice_conc_monthly:units = "1" ;
        cdr_seaice_conc_monthly:valid_range = 0UB, 100UB ;
        cdr_seaice_conc_monthly:grid_mapping = "crs" ;
        cdr_seaice_conc_monthly:scale_factor = 0.01f ;
        cdr_seaice_conc_monthly:add_offset = 0.f ;

group: cdr_supplementary {
    variables:
    ubyte surface_type_mask(time, y, x) ;
        surface_type_mask:long_name = "nh_surfacetype" ;
        surface_type_mask:flag_values = 50UB, 75UB, 100UB, 200UB, 250UB ;
        surface_type_mask:flag_meanings = "ocean lake polehole_mask coast land" ;
        surface_type_mask:grid_mapping = "crs" ;
    }
}
"""
NAMES = {
    "0051": "NSIDC0051_SEAICE_PS_N25km_{month}_v2.0.nc",
    "v4": "seaice_conc_monthly_nh_{month}_n07_v04r00.nc",
    "v5": "sic_psn25_{month}_n07_v05r00.nc",
}
VARIABLES = {"0051": "N07_ICECON", "v4": "cdr_seaice_conc_monthly", "v5": "cdr_seaice_conc_monthly"}


def write_months(
    folder: Path, product: str, months: np.ndarray, codes: np.ndarray, name: str = "", edit: Callable = str
) -> Path:
    """One file of frames (T, H, W) in the codes that NSIDC-0051 has; the other products have whole percents."""
    listing = {"0051": NSIDC_0051, "v4": G02202_V4, "v5": G02202_V5}[product]
    epoch = EPOCHS["1601" if product == "v4" else "1970"]
    values = {"time": (months.astype("datetime64[D]") - epoch).astype(float)}
    percents = np.where(codes <= 250, np.floor(codes / 2.5), codes).astype(np.uint8)
    values[VARIABLES[product]] = {"0051": codes, "v4": percents}.get(product, np.where(codes <= 250, percents, 255))
    if product == "v5":
        mask = np.full(codes.shape, 50, np.uint8)
        for code, surface in ((POLE_HOLE, 100), (COAST, 200), (LAND, 250)):
            mask[codes == code] = surface
        values["cdr_supplementary/surface_type_mask"] = mask
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or NAMES[product].format(month=str(months[0]).replace("-", "")))
    write_listing(path, edit(listing), values)
    return path


every_product = pytest.mark.parametrize("product", ["0051", "v4", "v5"])


@pytest.fixture
def codes() -> np.ndarray:
    """Five months with every flag, and whole percents of ice, which all products can hold."""
    made = procedural_codes(np.datetime64("2000-01") + np.arange(5), GRID, seed=0)
    made = np.where(made <= 250, made // 5 * 5, made).astype(np.uint8)
    made[2, 0, 0], made[:, 6, 4] = MISSING, POLE_HOLE
    assert {POLE_HOLE, COAST, LAND, MISSING} <= set(made.ravel().tolist())
    return made


MONTHS = np.datetime64("2000-01") + np.arange(5)


@every_product
def test_files_of_one_month_and_of_several_are_merged_to_the_same_frames(tmp_path, codes, product):
    for rows in ([3], [0, 1], [4], [2]):
        name = "" if len(rows) == 1 else f"of_{MONTHS[0]}_to_{MONTHS[1]}_v1.nc"
        write_months(tmp_path / f"part_{rows[0]}", product, MONTHS[rows], codes[rows], name)
    times, read = read_series(tmp_path, MONTHLY, GRID)
    np.testing.assert_array_equal(times, MONTHS)
    np.testing.assert_array_equal(read, codes)


@every_product
def test_xarray_reads_the_same_concentrations_and_times(tmp_path, codes, product):
    path = write_months(tmp_path, product, MONTHS[:1], codes[2:3])
    times, read = read_netcdf(path, MONTHLY, GRID)
    since_1601 = xarray.coders.CFDatetimeCoder(time_unit="s")
    with xarray.open_dataset(path, engine="h5netcdf", decode_times=since_1601) as data:
        found = data[VARIABLES[product]].to_numpy()
        np.testing.assert_array_equal(data["time"].to_numpy().astype("datetime64[M]"), times)
    ice = read <= 250
    np.testing.assert_allclose(read[ice] / 250, found[ice], atol=1e-6)
    assert not ((found >= 0) & (found <= 1))[~ice].any()  # NaN, or a flag times the scale
    if product == "v5":
        with xarray.open_dataset(path, engine="h5netcdf", group="cdr_supplementary") as data:
            surface = data["surface_type_mask"].to_numpy()
        assert [set(read[surface == kind].tolist()) for kind in (100, 200, 250)] == [{POLE_HOLE}, {COAST}, {LAND}]


def test_a_percent_is_two_and_a_half_units_and_halves_are_rounded_up(tmp_path):
    frame = np.full((1, *GRID), 0, np.uint8)
    path = write_months(tmp_path, "v4", MONTHS[:1], frame)
    with h5netcdf.File(path, "a") as file:
        file["cdr_seaice_conc_monthly"][0, 0, :5] = [1, 37, 93, 100, 252]  # the last one a lake
    _, read = read_netcdf(path, MONTHLY, GRID)
    assert read[0, 0, :5].tolist() == [3, 93, 233, 250, LAND]


def test_the_pole_hole_of_version_5_is_one_although_the_file_has_ice_in_it(tmp_path, codes):
    path = write_months(tmp_path, "v5", MONTHS[:1], codes[:1])
    with h5netcdf.File(path, "a") as file:
        file["cdr_seaice_conc_monthly"][...] = np.full((1, *GRID), 88, np.uint8)
    _, read = read_netcdf(path, MONTHLY, GRID)
    assert set(read[codes[:1] == POLE_HOLE].tolist()) == {POLE_HOLE}
    assert set(read[codes[:1] <= 250].tolist()) == {220}


def test_version_5_without_its_mask_cannot_tell_land_and_is_refused(tmp_path, codes):
    path = write_months(tmp_path, "v5", MONTHS[:1], codes[:1])
    with h5py.File(path, "r+") as file:
        del file["cdr_supplementary"]
    with pytest.raises(DataLayoutError, match="no surface_type_mask beside it, so that land looks like missing data"):
        read_netcdf(path, MONTHLY, GRID)


def test_of_two_satellites_the_later_one_is_read(tmp_path, codes):
    both = NSIDC_0051[: NSIDC_0051.index("    ubyte")].replace("{", "{", 1)
    variable = NSIDC_0051[NSIDC_0051.index("    ubyte") :]
    days = {"time": (MONTHS[:1].astype("datetime64[D]") - EPOCHS["1970"]).astype(float)}
    listing = both + variable.replace("}", "") + variable.replace("N07", "F08")
    write_listing(tmp_path / "a.nc", listing, {**days, "N07_ICECON": codes[:1] * 0, "F08_ICECON": codes[:1]})
    np.testing.assert_array_equal(read_netcdf(tmp_path / "a.nc", MONTHLY, GRID)[1], codes[:1])


def test_weeks_are_read_too(tmp_path, codes):
    weeks = np.datetime64("2017-01-02") + 7 * np.arange(5)
    for week, frame in zip(weeks, codes, strict=True):
        write_months(tmp_path, "0051", np.array([week]), frame[None])
    times, read = read_series(tmp_path, WEEKLY, GRID)
    np.testing.assert_array_equal(times, weeks)
    np.testing.assert_array_equal(read, codes)


# The gap of the satellites

YEARS = np.datetime64("1984-01") + np.arange(84)  # to 1990-12
ABSENT = np.isin(YEARS, np.array(["1987-12", "1988-01"], dtype="datetime64[M]"))


@pytest.fixture(scope="module")
def record() -> np.ndarray:
    made = procedural_codes(YEARS, GRID, seed=1)
    return np.where(made <= 250, made // 5 * 5, made).astype(np.uint8)


@pytest.fixture(scope="module", params=["absent", "empty"])
def gap(request, tmp_path_factory, record) -> Path:
    """Files without the two months, or version 5, which has them without a measured cell."""
    folder = tmp_path_factory.mktemp("gap")
    if request.param == "absent":
        write_months(folder, "0051", YEARS[~ABSENT], record[~ABSENT], "all.nc")
    else:
        frames = np.where(ABSENT[:, None, None] & (record <= 250), MISSING, record).astype(np.uint8)
        write_months(folder, "v5", YEARS, frames, "all.nc")
    return folder


def test_the_gap_of_1987_is_named_with_both_remedies(gap):
    with pytest.raises(DataLayoutError) as refused:
        read_series(gap, MONTHLY, GRID)
    assert "1987-12 to 1988-01 are missing, when no satellite measured: 1988-02 follows 1987-11" in str(refused.value)
    assert "data.options.since" in str(refused.value)
    assert "data.options.fill_gaps: climatology" in str(refused.value)


def test_it_is_filled_from_earlier_years_only_when_asked_and_never_scored(gap, record):
    contest = build("arctic_sea_ice", {"grid": list(GRID), "fill_gaps": "climatology"})
    train = contest.load(gap, "train")
    assert train.ids.tolist() == ["1984-12", "1985-12", "1986-12", "1987-12", "1988-12", "1989-12"]
    known = train.inputs[3]  # 1984-01 to 1987-12
    decembers = known[[11, 23, 35]].astype(float)
    np.testing.assert_array_equal(known[47], np.rint(decembers.mean(axis=0)))
    valid = train.valid[2]  # of the months of 1987
    assert not valid[..., 11].any()
    np.testing.assert_array_equal(valid[..., 10], record[46] <= 250)
    text = contest.check(gap)
    assert "2 of 84 frames filled from earlier years, which count in no score: 1987-12, 1988-01" in text
    assert "Are the files whole?" not in text


def test_nothing_later_reaches_a_filled_frame(tmp_path, record):
    options = {"grid": list(GRID), "fill_gaps": "climatology"}
    found, late = [], (YEARS.astype(int) >= ABSENT.nonzero()[0][1] + YEARS[0].astype(int))[:, None, None]
    for name, frames in (("a", record), ("b", np.where(late, 5, record))):
        write_months(tmp_path / name, "0051", YEARS[~ABSENT], frames[~ABSENT].astype(np.uint8), "all.nc")
        found.append(build("arctic_sea_ice", options).load(tmp_path / name, "train").inputs[3])
    np.testing.assert_array_equal(*found)


def test_a_gap_of_more_than_a_year_is_refused_even_so(tmp_path, record):
    kept = np.delete(np.arange(84), slice(25, 38))
    write_months(tmp_path, "0051", YEARS[kept], record[kept], "all.nc")
    with pytest.raises(DataLayoutError, match="1986-02 to 1987-02 are missing: 1987-03 follows 1986-01"):
        read_series(tmp_path, MONTHLY, GRID, fill_gaps=True)


# What is refused


def swapped(old: str, new: str) -> Callable[[str], str]:
    def edit(listing: str) -> str:
        assert old in listing
        return listing.replace(old, new)

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (swapped("scale_factor = 0.004", "scale_factor = 0.4"), "scale_factor 0.4 and add_offset 0.0, expected 0.004"),
        (swapped("scale_factor = 0.004", 'scale_factor = "x"'), "scale_factor x and add_offset"),
        (swapped("add_offset = 0.", "add_offset = 1."), "add_offset 1.0, expected 0.004 and 0"),
        (swapped("ubyte N07", "float N07"), "holds float32, expected bytes"),
        (swapped("251UB, 252UB", "251UB"), "4 flag_values and 5 flag_meanings, expected"),
        (swapped("days since 1970-01-01", "months since 1970-01-01"), "time is in 'months since 1970-01-01'"),
        (swapped("days since 1970-01-01", "days since 1970-02-31"), "which is no date"),
        (swapped('"standard"', '"360_day"'), "calendar '360_day', expected days, hours"),
    ],
)
def test_a_file_that_is_not_as_published_is_refused_by_name(tmp_path, codes, edit, named):
    path = write_months(tmp_path, "0051", MONTHS[:1], codes[:1], edit=edit)
    with pytest.raises(DataLayoutError) as refused:
        read_netcdf(path, MONTHLY, GRID)
    assert str(refused.value).startswith(f"{path}: ")
    assert named in str(refused.value)


def test_unknown_codes_other_grids_and_other_months_are_named(tmp_path, codes):
    unknown = codes[:1].copy()
    unknown[0, 3, 4] = 252
    path = write_months(tmp_path, "0051", MONTHS[:1], unknown)
    with pytest.raises(DataLayoutError, match="unknown code 252 at row 3, column 4 of frame 0 of N07_ICECON"):
        read_netcdf(path, MONTHLY, GRID)
    with pytest.raises(DataLayoutError, match=r"shape \(1, 12, 9\), expected \(frames, 448, 304\)"):
        read_netcdf(path, MONTHLY, (448, 304))
    path = write_months(tmp_path, "v5", MONTHS[:1], codes[:1], "sic_psn25_199912_n07_v05r00.nc")
    with pytest.raises(DataLayoutError, match="the name tells 1999-12, the file 2000-01"):
        read_netcdf(path, MONTHLY, GRID)
    path = write_months(tmp_path, "0051", np.array(["2000-01-03"], dtype="datetime64[D]"), codes[:1])
    with pytest.raises(DataLayoutError, match="not that of a monthly file: expected yyyymm, got '20000103'"):
        read_netcdf(path, MONTHLY, GRID)
    write_months(tmp_path / "twice", "0051", MONTHS[:1], codes[:1])
    write_months(tmp_path / "twice" / "copy", "0051", MONTHS[:1], codes[:1])
    with pytest.raises(DataLayoutError, match=r"2000-01 is there twice: .*twice/NSIDC.* and .*twice/copy/NSIDC"):
        read_series(tmp_path / "twice", MONTHLY, GRID)


def test_a_file_of_days_without_data_has_no_concentration_and_is_named(tmp_path):
    values = {name: np.zeros(3) for name in ("time", "y", "x")}
    write_listing(tmp_path / "a.nc", NSIDC_0051[: NSIDC_0051.index("    ubyte")], values)
    with pytest.raises(DataLayoutError, match="no variable <satellite>_ICECON or cdr_seaice_conc_monthly, but crs, x"):
        read_netcdf(tmp_path / "a.nc", MONTHLY, GRID)


def test_a_variable_that_claims_more_than_the_file_holds_is_refused_unread(tmp_path):
    path = tmp_path / "a.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 1_000_000, "y": GRID[0], "x": GRID[1]}
        made = file.create_variable("F17_ICECON", ("time", "y", "x"), "u1", chunks=(1, *GRID))
        made.attrs["scale_factor"] = 0.004
    with pytest.raises(DataLayoutError, match="claims 108000000 bytes, more than the file can hold"):
        read_netcdf(path, MONTHLY, GRID)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"external": [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]}, "N07_ICECON has no data in this file"),
        ({"chunks": (1, *GRID)}, "N07_ICECON has no data in this file"),
        (
            {"chunks": (1, *GRID), "compression": "lzf", "data": np.zeros((1, *GRID), np.uint8)},
            "repack it: h5repack -f GZIP=4",
        ),
    ],
)
def test_data_in_another_file_or_packed_by_another_library_are_refused(tmp_path, codes, options, named):
    path = write_months(tmp_path, "0051", MONTHS[:1], codes[:1])
    with h5py.File(path, "r+") as file:
        del file["N07_ICECON"]
        file.create_dataset("N07_ICECON", (1, *GRID), "u1", **options).attrs["scale_factor"] = 0.004
    with pytest.raises(DataLayoutError, match=named):
        read_netcdf(path, MONTHLY, GRID)


def test_a_chunk_that_would_unpack_to_far_more_than_it_should_is_refused_packed(tmp_path, codes):
    path = write_months(tmp_path, "0051", MONTHS[:1], codes[:1])
    with h5py.File(path, "r+") as file:
        file["N07_ICECON"].id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(20_000_000)))
    with pytest.raises(DataLayoutError, match="N07_ICECON has a chunk that unpacks to too much"):
        read_netcdf(path, MONTHLY, GRID)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"CDF\x01" + bytes(90), "a NetCDF-3 file. Convert it: nccopy -k nc4"),
        (b"", "not a whole HDF5 or NetCDF-4 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "stored in a way that is not read"),
        (b"\x89HDF\r\n\x1a\n\x02\x08\x08" + bytes(90), "not a whole HDF5 or NetCDF-4 file"),
    ],
)
def test_what_is_no_netcdf_4_file_is_refused(tmp_path, data, named):
    path = tmp_path / "a.nc"
    path.write_bytes(data)
    with pytest.raises(DataLayoutError) as refused:
        read_netcdf(path, MONTHLY, GRID)
    assert f"{path}: {named}" in str(refused.value)


def test_without_the_packages_the_extra_is_named(tmp_path, codes, monkeypatch):
    path = write_months(tmp_path, "0051", MONTHS[:1], codes[:1])
    monkeypatch.setitem(sys.modules, "pyfive", None)
    with pytest.raises(ConfigError, match=r"pip install -e \.\[netcdf\]"):
        read_netcdf(path, MONTHLY, GRID)
