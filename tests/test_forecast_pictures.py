"""Pictures of forecasts: what is drawn, and of which samples."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from skyfold.cli.main import main
from skyfold.competitions.hydro_rain.contest import DAMS
from skyfold.config.files import load_forecasts
from skyfold.data.dataset import open_dataset
from skyfold.errors import ConfigError, OofMismatch
from skyfold.pipeline.plot import draw_pictures
from skyfold.pipeline.run import run_job
from skyfold.reports.forecast_maps import GREY
from skyfold.store.rows import RowStore
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
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    for name, text in (("ice.yaml", ICE), ("rain.yaml", RAIN)):
        (folder / name).write_text(text)
        run_job(folder / name, Workspace(folder), log=lambda line: None)
    return folder


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


def test_a_good_a_median_and_a_bad_one_are_drawn_by_default(work):
    files = draw_pictures(load_forecasts(work / "rain.yaml"), Workspace(work))
    assert len(files) == 2 * 3 + 2
    assert [path.name for path in files[-2:]] == ["reliability.png", "by_lead.png"]
    with Image.open(files[1]) as movie:
        assert movie.n_frames == 5


def test_the_worst_are_drawn_on_demand(work, monkeypatch, capsys):
    headings = []
    monkeypatch.setattr("skyfold.pipeline.plot.draw_sheet", lambda *given: headings.append(given[3]))
    monkeypatch.setattr("skyfold.pipeline.plot.draw_animation", lambda *_: None)
    plot = ["plot", str(work / "rain.yaml"), "--root", str(work), "--worst", "6"]
    assert main(plot) == 0
    scores = [float(re.search(r"CSI ([\d.]+)", heading)[1]) for heading in headings]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 2
    assert main([*plot, "--class", "rain"]) == 2
    assert "--class: forecasts have lead times" in capsys.readouterr().err


def test_series_at_the_dams_are_drawn_by_event_of_those_that_are_wet(work, tmp_path):
    site, config = tmp_path / "site", load_forecasts(work / "rain.yaml")
    assert main(["leaderboard", str(work / "rain.yaml"), "--html", str(site), "--root", str(work)]) == 0
    html = (site / "forecasts.html").read_text()
    data = open_dataset(config.data, Workspace(work))
    forecast = RowStore.open(work / "oof" / "rain" / "persistence" / "oof")
    rows, columns = np.array(DAMS).T
    truth = np.stack([data.train.targets[i][rows, columns, 0] for i in range(len(data.train))])
    values = np.stack([forecast[i][rows, columns, 0] for i in range(len(data.train))])
    for event in np.unique(data.train.groups):
        own = data.train.groups == event
        wet = (np.maximum(truth, values)[own] >= 0.1).any(axis=0)
        section = html.split(f"event {event}</h2>")[1].split("</section>")[0] if wet.any() else ""
        assert section.count('<figure class="chart">') == wet.sum()
        assert all((f"at ({row}, {column})" in section) == one for (row, column), one in zip(DAMS, wet, strict=True))
    assert "event" in html
    assert main(["leaderboard", "rain", "--html", str(tmp_path / "named"), "--root", str(work)]) == 0
    assert "At the stations" not in (tmp_path / "named" / "forecasts.html").read_text()  # which files is not known


@pytest.mark.parametrize(
    ("text", "arguments", "error", "message"),
    [
        (ICE, {"forecast": "persistance"}, ConfigError, r"no forecast 'persistance'.*did you mean 'persistence'"),
        (ICE, {"ids": ["2099-12"]}, ConfigError, "no sample '2099-12'"),
        (ICE, {"ids": ["1996-12"]}, OofMismatch, "'1996-12' was not forecast"),
        (f"{ICE}\neval_years: [2001, 2001]\n", {}, OofMismatch, r"scored last on \d other dates or events than this"),
        (
            ICE.replace("{years: 1}", "{years: 2}"),
            {"forecast": "last_year"},
            OofMismatch,
            r"last_year: this forecast was made .*\(changed: options\)",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(work, tmp_path, text, arguments, error, message):
    (tmp_path / "ice.yaml").write_text(text)
    with pytest.raises(error, match=message):
        draw_pictures(load_forecasts(tmp_path / "ice.yaml"), Workspace(work), **arguments)


def test_a_forecast_that_was_not_scored_is_not_drawn(work, tmp_path):
    for folder in ("data", "oof"):
        shutil.copytree(work / folder, tmp_path / folder)
    (tmp_path / "oof" / "ice" / "persistence" / "sums.csv").unlink()
    with pytest.raises(OofMismatch, match="not scored yet"):
        draw_pictures(load_forecasts(work / "ice.yaml"), Workspace(tmp_path))
