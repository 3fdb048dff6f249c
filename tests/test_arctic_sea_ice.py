"""The sea-ice contest: its files, its dates and folds, and its tables."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from skyfold.competition import Competition, build
from skyfold.competitions.arctic_sea_ice.ice_frames import known_ice
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.config.data import DataConfig
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.forecasting.baselines import mean_of_years
from skyfold.metrics.score_submission import score_submission
from skyfold.pipeline.prepare import prepare
from skyfold.store.folds import folds_of_years
from skyfold.workspace import Workspace

GRID = (16, 12)
OPTIONS = {"grid": list(GRID)}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "ice"
    build("arctic_sea_ice", OPTIONS).write_sample(folder, years=8)  # type: ignore[misc]
    return folder


@pytest.fixture
def competition(sample) -> Competition:
    return build("arctic_sea_ice", OPTIONS, sample)


def test_a_sample_is_a_december_and_the_twelve_months_after_it(competition, sample):
    samples = competition.load(sample, "train")
    assert samples.ids.tolist() == [f"{year}-12" for year in range(1995, 2002)]
    assert samples.times[0] == np.datetime64("1996-01")
    assert samples.inputs[2].shape == (36, *GRID)
    assert samples.targets[2].shape == (*GRID, 12)
    codes = procedural_codes(np.datetime64("1995-01") + np.arange(108), GRID, seed=0)
    known = known_ice(codes[36:48]).transpose(1, 2, 0)
    np.testing.assert_array_equal(samples.targets[2], np.where(known, codes[36:48].transpose(1, 2, 0), 0))
    np.testing.assert_array_equal(samples.valid[2], known)
    test = competition.load(sample, "test")
    assert (test.ids.tolist(), test.targets, test.inputs[0].shape) == (["2002-12"], None, (96, *GRID))


def test_weeks_begin_after_a_gap_of_two(tmp_path):
    weekly = build("arctic_sea_ice", {**OPTIONS, "cadence": "weekly"})
    weekly.write_sample(tmp_path, years=3)
    samples = weekly.load(tmp_path, "train")
    assert samples.times[0] - np.datetime64(samples.ids[0]) == np.timedelta64(21, "D")
    assert samples.inputs[0].shape[0] == 12
    assert samples.inputs.history(0).lead_times.tolist() == list(range(3, 15))  # type: ignore[attr-defined]
    assert weekly.horizon == np.timedelta64(98, "D")
    truth, test = weekly.read_truth(tmp_path / "test_truth.csv"), weekly.load(tmp_path, "test")
    assert truth.ids.tolist() == [test.ids[0]]


WEEKS = np.datetime64("2017-12-11") + 7 * np.arange(5)
YEARLY = np.datetime64("1996-01") + 12 * np.arange(8)
YEAR = np.timedelta64(12, "M")


@pytest.mark.parametrize(
    ("times", "years", "gap", "years_per_fold", "fold", "train"),
    [
        # The forecast for 2000 is issued in December 1999; the one for 1999 has just come to its end.
        (YEARLY, (2000, 2002), YEAR, 1, [-1, -1, -1, -1, 0, 1, 2, -1], {0: [0, 1, 2, 3], 2: [0, 1, 2, 3, 4, 5]}),
        # Years that share a fold are fitted before the first of them.
        (YEARLY, (1999, 2003), YEAR, 3, [-1, -1, -1, 0, 0, 0, 1, 1], {0: [0, 1, 2], 1: [0, 1, 2, 3, 4, 5]}),
        # There may be nothing to fit on.
        (WEEKS, (2017, 2018), np.timedelta64(98, "D"), 1, [0, 0, 0, 1, 1], {0: [], 1: []}),
    ],
)
def test_a_year_is_fitted_on_what_was_over_when_it_began(times, years, gap, years_per_fold, fold, train):
    folds = folds_of_years(ids=times.astype(str), times=times, years=years, gap=gap, years_per_fold=years_per_fold)
    assert folds.fold.tolist() == fold
    assert {number: folds.split(number).train.tolist() for number in train} == train


def test_forecasts_issued_every_month_keep_a_year_apart():
    times = np.datetime64("1996-01") + np.arange(72)
    folds = folds_of_years(ids=times.astype(str), times=times, years=(2000, 2001), gap=YEAR)
    validated = times[folds.split(1).valid]
    assert (validated[0], validated[-1]) == (np.datetime64("2001-01"), np.datetime64("2001-12"))
    assert times[folds.split(1).train].max() + 11 == np.datetime64("2000-12")


def test_years_that_nobody_named_or_that_have_no_sample_are_refused(tmp_path, sample):
    data = DataConfig(competition="arctic_sea_ice", name="ice", options=OPTIONS)
    with pytest.raises(ConfigError, match=r"data\.folds\.years: say which years"):
        prepare(data, Workspace(root=tmp_path, data_from=sample))
    with pytest.raises(ConfigError, match="no sample is of 1999"):
        folds_of_years(ids=YEARLY[:3].astype(str), times=YEARLY[:3], years=(1997, 1999), gap=YEAR)
    with pytest.raises(DataLayoutError, match=r"frame is left since 2030-01; there are 1995-\d\d to 2002-12"):
        build("arctic_sea_ice", {**OPTIONS, "since": "2030-01"}, sample).load(sample, "train")


def test_files_to_a_scored_submission(competition, sample, tmp_path):
    test = competition.load(sample, "test")
    forecast = mean_of_years.MeanOfYears(years=3).forecast(test.inputs.history(0))  # type: ignore[attr-defined]
    table = competition.submission.encode(test.ids, [forecast])
    assert table.shape == (12, 1 + GRID[0] * GRID[1])
    assert table["month"].tolist()[::11] == ["2003-01", "2003-12"]
    competition.submission.write(tmp_path / "mean.csv", table)  # type: ignore[attr-defined]
    scored = score_submission(competition, tmp_path / "mean.csv", sample / "test_truth.csv").score
    truth = competition.read_truth(sample / "test_truth.csv")
    rounded = np.round(forecast.astype(np.float64), 3)
    stats = competition.metric.stats(target=truth.targets[0][None], pred=rounded[None], valid=truth.valid[0][None])  # type: ignore[index]
    assert scored == pytest.approx(competition.metric.score(stats))
    no_ice = score_submission(competition, sample / "sample_submission.csv", sample / "test_truth.csv")
    assert (no_ice.score, no_ice.interval.low, no_ice.interval.high) == (np.inf, np.inf, np.inf)


def first_pixel(value: str):
    return lambda rows: [rows[0], rows[1].replace(",0", f",{value}", 1), *rows[2:]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows[:-1], r"bad\.csv: rows of forecasts:\n  - no row for '2003-12'"),
        (lambda rows: [*rows, rows[3]], r"bad\.csv: (.|\n)*'2003-03' stands in 2 rows, first in line 4, expected 1"),
        (lambda rows: [*rows, f"2004{rows[1][4:]}"], "line 14: '2004-01' is not asked for"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "line 2: '2003-02' where '2003-01' was expected"),
        (first_pixel("nan"), r"row 1 \('2003-01'\): pixel 0 is NaN"),
        (first_pixel("-1"), "pixel 0 is -1, expected 0 to 250"),
        (first_pixel("251"), "pixel 0 is 251, expected 0 to 250"),
        (first_pixel("0.9"), "shares instead of 0 to 250"),
        (lambda rows: [*rows[:-1], rows[-1][:-4]], r"line 13 \('2003-12'\).*cut off"),
        (first_pixel("x"), r"line 2 \('2003-01'\): not a number"),
        (lambda rows: [row.rpartition(",")[0] for row in rows], "191 columns of pixels, expected 192"),
        (lambda rows: [row.replace(",", ";") for row in rows], r"bad\.csv: the header is parted by semicolons"),
        (lambda rows: [rows[0].replace(",20,", ",21,"), *rows[1:]], "two columns are called '21'"),
        (first_pixel("1_0"), r"line 2 .*: not a number: '1_0'"),
        (lambda rows: [",".join(["month", *rows[0].split(",")[:0:-1]]), *rows[1:]], "pixels are not in order"),
    ],
)
def test_a_table_the_contest_would_refuse_is_refused_with_its_row(competition, sample, tmp_path, change, named):
    rows = (sample / "sample_submission.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join(change(rows)) + "\n")
    with pytest.raises(InvalidSubmission, match=named):
        score_submission(competition, tmp_path / "bad.csv", sample / "test_truth.csv")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: [row.rpartition(",")[0] for row in rows], r"truth\.csv:\n.*191 columns of pixels, expected 192"),
        (lambda rows: [rows[0].replace("month", "time"), *rows[1:]], "the first column is 'time', expected 'month'"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], r"truth\.csv: rows of forecasts:"),
        (lambda rows: [rows[0], *(re.sub(r",\d+", ",254", row) for row in rows[1:])], "2002-12: every cell is fla"),
    ],
)
def test_a_truth_of_another_layout_is_refused_by_name(competition, sample, tmp_path, change, named):
    rows = (sample / "test_truth.csv").read_text().splitlines()
    (tmp_path / "truth.csv").write_text("\n".join(change(rows)) + "\n")
    with pytest.raises(InvalidSubmission, match=named):
        competition.read_truth(tmp_path / "truth.csv")


def test_a_packed_table_that_is_damaged_is_named(competition, sample, tmp_path):
    packed = bytearray(gzip.compress((sample / "test_truth.csv").read_bytes()))
    packed[10] = 0xFF  # the first block is now of a kind that there is not
    (tmp_path / "truth.csv.gz").write_bytes(packed)
    with pytest.raises(InvalidSubmission, match=r"truth\.csv\.gz: not a readable CSV file"):
        competition.read_truth(tmp_path / "truth.csv.gz")


def test_cells_missing_in_the_last_frame_are_forecast_and_a_series_of_flags_alone_is_refused(sample, tmp_path):
    folder = shutil.copytree(sample, tmp_path / "ice")
    paths = sorted((folder / "monthly_train").glob("*.npy"))
    planes = np.load(paths[-1])
    counted = (planes[..., 1:4] == 0).all(axis=-1)
    planes[:8, :, 4] = counted[:8]
    np.save(paths[-1], planes)
    test = build("arctic_sea_ice", OPTIONS, folder).load(folder, "test")
    np.testing.assert_array_equal(test.valid[0][..., 3], counted)
    planes[..., 4] = 1
    for path in paths:
        np.save(path, planes)
    with pytest.raises(DataLayoutError, match="every cell of every frame is flagged"):
        build("arctic_sea_ice", OPTIONS, folder).check(folder)
