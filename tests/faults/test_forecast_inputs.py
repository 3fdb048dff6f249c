"""Frames that are no measurements, lie apart from the calendar, show no rain, or come twice."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.forecasting.baselines.damped_anomaly import DampedAnomaly
from skyfold.forecasting.baselines.linear_trend import LinearTrend
from skyfold.forecasting.baselines.mean_of_years import MeanOfYears
from skyfold.forecasting.frame_adapters.recent_frames import RecentFrames
from skyfold.forecasting.motion import METHODS
from skyfold.forecasting.past_frames import PastFrames

GRID = (16, 12)
ICE = """
name: ice
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [16, 12]}
  folds: {years: [1999, 2002]}
forecasts:
  - {name: last_year, family: mean_of_years, options: {years: 1}}
  - {name: climatology, family: mean_of_years}
"""
RAIN = """
name: rain
data: {competition: hydro_rain, name: rain, folds: {k: 2}}
forecasts:
  - {name: persistence, family: persistence}
  - {name: advected, family: rain_extrapolation, options: {motions: [phase_correlation, dis]}}
"""


@dataclass(frozen=True)
class Forecasts:
    """A project with a small procedural sample of one of the forecasting contests."""

    root: Path
    name: str
    capsys: pytest.CaptureFixture[str]

    @property
    def data(self) -> Path:
        return self.root / "data" / self.name

    def run(self, command: str, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        config = str(self.root / "configs" / f"{self.name}.yaml")
        code = main([command, config, *map(str, arguments), "--root", str(self.root)])
        out, err = self.capsys.readouterr()
        return code, out, err

    def files(self) -> dict[str, str]:
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture
def project(tmp_path, monkeypatch, capsys) -> Callable[[str], Forecasts]:
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)

    def make(name: str) -> Forecasts:
        text, settings = {
            "ice": (ICE, {"years": 8}),
            "rain": (RAIN, {"train": 8, "test": 2, "train_events": 2, "test_events": 1}),
        }[name]
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / f"{name}.yaml").write_text(text)
        made = Forecasts(tmp_path, name, capsys)
        competition = {"ice": "arctic_sea_ice", "rain": "hydro_rain"}[name]
        options = {"grid": list(GRID)} if name == "ice" else {}
        build(competition, options).write_sample(made.data, **settings)  # type: ignore[misc]
        return made

    return make


def calendar_ice(times: np.ndarray) -> np.ndarray:
    """Concentration x 250 that follows the day of the year exactly, float (T,)."""
    days = (times - times.astype("datetime64[Y]")).astype("timedelta64[D]").astype(float)
    return 125 + 60 * np.cos(2 * np.pi * days / 365.25)


@pytest.mark.parametrize("step", [7, 5, 10])
@pytest.mark.parametrize("years", [2, 5, 20, 30])
def test_the_mean_of_many_years_is_of_the_same_season_as_that_of_one(step, years):
    times = np.datetime64("1985-01-07") + np.arange(round(33 * 365.2425 / step)) * np.timedelta64(step, "D")
    ice = calendar_ice(times)
    ends = np.arange(len(times) - 80, len(times) - 20)

    def worst(family, count):
        off = []
        for end in ends:
            history = PastFrames(ice[: end + 1, None, None].astype(np.float32), np.array([3]), 365.2425 / step)
            off.append(abs(float(family(years=count).forecast(history).item()) - ice[end + 3]))
        return max(off)

    half_a_frame = 60 * 2 * np.pi / 365 * (step / 2 + 1)
    assert worst(MeanOfYears, years) <= half_a_frame
    if years >= 20:
        assert worst(MeanOfYears, years) <= max(worst(MeanOfYears, 1), 0.6)
        assert worst(LinearTrend, years) <= 1.5 * half_a_frame
        assert worst(DampedAnomaly, years) <= half_a_frame


def test_weekly_files_are_compared_with_the_same_week_of_earlier_years(tmp_path):
    times = np.datetime64("1995-01-02") + np.arange(1120) * np.timedelta64(7, "D")
    frames = np.rint(calendar_ice(times)).astype(np.uint8)[:, None, None].repeat(4, 1).repeat(3, 2)
    frames[:, 0, 0] = 254
    np.savez(tmp_path / "weekly_all.npz", sic=frames, week_start=times.astype(str))
    samples = build("arctic_sea_ice", {"cadence": "weekly", "grid": [4, 3]}).load(tmp_path, "train")
    last = len(samples) - 1
    off = MeanOfYears(years=20).forecast(samples.inputs.history(last)) - samples.targets[last]
    assert np.abs(off).max() <= 2
    long = RecentFrames(years=20).inputs(samples.inputs.history(last))
    assert long.shape == (4, 3, 20 * 52)
    whole = samples.inputs.history(last)
    assert RecentFrames(years=5).inputs(whole.until(51)).shape == (4, 3, 5 * 52)


def showers(column: float, row: float, side: int = 120) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    rain = np.zeros((side, side))
    for x, y, width, peak in ((20, 24, 8, 8), (80, 36, 12, 3), (48, 72, 10, 20), (96, 92, 8, 6)):
        rain += peak * np.exp(-((columns - x - column) ** 2 + (rows - y - row) ** 2) / (2 * width**2))
    return rain.astype(np.float32)


DRY, WET = np.zeros((120, 120), np.float32), showers(0, 0)
SPECK = np.where(np.arange(DRY.size).reshape(DRY.shape) == 700, np.float32(5), DRY)
DRIZZLE = np.random.default_rng(0).random(DRY.shape, np.float32) * np.float32(0.002)


@pytest.mark.parametrize("method", ["phase_correlation", "dis", "dis_fast", "dis_fine", "farneback"])
def test_where_two_frames_in_a_row_show_no_rain_there_is_no_motion(method):
    histories = {
        "dry, dry, dry, wet": [DRY, DRY, DRY, WET],
        "wet, dry, dry, wet": [WET, DRY, DRY, WET],
        "dry, wet, dry, wet": [DRY, WET, DRY, WET],
        "wet, dry, dry, dry": [WET, DRY, DRY, DRY],
        "a speck, then wet": [DRY, DRY, SPECK, WET],
        "drizzle nobody feels, then wet": [DRIZZLE, DRIZZLE[::-1], DRIZZLE.T, WET],
        "the same everywhere, then wet": [DRY + 1, DRY + 1, DRY + 1, WET],
    }
    moved = {name: np.abs(METHODS[method](np.stack(frames))).max() for name, frames in histories.items()}
    assert moved == dict.fromkeys(histories, 0)


@pytest.mark.parametrize("method", ["phase_correlation", "dis"])
def test_dry_frames_before_rain_that_moves_do_not_hide_its_motion(method):
    found = METHODS[method](np.stack([DRY, DRY, showers(-2, 1), WET]))
    np.testing.assert_allclose(np.median(found[WET > 1], axis=0), [2, -1], atol=0.3)


def change(path: Path, edit: Callable[[np.ndarray], None], dtype: type | None = None) -> None:
    array = np.load(path)
    array = array.astype(dtype) if dtype else array
    edit(array)
    np.save(path, array)


def test_a_weak_echo_is_dry_and_only_the_code_of_missing_data_hides_a_cell(project):
    rain = project("rain")
    path = sorted((rain.data / "train").glob("*.npy"))[0]

    def edit(raw):
        raw[:] = 0
        raw[:40], raw[40:60] = -3200, -9999

    change(path, edit)
    load = build("hydro_rain", {}, rain.data).load(rain.data, "train")
    valid, target = load.valid[0], load.targets[0]
    assert valid[:40].all()
    assert not valid[40:60].any()
    assert valid[60:].all()
    assert not target.any()
    assert "0.6% without data" not in rain.run("prepare")[1]


def test_a_weak_echo_in_a_truth_file_is_scored_as_dry(project):
    rain = project("rain")
    truth = rain.data / "test_truth.csv"
    lines = truth.read_text().splitlines()
    key, *values = lines[1].split(",")
    values[:3] = ["-3200", "-9999", "-1"]
    truth.write_text("\n".join([lines[0], ",".join([key, *values]), *lines[2:]]) + "\n")
    read = build("hydro_rain", {}, rain.data).read_truth(truth)
    assert read.valid[0].reshape(-1)[:3].tolist() == [True, False, True]
    assert read.targets[0].reshape(-1)[:3].tolist() == [0, 0, 0]
    values[1] = "-20000"
    truth.write_text("\n".join([lines[0], ",".join([key, *values]), *lines[2:]]) + "\n")
    code, out, err = rain.run("score", rain.data / "sample_submission.csv", "--truth", truth)
    assert (code, out) == (2, "")
    assert f"{truth}" in err
    assert f"row 1 ('{key}'): pixel 1 is -20000" in err
    assert "by -9999" in err


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 9.96921e36, -32768, -9998.5])
def test_raw_radar_without_a_measurement_is_refused_by_place(project, value):
    rain = project("rain")
    path = sorted((rain.data / "train").glob("*.npy"))[1]

    def edit(raw):
        raw[:40, 3, 2] = value

    change(path, edit, np.float32)
    before = rain.files()
    code, _, err = rain.run("prepare")
    assert code == 2
    assert f"{path}: row 0, column 3, frame 2" in err
    assert ("Get it again" if value == 9.96921e36 else "Mark missing data by -9999") in err
    assert rain.files() == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_rain_in_patches_without_a_measurement_is_refused_by_patch(project, value):
    rain = project("rain")
    patches = np.ones((4, 120, 120, 5), np.float32)
    patches[2, :40] = value
    np.savez(rain.data / "patches.npz", x=patches, event=np.array(["a", "a", "b", "b"]))
    code, _, err = rain.run("prepare")
    assert code == 2
    assert f"{rain.data / 'patches.npz'}: x, patch 2" in err
    assert "Correct or remove this patch" in err


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 9.96921e36, 252.0])
def test_ice_without_a_measurement_is_refused_by_place(project, value):
    ice = project("ice")
    path = ice.data / "monthly_train" / "199803.npy"

    def edit(planes):
        planes[5, 7] = [value, 0, 0, 0, 0]

    change(path, edit, np.float32)
    code, _, err = ice.run("prepare")
    assert code == 2
    assert str(path) in err
    assert "at row 5, column 7" in err


def test_a_month_in_which_nothing_was_measured_is_named(project):
    ice = project("ice")
    folder = ice.data / "monthly_train"

    def missing(planes):
        planes[:] = [0, 0, 0, 0, 1]

    def land(planes):
        planes[:] = [0, 0, 0, 1, 0]

    def full(planes):
        planes[..., 0] = 250

    change(folder / "199803.npy", missing)
    change(folder / "199904.npy", land)
    change(folder / "200005.npy", full)
    code, out, _ = ice.run("prepare")
    assert code == 0
    assert "2 of 96 frames without a measured cell" in out
    assert "1998-03, 1999-04" in out
    assert "1 of 96 frames with the same concentration in every measured cell: 2000-05" in out


def test_nothing_is_said_of_a_series_that_is_whole(project):
    _, out, _ = project("ice").run("prepare")
    assert "measured cell" not in out


def test_radar_frames_without_data_are_named(project):
    rain = project("rain")
    one, other = sorted((rain.data / "train").glob("*.npy"))[1:3]

    def missing(raw):
        raw[..., 2] = -9999

    def constant(raw):
        raw[..., 4] = 900

    change(one, missing)
    change(other, constant)
    code, out, _ = rain.run("prepare")
    assert code == 0
    assert f"1 frame without data: train/{one.name}, frame 2" in out
    assert f"1 frame with the same rain in every pixel: train/{other.name}, frame 4" in out


@pytest.mark.parametrize("kind", ["bin", "npz"])
def test_a_month_that_is_there_twice_is_named_with_both_places(project, kind):
    ice = project("ice")
    for path in ice.data.iterdir():
        path.rename(ice.root / path.name)
    months = np.arange("1995-01", "1999-01", dtype="datetime64[M]").astype(str)
    texts = [month.replace("-", "") for month in months]
    codes = np.random.default_rng(0).integers(0, 251, (len(texts), *GRID), dtype=np.uint8)
    if kind == "npz":
        texts.insert(5, texts[5])
        np.savez(ice.data / "monthly_all.npz", sic=np.insert(codes, 5, codes[5], axis=0), yyyymm=np.array(texts))
        expected = "1995-06 is there twice: row 5 and row 6"
    else:
        for text, frame in zip(texts, codes, strict=True):
            (ice.data / f"nt_{text}_f17_v1.1_n.bin").write_bytes(bytes(300) + frame.tobytes())
        one, other = ice.data / "copy" / "nt_199506_f17_v1.1_n.bin", ice.data / "nt_199506_f17_v1.1_n.bin"
        one.parent.mkdir()
        one.write_bytes(other.read_bytes())
        expected = f"1995-06 is there twice: {one} and {other}"
    before = ice.files()
    code, _, err = ice.run("prepare")
    assert code == 2
    assert expected in err
    assert "keep one of each" in err
    assert ice.files() == before


def test_a_year_in_which_no_forecast_hits_is_left_out_of_comparisons(project):
    """In 2001 there is ice just where there never was any, so that no forecast from earlier years hits it."""
    ice = project("ice")
    folder = ice.data / "monthly_train"
    for path in sorted(folder.glob("*.npy")):
        planes = np.zeros((*GRID, 5), np.uint8)
        planes[8 if path.stem.startswith("2001") else 7, :, 0] = 60 + path.stem.startswith("2002")
        planes[-1, 0] = [0, 0, 0, 1, 0]
        np.save(path, planes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, _ = ice.run("run")
        assert code == 0
        assert "climatology and last_year hit nothing in 2000-12: not compared there" in out
        assert "nan" not in out
        code, out, _ = ice.run("leaderboard")
        assert "nan" not in out
        names = "climatology", "last_year"
        assert main(["leaderboard", "ice", "--diff", *names, "--root", str(ice.root)]) == 0
        out = ice.capsys.readouterr().out
        assert "of 3 dates or events in which one of them hit" in out
        assert "nan" not in out
