"""Sums of forecasts: kept and read back, summed by event, compared in pairs, ranked and told apart."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import file_digest, write_json
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1
from skyfold.metrics.forecast_sums import (
    FILE,
    ForecastSums,
    better_in,
    by_case,
    paired_by_case,
    read_sums,
    write_sums,
)
from skyfold.pipeline.compare import compare
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.reports.leaderboard import as_text
from skyfold.workspace import Workspace

YEARS = np.array(["2010-12", "2011-12"])
LEADS = ("month 1", "month 2")


def year(errors: tuple[float, float], skill: float = 0.8) -> list[float]:
    """Sums of a year of two months, 100 cells each: F1 is `skill`."""
    hits, misses = 100 * skill, 100 * (1 - skill)
    return [*errors, 100, 100, hits, hits, misses, misses, misses, misses]


def sums(*years: list[float], cases: np.ndarray = YEARS) -> ForecastSums:
    return ForecastSums(cases, LEADS, {MAE_BY_F1.name: np.array(years)})


def store(root: Path, name: str, kept: ForecastSums | None, **config: object) -> Path:
    info = {
        "name": name,
        "kind": "forecast",
        "task": "forecasting",
        "classes": list(LEADS),
        "unit": "concentration x 250",
        "config": config,
        "fingerprint": {"version": 1, "rows": name, "folds": "f", "data": "d"},
        "scores": {"seconds_a_date": 0.25},
    }
    folder = root / "oof" / "ice" / name
    write_json(folder / "run.json", info)
    if kept is not None:
        write_sums(folder, kept)
    return folder


OURS, THEIRS = sums(year((300, 500)), year((200, 100))), sums(year((400, 600)), year((300, 200)))


def test_what_is_kept_is_read_back_from_a_line_a_date_figure_and_lead_time(tmp_path):
    rng = np.random.default_rng(0)
    wet = rng.integers(0, 50, (2, 10)).astype(float)
    given = ForecastSums(np.array(["fmi16", "2017"]), LEADS, {MAE_BY_CSI.name: rng.random((2, 10)), "wet": wet})
    write_sums(tmp_path, given)
    read = read_sums(tmp_path)
    assert (read.cases.tolist(), read.leads, read.metric) == (["fmi16", "2017"], LEADS, MAE_BY_CSI)
    np.testing.assert_allclose(read.contest, given.contest, rtol=1e-11)
    np.testing.assert_array_equal(read.figures["wet"], wet)
    write_sums(tmp_path, OURS)
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [line.rpartition(",")[0] for line in lines[:3]] == [
        "case,figure,lead,error,cells,hits,misses,false_alarms",
        "2010-12,mae_by_f1,month 1,300,100,80,20,20",
        "2010-12,mae_by_f1,month 2,500,100,80,20,20",
    ]


def test_sums_of_events_score_as_their_samples_do():
    """The pooled figure and that of each event, from ten samples and from two lines."""
    rng = np.random.default_rng(0)
    target, pred = rng.gamma(0.3, 2.0, (2, 10, 8, 8, 1))
    stats = MAE_BY_CSI.stats(target=target, pred=pred)
    event = np.array(["a", "b"])[np.arange(10) % 3 // 2]
    lines = by_case(stats, event, ["a", "b"])
    assert MAE_BY_CSI.score(lines) == pytest.approx(MAE_BY_CSI.score(stats))
    assert MAE_BY_CSI.per_row(lines)[1] == pytest.approx(MAE_BY_CSI.score(stats[event == "b"]))


def test_damaged_sums_and_missing_ones_are_told_apart(tmp_path):
    with pytest.raises(OofMismatch, match=r"not scored yet.*`skyfold run`"):
        read_sums(tmp_path)
    whole = write_sums(tmp_path, OURS).read_text()
    for text in (whole[:-40], "", whole.replace("mae_by_f1", "dice"), whole.replace("error", "sum")):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(DamagedFile, match=r"sums\.csv"):
            read_sums(tmp_path)


def test_pairs_of_years():
    """MAE 4 and 1.5, F1 0.8: 5 and 1.875. The other one is worse by 1.25 in both years, so every draw says so."""
    assert OURS.metric.per_row(OURS.contest).tolist() == pytest.approx([5.0, 1.875])
    found = paired_by_case(OURS, THEIRS)
    assert (found.value, found.low, found.high) == pytest.approx((-1.25, -1.25, -1.25))
    assert (better_in(OURS, THEIRS), better_in(THEIRS, OURS)) == (2, 0)
    with pytest.raises(OofMismatch, match="'2011-12' is in one of them only"):
        paired_by_case(OURS, replace(OURS, cases=np.array(["2010-12", "2012-12"])))


def test_the_least_stands_first_and_what_was_not_scored_last(tmp_path):
    store(tmp_path, "last_year", THEIRS, family="mean_of_years")
    store(tmp_path, "unet", OURS, model={"family": "unet"})
    store(tmp_path, "begun", None, family="linear_trend")
    broken = store(tmp_path, "broken", OURS, family="linear_trend")
    (broken / "run.json").write_text('{"name')
    submission = tmp_path / "submissions" / "ice" / "rolling.csv"
    submission.parent.mkdir(parents=True)
    submission.write_text("month\n")
    sidecar = {"name": "rolling", "forecast": {"name": "unet"}, "file": "rolling.csv", "rows": 1}
    write_json(submission.with_suffix(".json"), {**sidecar, "sha256": file_digest(submission)})
    entries = leaderboard("ice", Workspace(tmp_path))
    assert [entry.name for entry in entries] == ["unet", "last_year", "begun", "broken"]
    lines = as_text(entries).splitlines()
    head = "name,kind,metric,less is better,95 % interval,MAE,skill,cases,s a date,submission"
    assert re.split(" {2,}", lines[0]) == head.split(",")
    figures = ["mae_by_f1", "3.4375", "1.8750 to 5.0000", "2.7500", "0.8000", "2", "0.25"]
    assert re.split(" {2,}", lines[2]) == ["unet", "unet", *figures, "ice/rolling.csv"]
    assert re.split(" {2,}", lines[4]) == ["begun", "linear_trend, not scored", "0.25"]
    assert "unreadable" in lines[-1]


def test_what_differs_between_two_forecasts(tmp_path):
    one = store(tmp_path, "five", OURS, family="mean_of_years", options={"years": 5})
    other = store(tmp_path, "ten", THEIRS, family="mean_of_years", options={"years": 10})
    text = "\n".join(compare(one, other))
    assert text.splitlines()[0].split() == ["mae_by_f1", "five", "ten"]
    assert "five - ten: -1.2500 (-1.2500 to -1.2500), paired, better in 2 of 2 dates or events, 95 %" in text
    assert "frames: the same" in text
    assert "options.years" in text
    bare = store(tmp_path, "bare", None, family="persistence")
    assert "not compared date by date" in "\n".join(compare(one, bare))
