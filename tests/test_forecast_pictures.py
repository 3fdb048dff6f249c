"""Pictures of forecasts: what is drawn, which samples, and the counts behind the reliability."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyfold.cli.main import main
from skyfold.config.files import load_forecasts
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.reliability import event_counts
from skyfold.pipeline.plot import draw_pictures
from skyfold.pipeline.run import run_job
from skyfold.reports.forecast_maps import GREY
from skyfold.workspace import Workspace

ICE = """
name: tiny
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [28, 19]}
  folds: {years: [2000, 2002]}
  sample: {years: 8}
baseline: last_year
forecasts:
  - {name: last_year, family: mean_of_years, options: {years: 1}}
  - {name: persistence, family: persistence}
"""
RAIN = """
name: tiny
data:
  competition: hydro_rain
  name: rain
  folds: {k: 2}
  sample: {train: 6, test: 2, train_events: 2, test_events: 1}
forecasts:
  - {name: persistence, family: persistence}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    for name, text in (("ice.yaml", ICE), ("rain.yaml", RAIN)):
        (folder / name).write_text(text)
        run_job(folder / name, Workspace(folder), log=lambda line: None)
    return folder


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=30),
    st.sets(st.integers(0, 10), min_size=1, max_size=5),
    st.integers(0, 9),
)
def test_counts_are_those_of_going_cell_by_cell(cells, edges, threshold):
    edges = sorted(edges)
    slow = np.zeros((2, len(edges) + 1), dtype=int)
    for target, pred, valid in cells:
        place = sum(pred >= edge for edge in edges)
        slow[0, place] += valid
        slow[1, place] += valid and target >= threshold
    target, pred, valid = (np.array(values)[:, None] for values in zip(*cells, strict=True))
    found = event_counts(target=target, pred=pred, valid=valid, edges=np.array(edges), threshold=threshold)
    np.testing.assert_array_equal(found, slow)


def test_a_year_is_drawn_as_a_sheet_and_as_an_animation(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    assert main(["plot", "--root", ".", "ice.yaml", "--forecast", "persistence", "--id", "1999-12"]) == 0
    folder = work / "oof" / "ice" / "persistence" / "pictures"
    written = [line.removeprefix("written: ") for line in capsys.readouterr().out.splitlines()]
    assert written == [str(folder / name) for name in ("1999-12.png", "1999-12.gif", "reliability.png", "by_lead.png")]
    with Image.open(folder / "1999-12.gif") as movie:
        assert movie.n_frames == 24  # twelve months known, twelve wanted
        movie.seek(23)
        last = np.asarray(movie.convert("RGB"))
    left, right = last[:, : last.shape[1] // 2], last[:, last.shape[1] // 2 :]
    assert (left != right).any()
    with Image.open(folder / "1999-12.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    land = tuple(int(GREY[i : i + 2], 16) for i in (1, 3, 5))
    assert (pixels == land).all(axis=1).mean() > 0.02


def test_nobody_says_which_and_a_good_one_and_a_bad_one_are_drawn(work):
    files = draw_pictures(load_forecasts(work / "rain.yaml"), Workspace(work))
    names = [path.name for path in files]
    assert len(names) == 2 * 3 + 2
    assert names[-2:] == ["reliability.png", "by_lead.png"]
    with Image.open(next(path for path in files if path.suffix == ".gif")) as movie:
        assert movie.n_frames == 5


def test_what_is_not_there_is_named(work, tmp_path):
    config, workspace = load_forecasts(work / "ice.yaml"), Workspace(work)
    with pytest.raises(ConfigError, match=r"no forecast 'persistance'.*did you mean 'persistence'"):
        draw_pictures(config, workspace, "persistance")
    with pytest.raises(ConfigError, match="no sample '2099-12'"):
        draw_pictures(config, workspace, ids=["2099-12"])
    with pytest.raises(OofMismatch, match="'1996-12' was not forecast"):
        draw_pictures(config, workspace, ids=["1996-12"])
    shutil.copytree(work / "data", tmp_path / "data")
    shutil.copytree(work / "oof", tmp_path / "oof")
    (tmp_path / "oof" / "ice" / "persistence" / "sums.csv").unlink()
    with pytest.raises(OofMismatch, match="not scored yet"):
        draw_pictures(config, Workspace(tmp_path))


def test_a_forecast_that_another_config_scored_last_is_not_drawn_with_its_years(work, tmp_path):
    fewer = tmp_path / "ice.yaml"
    fewer.write_text(f"{ICE}\neval_years: [2001, 2001]\n")
    with pytest.raises(OofMismatch, match=r"scored last on \d other dates or events than this config's"):
        draw_pictures(load_forecasts(fewer), Workspace(work))


def test_a_forecast_that_was_made_with_another_config_is_not_drawn(work, tmp_path):
    changed = tmp_path / "ice.yaml"
    changed.write_text(ICE.replace("{years: 1}", "{years: 2}"))
    with pytest.raises(OofMismatch, match=r"last_year: this forecast was made .*\(changed: options\)"):
        draw_pictures(load_forecasts(changed), Workspace(work), "last_year")
