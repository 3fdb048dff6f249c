"""Sea-ice files of three kinds are read to the same frames; what is wrong with them is said by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skyfold.competitions.arctic_sea_ice.ice_files import (
    MONTHLY,
    WEEKLY,
    Cadence,
    read_contest,
    read_nsidc,
    read_series,
)
from skyfold.competitions.arctic_sea_ice.ice_frames import COAST, LAND, MISSING, POLE_HOLE, without_flags
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.errors import DataLayoutError

GRID = (12, 9)


def months(count: int, first: str = "2000-01") -> np.ndarray:
    return np.datetime64(first, "M") + np.arange(count)


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


@pytest.fixture
def codes() -> np.ndarray:
    made = procedural_codes(months(5), GRID, seed=0)
    made[2, 0, 0] = MISSING
    return made


@pytest.mark.parametrize("write", [write_contest, write_nsidc, write_npz])
def test_three_kinds_of_files_hold_the_same_frames(tmp_path, codes, write):
    write(tmp_path / "ice", codes, months(5))
    series = read_series(tmp_path / "ice", MONTHLY, GRID)
    np.testing.assert_array_equal(series.codes, codes)
    np.testing.assert_array_equal(series.times, months(5))


def test_files_are_put_in_the_order_of_their_months(tmp_path, codes):
    turned = np.array([3, 0, 4, 2, 1])
    write_contest(tmp_path / "ice", codes[turned], months(5)[turned])
    np.testing.assert_array_equal(read_series(tmp_path / "ice", MONTHLY, GRID).codes, codes)


def test_weeks_follow_each_other_by_seven_days(tmp_path, codes):
    weeks = np.datetime64("2017-01-02") + 7 * np.arange(5)
    write_npz(tmp_path / "ice", codes, weeks, name="weekly_all.npz")
    np.testing.assert_array_equal(read_series(tmp_path / "ice", WEEKLY, GRID).times, weeks)


@pytest.mark.parametrize("write", [write_contest, write_nsidc, write_npz])
def test_a_missing_frame_is_named(tmp_path, codes, write):
    kept = np.array([0, 1, 3, 4])
    write(tmp_path / "ice", codes[kept], months(5)[kept])
    with pytest.raises(DataLayoutError, match="2000-03 is missing: 2000-04 follows 2000-02"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_frames_behind_a_break_may_be_taken_alone(tmp_path, codes):
    kept = np.array([0, 1, 3, 4])
    write_npz(tmp_path / "ice", codes[kept], months(5)[kept])
    series = read_series(tmp_path / "ice", MONTHLY, GRID, since=np.datetime64("2000-04"))
    np.testing.assert_array_equal(series.codes, codes[3:])


def test_a_frame_that_is_there_twice_is_named(tmp_path, codes):
    times = months(5)
    times[3] = times[2]
    write_npz(tmp_path / "ice", codes, times)
    with pytest.raises(DataLayoutError, match="2000-03 is there twice"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_another_grid_is_refused_in_each_kind(tmp_path, codes):
    for write in (write_contest, write_nsidc, write_npz):
        folder = tmp_path / write.__name__
        write(folder, codes, months(5))
        with pytest.raises(DataLayoutError, match="expected"):
            read_series(folder, MONTHLY, (9, 12))


def test_a_nsidc_header_of_another_grid_is_refused(tmp_path, codes):
    write_nsidc(tmp_path / "ice", codes[:1], months(1))
    path = next((tmp_path / "ice").glob("*.bin"))
    with pytest.raises(DataLayoutError, match="header says 12 x 9 cells, expected 9 x 12"):
        read_nsidc(path, (9, 12))


def test_a_nsidc_file_of_the_other_hemisphere_is_refused_by_its_size(tmp_path):
    path = tmp_path / "nt_200001_f13_v1.1_s.bin"
    path.write_bytes(bytes(300 + 332 * 316))
    with pytest.raises(DataLayoutError, match="105212 bytes, expected 300 of header and one for each of 448 x 304"):
        read_nsidc(path, (448, 304))


def test_an_unknown_code_is_named_with_its_place(tmp_path, codes):
    codes[1, 3, 4] = 252
    for write in (write_nsidc, write_npz):
        folder = tmp_path / write.__name__
        write(folder, codes, months(5))
        with pytest.raises(DataLayoutError, match="unknown code 252 at row 3, column 4"):
            read_series(folder, MONTHLY, GRID)


def test_nan_in_a_contest_file_is_named_with_its_place(tmp_path):
    planes = np.zeros((*GRID, 5))
    planes[2, 7, 0] = np.nan
    np.save(tmp_path / "a.npy", planes)
    with pytest.raises(DataLayoutError, match=r"a.npy: NaN or infinite at row 2, column 7, plane 0"):
        read_contest(tmp_path / "a.npy", GRID)


@pytest.mark.parametrize("value", [-1, 251, 12.5])
def test_a_concentration_that_cannot_be_is_named(tmp_path, value):
    planes = np.zeros((*GRID, 5), dtype=np.float32)
    planes[2, 7, 0] = value
    np.save(tmp_path / "a.npy", planes)
    with pytest.raises(DataLayoutError, match=f"a.npy: {value} at row 2, column 7 without a flag"):
        read_contest(tmp_path / "a.npy", GRID)


def test_a_contest_file_that_wants_pickle_is_refused_and_not_run(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataLayoutError, match="wants pickle"):
        read_contest(tmp_path / "a.npy", GRID)


def test_a_contest_file_that_was_cut_off_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((*GRID, 5)))
    checksum = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(checksum[:-1])
    with pytest.raises(DataLayoutError, match=r"a\.npy: not a whole array"):
        read_contest(tmp_path / "a.npy", GRID)


def test_a_contest_file_whose_header_is_damaged_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((*GRID, 5)))
    checksum = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(checksum.replace(b", 5)", b", 5 "))
    with pytest.raises(DataLayoutError, match=r"a\.npy: not a whole array"):
        read_contest(tmp_path / "a.npy", GRID)


def test_an_archive_that_is_none_or_damaged_is_refused(tmp_path):
    path = tmp_path / "monthly_x.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(5))
    with pytest.raises(DataLayoutError, match=r"monthly_x\.npz: expected the arrays sic"):
        read_series(tmp_path, MONTHLY, GRID)
    np.savez_compressed(path, sic=np.random.default_rng(0).integers(0, 250, (40, *GRID)).astype(np.uint8), yyyymm=[1])
    checksum = bytearray(path.read_bytes())
    checksum[len(checksum) // 2 : len(checksum) // 2 + 100] = b"x" * 100
    path.write_bytes(checksum)
    with pytest.raises(DataLayoutError, match=r"monthly_x\.npz: expected the arrays sic"):
        read_series(tmp_path, MONTHLY, GRID)


def test_every_unfit_file_is_listed(tmp_path, codes):
    write_contest(tmp_path / "ice", codes, months(5))
    (tmp_path / "ice" / "monthly_train" / "2000-02.npy").unlink()
    (tmp_path / "ice" / "monthly_train" / "2000-04.npy").write_bytes(b"")
    with pytest.raises(DataLayoutError, match=r"2 of 5 monthly files are unfit(.|\n)*2000-02(.|\n)*2000-04"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_a_file_that_is_named_for_two_months_is_refused(tmp_path, codes):
    write_contest(tmp_path / "ice", codes, months(5))
    table = tmp_path / "ice" / "monthly_train.csv"
    table.write_text(table.read_text().replace("2000-04.npy", "2000-02.npy"))
    with pytest.raises(DataLayoutError, match=r"line 5: '2000-02\.npy' stands in line 3, too"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_a_table_without_frames_is_refused(tmp_path, codes):
    write_contest(tmp_path / "ice", codes[:0], months(0))
    with pytest.raises(DataLayoutError, match="not a single monthly frame"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_a_single_month_beside_a_series_is_refused(tmp_path, codes):
    np.savez(tmp_path / "monthly_all.npz", sic=codes, yyyymm=200001)
    with pytest.raises(DataLayoutError, match=r"yyyymm has shape \(\), expected one for each frame"):
        read_series(tmp_path, MONTHLY, GRID)


def test_two_kinds_of_files_in_one_folder_are_refused(tmp_path, codes):
    write_contest(tmp_path / "ice", codes, months(5))
    np.savez(tmp_path / "ice" / "monthly_all.npz", sic=codes)
    with pytest.raises(DataLayoutError, match="more than one kind"):
        read_series(tmp_path / "ice", MONTHLY, GRID)


def test_a_month_that_does_not_exist_is_named(tmp_path, codes):
    write_npz(tmp_path / "ice", codes, months(5))
    stamps = np.array([200001, 200002, 200003, 200004, 200013])
    np.savez(tmp_path / "ice" / "monthly_all.npz", sic=codes, yyyymm=stamps)
    with pytest.raises(DataLayoutError, match="yyyymm, row 4"):
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
    assert without_flags(codes, "median")[1, 4, 4] == 200


def test_missing_cells_are_as_they_were_a_year_before():
    """No open water is made up where the sensor saw nothing."""
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
