"""The acceptance tables of the two forecasting contests, from sums that were kept."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from skyfold.files import read_json, write_json
from skyfold.metrics.forecast_sums import ForecastSums, read_sums, write_sums

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EVENTS = ("bom2_20180616", "fmi_20160928", "knmi_20100826", "mch_20150515", "mch_20170131", "mrms_20190610")


@pytest.fixture
def figures(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("forecast_figures")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def keep(folder, cases, names, errors):
    """Sums of one lead time and 100 cells a case, without a miss or a false alarm: the figure is the mean error."""
    parts = np.array([[100 * error, 100, 50, 0, 0] for error in errors])
    write_sums(folder, ForecastSums(np.array(cases), ("first",), dict.fromkeys(names, parts)))
    write_json(folder / "run.json", {"scores": {"seconds_a_date": 0.5}})


def rows(table):
    return {figure.what: figure.cells() for figure in table}


def test_what_was_not_run_stands_there_as_wanted(figures):
    ice, rain = rows(figures.arctic_sea_ice()), rows(figures.hydro_rain())
    for name in ("anomaly_unet", "boosted_edge_blend", "lstm_512 (once, to 2004)", "full (once, to 2004)"):
        assert ice[f"{name}: MAE / F1"][2] == "not run"
    for name in ("rain_unet", "rainnet", "convlstm", "trajgru", "simvp", "blend"):
        assert rain[f"{name}: of pysteps, mean of events"][2] == "not run"
    assert ice["the best blend: MAE / F1"][1:5] == ["<= 3.9000", "not run", "", "missed"]
    assert rain["blend: of pysteps, mean of events"][1:5] == ["<= 0.8200", "not run", "", "missed"]


def test_years_are_counted_and_paired(figures, tmp_path):
    """The blend is below the mean of five years by 0.5 in nine years, and above it by 0.5 in one: -0.4 in all.

    Of ten years drawn, at most three are the bad one in 98.7 % of the draws: the interval ends 0.3 above the good ones.
    """
    years = tuple(f"{year}-12" for year in range(2004, 2014))
    for name, errors in {
        "seaice/mean_of_5_years": [4.302] * 10,
        "seaice/edge_blend": [4.2] * 10,
        "seaice/boosted_edge_blend": [3.802] * 9 + [4.802],
        "seaice/another": [5.0] * 10,
        "seaice_to_2004/lstm_512": [4.402] * 10,
    }.items():
        keep(tmp_path / name, years, ["mae_by_f1"], errors)
    table = rows(figures.arctic_sea_ice())
    assert table["mean_of_5_years: MAE / F1, off 4.302"][4] == "met"
    assert table["last_year: MAE / F1, off 5.297"][2] == "not run"
    assert table["boosted_edge_blend - mean_of_5_years"][2] == "-0.4000"
    assert table["boosted_edge_blend - mean_of_5_years"][5] == "paired by year; below in 9 of 10 years"
    assert table["lstm_512 (once, to 2004) - mean_of_5_years"][2] == "0.1000"
    best = ["3.9020", "3.8020 to 4.1020", "missed", "best of 2: boosted_edge_blend"]
    assert table["the best blend: MAE / F1"][2:] == best
    assert table["the best blend: years of 10 below the mean of 5 years"][2:5] == ["9.0000", "", "met"]
    assert table["another: MAE / F1"][2] == "5.0000"
    assert table["another: MAE / F1"][5] == "0.5 s a date"


def test_the_share_of_pysteps_is_a_mean_over_events(figures, tmp_path):
    """0.8 on five events and 1.1 on one: 0.85, though the event it is worse on has little error."""
    names = ["mae_by_csi", "mae_where_wet", "csi_at_1", "csi_at_5"]
    peer = [1.0, 0.2, 0.2, 0.4, 0.2, 0.4]
    shares = [0.8, 0.8, 0.8, 0.8, 1.1, 0.8]
    keep(tmp_path / "radar" / "pysteps", EVENTS, names, peer)
    keep(tmp_path / "radar" / "blend", EVENTS, names, [a * b for a, b in zip(peer, shares, strict=True)])
    table = rows(figures.hydro_rain())
    assert table["pysteps, bom2_20180616: MAE / CSI"][2] == "1.0000"
    assert table["blend: of pysteps, mean of events"][2] == "0.8500"
    assert table["blend: of pysteps, mean of events"][4] == "missed"
    assert table["blend: events of 6 below pysteps"][2:5] == ["5.0000", "", "missed"]
    assert table["blend, mch_20170131: of pysteps"][2:5] == ["1.1000", "", "missed"]
    assert table["blend, knmi_20100826: of pysteps"][2:5] == ["0.8000", "", "met"]
    beside = "paired by event; below in 5 of 6; MAE wet 0.330, CSI 1 1.000, CSI 5 1.000; 0.5 s a date"  # 1.98 / 6
    assert table["blend - pysteps: MAE / CSI, all pooled"][5] == beside


@pytest.mark.parametrize("data", ["seaice", "radar"])
def test_what_is_kept_in_the_repository_is_whole_and_small(data):
    folders = [path.parent for path in (BENCHMARKS / "results" / data).glob("*/run.json")]
    assert len(folders) >= 10
    for folder in folders:
        kept = read_sums(folder)
        recorded = read_json(folder / "run.json")["scores"][kept.metric.name]
        assert kept.metric.score(kept.contest) == pytest.approx(recorded, rel=1e-6)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
