"""Sea-ice files of three kinds are read to the same frames; what is wrong with them is said by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skyfold.competitions.arctic_sea_ice.cadence import MONTHLY, WEEKLY, Cadence
from skyfold.competitions.arctic_sea_ice.ice_files import read_contest, read_nsidc, read_series
from skyfold.competitions.arctic_sea_ice.ice_frames import COAST, LAND, MISSING, POLE_HOLE, without_flags
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.errors import DataLayoutError

GRID = (12, 9)
MONTHS = np.datetime64("2000-01", "M") + np.arange(5)


def write_contest(folder: Path, codes: np.ndarray, times: np.ndarray, cadence: Cadence = MONTHLY) -> None:
    files = folder / f"{cadence.name}_train"
    files.mkdir(parents=True)
    lines = [f"{cadence.file_column},{cadence.column}"]
    for time, frame in zip(times, codes, strict=True):
        flags = [frame == code for code in (POLE_HOLE, COAST, LAND, MISSING)]
        np.save(files / f"{time}.npy", np.stack([np.where(frame <= 250, frame, 0), *flags], axis=-1).astype(np.uint8))
        lines.append(f"{time}.npy,{time}")
    (folder / f"{cadence.name}_train.csv").write_text("\n".join(lines) + "\n")


def write_nsidc(folder: Path, codes: np.ndarray, times: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for time, frame in zip(times, codes, strict=True):
        header = f"00255\0{frame.shape[1]:5d}\0{frame.shape[0]:5d}\0".encode().ljust(300, b" ")
        (folder / f"nt_{str(time).replace('-', '')}_f13_v1.1_n.bin").write_bytes(header + frame.tobytes())


def write_npz(folder: Path, codes: np.ndarray, times: np.ndarray, name: str = "monthly_all.npz") -> None:
    folder.mkdir(parents=True)
    stamps = np.array([int(str(time).replace("-", "")) for time in times], dtype=np.int32)
    np.savez(folder / name, sic=codes, **{"yyyymm" if name.startswith("monthly") else "week_start": stamps})


every_kind = pytest.mark.parametrize("write", [write_contest, write_nsidc, write_npz])


@pytest.fixture
def codes() -> np.ndarray:
    made = procedural_codes(MONTHS, GRID, seed=0)
    made[2, 0, 0] = MISSING
    return made


@every_kind
def test_three_kinds_of_files_hold_the_same_frames_in_the_order_of_their_months_of_one_grid(tmp_path, codes, write):
    order = np.arange(5) if write is write_npz else np.array([3, 0, 4, 2, 1])
    write(tmp_path / "ice", codes[order], MONTHS[order])
    times, read = read_series(tmp_path / "ice", MONTHLY, GRID)
    np.testing.assert_array_equal(read, codes)
    np.testing.assert_array_equal(times, MONTHS)
    with pytest.raises(DataLayoutError, match="expected"):
        read_series(tmp_path / "ice", MONTHLY, (9, 12))


def test_weeks_follow_each_other_by_seven_days(tmp_path, codes):
    weeks = np.datetime64("2017-01-02") + 7 * np.arange(5)
    write_npz(tmp_path / "ice", codes, weeks, name="weekly_all.npz")
    np.testing.assert_array_equal(read_series(tmp_path / "ice", WEEKLY, GRID)[0], weeks)


@every_kind
def test_a_missing_frame_is_named_and_frames_after_it_may_be_read(tmp_path, codes, write):
    kept = np.array([0, 1, 3, 4])
    write(tmp_path / "ice", codes[kept], MONTHS[kept])
    with pytest.raises(DataLayoutError, match="2000-03 is missing: 2000-04 follows 2000-02"):
        read_series(tmp_path / "ice", MONTHLY, GRID)
    _, read = read_series(tmp_path / "ice", MONTHLY, GRID, since=np.datetime64("2000-04"))
    np.testing.assert_array_equal(read, codes[3:])


def test_a_nsidc_file_of_another_grid_or_of_a_day_is_refused(tmp_path, codes):
    write_nsidc(tmp_path / "ice", codes[:1], MONTHS[:1])
    with pytest.raises(DataLayoutError, match="header says 12 x 9 cells, expected 9 x 12"):
        read_nsidc(next((tmp_path / "ice").glob("*.bin")), (9, 12))
    southern = tmp_path / "nt_200001_f13_v1.1_s.bin"
    southern.write_bytes(bytes(300 + 332 * 316))
    with pytest.raises(DataLayoutError, match="105212 bytes, expected 300 of header and one for each of 448 x 304"):
        read_nsidc(southern, (448, 304))
    write_nsidc(tmp_path / "day", codes[:1], np.array(["2000-01-01"], dtype="datetime64[D]"))
    with pytest.raises(DataLayoutError, match=r"not the times of monthly frames(.|\n)*expected yyyymm, got '20000101'"):
        read_series(tmp_path / "day", MONTHLY, GRID)


@pytest.mark.parametrize("write", [write_nsidc, write_npz])
def test_an_unknown_code_is_named_with_its_place(tmp_path, codes, write):
    codes[1, 3, 4] = 252
    write(tmp_path / "ice", codes, MONTHS)
    with pytest.raises(DataLayoutError, match="unknown code 252 at row 3, column 4"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def planes(value: float = 0) -> np.ndarray:
    made = np.zeros((*GRID, 5), dtype=np.float32)
    made[2, 7, 0] = value
    return made


@pytest.mark.parametrize(
    ("array", "damage", "named"),
    [
        (planes(np.nan), bytes, "NaN or infinite at row 2, column 7, plane 0"),
        *((planes(value), bytes, f"{value} at row 2, column 7 without a flag") for value in (-1, 251, 12.5)),
        (planes(), lambda whole: whole[:-1], r"not a complete \.npy file"),
        (planes(), lambda whole: whole.replace(b", 5)", b", 5 "), r"not a complete \.npy file"),
        (np.array([{"a": 1}]), bytes, r"not a complete \.npy file of numbers \(.*Python objects are not loaded"),
    ],
)
def test_a_contest_file_with_wrong_values_damaged_or_pickled_is_refused(tmp_path, array, damage, named):
    path = tmp_path / "a.npy"
    with pytest.raises(DataLayoutError, match=r"a\.npy: no such file"):
        read_contest(path, GRID)
    np.save(path, array, allow_pickle=True)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataLayoutError, match=rf"a\.npy: {named}"):
        read_contest(path, GRID)


def test_an_archive_that_is_none_or_damaged_is_refused(tmp_path):
    path = tmp_path / "monthly_x.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(5))
    with pytest.raises(DataLayoutError, match=r"monthly_x\.npz: expected an \.npz file with the arrays sic and yyyymm"):
        read_series(tmp_path, MONTHLY, GRID)
    np.savez_compressed(path, sic=np.random.default_rng(0).integers(0, 250, (40, *GRID)).astype(np.uint8), yyyymm=[1])
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 100] = b"x" * 100
    path.write_bytes(damaged)
    with pytest.raises(DataLayoutError, match=r"monthly_x\.npz: expected an \.npz file"):
        read_series(tmp_path, MONTHLY, GRID)


def test_every_file_that_cannot_be_used_is_listed_and_no_file_at_all_refused(tmp_path, codes):
    write_contest(tmp_path / "none", codes[:0], MONTHS[:0])
    with pytest.raises(DataLayoutError, match="not a single monthly frame"):
        read_series(tmp_path / "none", MONTHLY, GRID)
    write_contest(tmp_path / "ice", codes, MONTHS)
    (tmp_path / "ice" / "monthly_train" / "2000-02.npy").unlink()
    (tmp_path / "ice" / "monthly_train" / "2000-04.npy").write_bytes(b"")
    with pytest.raises(DataLayoutError, match=r"files that cannot be read \(2\)(.|\n)*2000-02(.|\n)*2000-04"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("2000-04.npy", "2000-02.npy", r"line 5: '2000-02\.npy' stands in line 3, too"),
        ("2000-04.npy", "../2000-04.npy", r"line 5: '\.\./2000-04\.npy' is not the plain name of a file in monthly_tr"),
        (",2000-04", ",2000", "line 5: expected yyyymm, got '2000'"),
        ("month_file_nm", "file", "column 'month_file_nm' is missing"),
    ],
)
def test_what_is_wrong_with_the_table_of_files_is_named_with_its_line(tmp_path, codes, old, new, named):
    write_contest(tmp_path / "ice", codes, MONTHS)
    table = tmp_path / "ice" / "monthly_train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataLayoutError, match=rf"monthly_train\.csv:(.|\n)*{named}"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


@pytest.mark.parametrize(
    ("months", "named"),
    [
        (200001, r"yyyymm has shape \(\), expected one for each frame"),
        ([200001, 200002], r"sic is uint8 \(5, 12, 9\), expected uint8 \(2, 12, 9\)"),
        ([200001, 200002, 200003, 200004, 200013], "yyyymm, row 4"),
        ([200001, 200002, 200003, 200003, 200005], "2000-03 is there twice"),
    ],
)
def test_months_that_do_not_fit_a_series_are_named(tmp_path, codes, months, named):
    np.savez(tmp_path / "monthly_all.npz", sic=codes, yyyymm=months)
    with pytest.raises(DataLayoutError, match=named):
        read_series(tmp_path, MONTHLY, GRID)


def test_two_kinds_of_files_or_two_series_in_one_folder_are_refused(tmp_path, codes):
    write_npz(tmp_path / "ice", codes, MONTHS)
    np.savez(tmp_path / "ice" / "monthly_more.npz", sic=codes)
    with pytest.raises(DataLayoutError, match=r"2 files monthly_\*\.npz; leave one"):
        read_series(tmp_path / "ice", MONTHLY, GRID)
    (tmp_path / "ice" / "monthly_train.csv").touch()
    with pytest.raises(DataLayoutError, match="more than one kind"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_the_pole_hole_is_filled_with_the_mean_of_its_rim_and_flags_become_zero():
    codes = np.full((2, 9, 9), LAND, dtype=np.uint8)
    codes[:, 2:7, 2:7] = 200
    codes[0, 4, 4] = codes[1, 4, 4] = POLE_HOLE
    codes[1, 2, 2] = MISSING  # in the second frame a cell of the rim is not known
    codes[1, 2, 3] = 152
    filled = without_flags(codes)
    assert filled[0, 4, 4] == 200
    assert filled[1, 4, 4] == round((22 * 200 + 152) / 23)
    assert filled[0, 0, 0] == 0
    assert filled[1, 2, 2] == 200


def test_missing_cells_are_as_they_were_a_year_before():
    codes = np.full((14, 2, 2), 100, dtype=np.uint8)
    codes[1] = 40
    codes[0, 0, 0] = codes[2, 0, 0] = MISSING
    codes[13] = MISSING
    codes[:, 1, 1] = LAND
    codes[13, 1, 1] = MISSING
    filled = without_flags(codes)
    assert filled[0].tolist() == [[0, 100], [100, 0]]
    assert filled[2].tolist() == [[40, 100], [100, 0]]  # in the first year as in the frame before
    assert filled[13].tolist() == [[40, 40], [40, 0]]
    assert without_flags(codes, period=11)[13].tolist() == [[40, 100], [100, 0]]


def test_a_cell_that_is_missing_for_years_is_filled_from_the_same_days():
    """Twenty years: 52 weeks each would be off by 25 days."""
    times = np.datetime64("1995-01-02") + np.arange(1120) * np.timedelta64(7, "D")
    days = (times - times.astype("datetime64[Y]")).astype("timedelta64[D]").astype(float)
    codes = np.rint(125 + 60 * np.cos(2 * np.pi * days / 365.25)).astype(np.uint8)[:, None, None].repeat(4, 2)
    gap = codes.copy()
    gap[60:, 0, 0] = MISSING
    filled = without_flags(gap, WEEKLY.period).astype(int)
    np.testing.assert_array_equal(filled[..., 1:], codes[..., 1:])
    assert np.abs(filled - codes).max() <= 5  # of half a week at most


@pytest.mark.parametrize("climatology", [False, True])
def test_missing_cells_of_months_are_as_a_year_before_which_may_be_filled_itself(climatology):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 251, (60, 5, 4)).astype(np.uint8)
    codes[rng.random(codes.shape) < 0.3] = MISSING
    codes[[3, 30, 31, 55]] = MISSING
    filled = without_flags(codes, climatology=climatology)
    for time in range(12, len(codes)):
        missing = codes[time] == MISSING
        if missing.all() and climatology:
            np.testing.assert_array_equal(filled[time], np.rint(filled[time - 12 :: -12].mean(axis=0)))
        else:
            np.testing.assert_array_equal(filled[time][missing], filled[time - 12][missing])


def test_a_week_without_data_is_filled_from_the_same_days_of_earlier_years():
    times = np.datetime64("1995-01-02") + np.arange(1120) * np.timedelta64(7, "D")
    days = (times - times.astype("datetime64[Y]")).astype("timedelta64[D]").astype(float)
    codes = np.rint(125 + 60 * np.cos(2 * np.pi * days / 365.25)).astype(np.uint8)[:, None, None].repeat(4, 2)
    gap = codes.copy()
    gap[1086:1088] = MISSING
    filled = without_flags(gap, WEEKLY.period, climatology=True)
    assert np.abs(filled.astype(int) - codes).max() <= 2  # 52 weeks a year would be off by 11
