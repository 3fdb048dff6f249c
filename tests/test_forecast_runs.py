"""A config of sea-ice forecasts becomes a scored table: nothing later than the issue date, nothing stale is used."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyfold.competition import build
from skyfold.config.data import FoldsConfig
from skyfold.config.forecasts import ForecastConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, DamagedFile, DataLayoutError, InvalidSubmission, OofMismatch
from skyfold.forecasting.baselines import _cell_boosting
from skyfold.metrics.score_submission import score_lines, score_submission
from skyfold.pipeline.baselines import make_forecasts
from skyfold.pipeline.forecasts import score_forecasts, submit_forecast
from skyfold.pipeline.import_predictions import Foreign, import_predictions
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.prepare import prepare
from skyfold.reports.forecast_table import as_text
from skyfold.store.rows import RowStore
from skyfold.tasks.open_run import check as check_job
from skyfold.workspace import Workspace

GRID = (16, 12)
OPTIONS = {"grid": list(GRID)}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "ice"
    build("arctic_sea_ice", OPTIONS).write_sample(folder, years=8)  # type: ignore[misc]
    return folder


FORECASTS: list[dict[str, Any]] = [
    {"name": "last_year", "family": "mean_of_years", "options": {"years": 1}},
    {"name": "climatology", "family": "mean_of_years"},
    {"name": "persistence", "family": "persistence"},
    {"name": "trend", "family": "linear_trend"},
    {"name": "damped_anomaly", "family": "damped_anomaly"},
    {"name": "neighbours", "family": "nearest_neighbours", "options": {"k": 20, "lags": 3}},
]
LEARNED: list[dict[str, Any]] = [
    {"name": "blend", "family": "edge_blend"},
    {"name": "boosted", "family": "edge_blend", "options": {"boosted": True, "n_repeats": 1, "years": 2}},
]


def forecast_config(**changes: Any) -> ForecastConfig:
    data = {"competition": "arctic_sea_ice", "name": "ice", "options": OPTIONS, "folds": {"years": [1999, 2002]}}
    return ForecastConfig.model_validate(
        {"name": "table", "data": data, "forecasts": FORECASTS, "baseline": "climatology", **changes}
    )


@pytest.fixture
def workspace(tmp_path, sample) -> Workspace:
    workspace = Workspace(root=tmp_path, data_from=sample)
    prepare(forecast_config().data, workspace)
    return workspace


def make(config: ForecastConfig, workspace: Workspace) -> Dataset:
    return make_forecasts(config, workspace, log=lambda line: None)


def complete(workspace: Workspace, name: str) -> int:
    """Number of dates that have a stored forecast."""
    return int(RowStore.open(workspace.run("ice", name) / "oof").complete.sum())


def overwrite_frames(folder: Path, after: str, seed: int) -> None:
    """Noise in place of the concentration and flags of every later frame."""
    rng = np.random.default_rng(seed)
    later = [path for path in (folder / "monthly_train").glob("*.npy") if path.stem > after]
    assert later
    for path in later:
        flags = rng.random((*GRID, 4)) < 0.1
        np.save(path, np.concatenate([rng.integers(0, 251, (*GRID, 1)), flags], axis=-1).astype(np.uint8))


def test_nothing_later_than_the_issue_date_reaches_a_forecast(tmp_path, monkeypatch):
    """Two histories that part after December 2000: all that is forecast until then is the same to the bit."""
    monkeypatch.setitem(_cell_boosting.SETTINGS, "max_leaf_nodes", 6)  # soon fitted, for every date
    rows = {}
    config = forecast_config(forecasts=[*FORECASTS, *LEARNED])
    for seed in (0, 1):
        workspace = Workspace(root=tmp_path / str(seed))
        folder = workspace.data("ice")
        build("arctic_sea_ice", OPTIONS).write_sample(folder, years=8)  # type: ignore[misc]
        overwrite_frames(folder, after="200012", seed=seed)
        prepare(config.data, workspace)
        data = make(config, workspace)
        assert data.train.ids.tolist()[3:7] == ["1998-12", "1999-12", "2000-12", "2001-12"]
        rows[seed] = {
            model.name: RowStore.open(workspace.run("ice", model.name) / "oof").values[3:7]
            for model in config.forecasts
        }
    for name in rows[0]:
        assert rows[0][name][:3].tobytes() == rows[1][name][:3].tobytes(), name
        assert rows[0][name][3].tobytes() != rows[1][name][3].tobytes(), name


IMPORTED = {"name": "theirs", "run": {"name": "theirs", "task": "forecasting", "model": {"family": "imported"}}}


def written(workspace: Workspace, folder: Path, *, name: str = "persistence", **changed: Any) -> Foreign:
    """Stored forecasts as another framework would write them, lead times first."""
    files = {}
    for part in ("oof", "test"):
        store = RowStore.open(workspace.run("ice", name) / part)
        rows = np.flatnonzero(store.complete)
        values = np.moveaxis(changed.get(part, store.values[rows]), -1, 1)
        files[part] = folder / f"{part}.npz"
        np.savez(files[part], ids=store.ids[rows], forecasts=values)
    return Foreign(files["oof"], [files["test"]], folds=workspace.folds("ice"))


def test_an_imported_forecast_is_a_row_of_the_table_a_member_and_a_submission(workspace, tmp_path, capsys):
    config = forecast_config(forecasts=FORECASTS[1:3])
    make(config, workspace)
    folder, lines = import_predictions("theirs", config.data, written(workspace, tmp_path), workspace)
    noted = "'theirs' scores .* no better than the last known frame .* or classes in another order than \\+1 month"
    assert re.search(noted, capsys.readouterr().err)
    import_predictions("mean", config.data, written(workspace, tmp_path, name="climatology"), workspace)
    assert "no better than" not in capsys.readouterr().err
    own, theirs = (RowStore.open(workspace.run("ice", name) / "oof") for name in ("persistence", "theirs"))
    np.testing.assert_array_equal(own.values, theirs.values)
    listed = [*FORECASTS[1:3], {**IMPORTED, "run": {**IMPORTED["run"], "data": config.data.model_dump()}}]
    blend = {**LEARNED[0], "members": ["climatology", "theirs"]}
    table = forecast_config(forecasts=[*listed, blend], eval_years=[2000, 2002])
    check_job(table.networks["theirs"])
    data = make(table, workspace)
    rows = {row.name: row for row in score_forecasts(table, data, workspace).rows}
    np.testing.assert_array_equal(rows["theirs"].per_case, rows["persistence"].per_case)
    assert np.isfinite(rows["blend"].score)
    submissions = [
        submit_forecast(one, data, workspace).read_text() for one in (config, forecast_config(forecasts=listed))
    ]
    assert submissions[0] == submissions[1]
    assert "theirs" in lines[0]
    assert json.loads((folder / "run.json").read_text())["config"]["imported"]["folds"] == "declared"
    [entry] = [entry for entry in leaderboard("ice", workspace) if entry.name == "theirs"]
    assert (entry.kind, entry.cells["metric"]) == ("imported", "mae_by_f1")


def test_the_test_part_is_forecast_by_the_last_fold_also_of_an_imported_run(workspace, tmp_path):
    config = forecast_config(forecasts=FORECASTS[2:3], baseline=None)
    data = make(config, workspace)
    foreign = written(workspace, tmp_path)
    values = np.array(RowStore.open(workspace.run("ice", "persistence") / "test").values) * 0.9
    by_fold = [tmp_path / f"test{fold}.npy" for fold in range(data.folds.k)]
    for fold, path in enumerate(by_fold):
        np.save(path, values + fold)
    import_predictions("theirs", config.data, replace(foreign, test=by_fold), workspace)
    np.testing.assert_array_equal(RowStore.open(workspace.run("ice", "theirs") / "test").values, values + 3)


def test_forecasts_that_are_not_imported_or_of_another_shape_or_unit_are_refused(workspace, tmp_path):
    run = {**IMPORTED["run"], "data": forecast_config().data.model_dump()}
    with pytest.raises(ConfigError, match=r"its predictions are imported\. Import them: skyfold import theirs"):
        make(forecast_config(forecasts=[FORECASTS[1], {**IMPORTED, "run": run}]), workspace)
    config = forecast_config(forecasts=FORECASTS[2:3], baseline=None)
    make(config, workspace)
    values = np.array(RowStore.open(workspace.run("ice", "persistence") / "test").values)
    for wrong, said in (
        (values / 250, r"test.npz, '2002-12': nowhere above 1, expected concentration x 250\. Multiply by 250"),
        (values - 1, r"'2002-12', in concentration x 250: -1 is below 0"),
        (np.where(values > 100, np.nan, values), r"NaN instead of a value"),
        (values[..., :6], r"float32 \(6, 16, 12\), expected numbers \(16, 12, 12\)"),
    ):
        with pytest.raises(DataLayoutError, match=said):
            import_predictions("theirs", config.data, written(workspace, tmp_path, test=wrong), workspace)
    assert not workspace.run("ice", "theirs").exists()


def test_the_table_says_what_the_forecasts_score(workspace):
    config = forecast_config(eval_years=[2000, 2002])
    data = make(config, workspace)
    whole = score_forecasts(config, data, workspace)
    table = {row.name: row for row in whole.rows}
    assert table["climatology"].difference.value == 0
    assert len(table["trend"].per_case) == 3
    assert table["trend"].score == pytest.approx(table["trend"].per_case.mean())
    metric, samples = data.competition.metric, data.train
    stored = RowStore.open(workspace.run("ice", "trend") / "oof")
    by_hand = [
        metric.score(metric.stats(target=samples.targets[i][None], pred=stored[i][None], valid=samples.valid[i][None]))
        for i in (4, 5, 6)
    ]
    np.testing.assert_allclose(table["trend"].per_case, by_hand)
    text = as_text(whole)
    assert "2001-12" in text.splitlines()[0]
    assert "1998-12" not in text.splitlines()[0]


def test_a_single_test_sample_is_scored_without_an_interval(workspace, sample):
    config, truth = forecast_config(forecasts=FORECASTS[:1], baseline=None), sample / "test_truth.csv"
    data = make(config, workspace)
    submission = submit_forecast(config, data, workspace)
    score = score_submission(data.competition, submission, truth).score
    assert score_lines(data.competition, submission, truth) == [f"test: mae_by_f1 {score:.4f}, one sample"]
    line, note = score_lines(data.competition, sample / "sample_submission.csv", truth)
    assert line == "test: mae_by_f1 inf, one sample"
    assert note.startswith("Score is not finite: no observed event was forecast")


def test_what_nothing_can_be_learned_from_is_refused_before_anything_is_made(workspace, tmp_path):
    """A forecast that learns from one that learns has no date before the first that both are asked for."""
    blend = {"name": "blend", "family": "weighted_blend", "members": ["climatology", "trend"]}
    upon = {"name": "upon", "family": "weighted_blend", "members": ["trend", "blend"]}
    config = forecast_config(forecasts=[*FORECASTS, blend, upon], eval_years=[2001, 2002])
    with pytest.raises(ConfigError, match="upon: its member blend learns itself, and so covers none of the dates"):
        make(config, workspace)
    first = forecast_config(forecasts=[*FORECASTS, blend])
    with pytest.raises(ConfigError, match=r"climatology covers none of the dates that fold 0 may learn from. Name as"):
        make(first, workspace)
    assert not list(tmp_path.glob("oof/*/*/run.json"))
    alone = Workspace(root=tmp_path / "alone", data_from=workspace.data_from)
    one_fold = FoldsConfig(years=(1999, 2002), years_per_fold=4)
    together = first.model_copy(update={"data": first.data.model_copy(update={"folds": one_fold})})
    prepare(together.data, alone)
    with pytest.raises(ConfigError, match=r"There is one fold alone.*set data\.folds\.years_per_fold lower"):
        make(together, alone)
    # Once it was made for earlier dates, the member has forecasts of them.
    make(forecast_config(forecasts=[*FORECASTS, blend], eval_years=[2000, 2002]), workspace)
    make(config, workspace)
    assert complete(workspace, "upon") == 2


def test_forecasts_are_made_once_and_again_where_they_are_damaged(workspace):
    logged: list[str] = []
    for _ in range(2):
        make_forecasts(forecast_config(), workspace, log=logged.append)
        assert len(logged) == len(FORECASTS)
    trend = workspace.run("ice", "trend")
    values = trend / "oof" / "values.npy"
    whole = values.read_bytes()
    values.write_bytes(whole[:-100])
    make(forecast_config(), workspace)
    assert values.read_bytes() == whole
    (trend / "run.json").write_text("{")
    with pytest.raises(DamagedFile, match=r"run\.json: not whole JSON .*\. Restore it from .*, or delete .*trend"):
        make(forecast_config(), workspace)
    (trend / "run.json").unlink()
    with pytest.raises(OofMismatch, match=r"trend: there are rows but no run\.json.*delete .*trend and make it again"):
        make(forecast_config(), workspace)
    shutil.rmtree(trend)
    make(forecast_config(), workspace)
    assert values.read_bytes() == whole


def test_a_config_that_failed_before_its_first_date_leaves_its_name_free(workspace):
    def config(years: int) -> ForecastConfig:
        far = {"name": "far", "family": "mean_of_years", "options": {"years": years}}
        return forecast_config(forecasts=[far], baseline=None)

    with pytest.raises(DataLayoutError, match="forecasts: far: a forecast from 20 earlier years was asked for"):
        make(config(20), workspace)
    make(config(1), workspace)
    assert complete(workspace, "far") == 4
    with pytest.raises(OofMismatch, match=r"another config \(changed: options.years\)"):
        make(config(20), workspace)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace("month", "date", 1), "(.|\n)*header: the first column is 'date'"),
        (lambda text: text.replace("2003-", "2004-"), r"12 rows, not those of .*\n.*'2004-01' is not asked for"),
        (lambda text: text.partition("\n")[0] + "\n", r"0 rows, not those of the samples\n.*no row for '2003-01'"),
    ],
)
def test_a_sample_submission_of_other_data_is_refused_before_anything_is_made(tmp_path, sample, change, named):
    workspace = Workspace(root=tmp_path)
    table = shutil.copytree(sample, workspace.data("ice")) / "sample_submission.csv"
    table.write_text(change(table.read_text()))
    prepare(forecast_config().data, workspace)
    with pytest.raises(InvalidSubmission, match=rf"sample_submission\.csv: {named}"):
        make(forecast_config(), workspace)
    assert not list(tmp_path.glob("oof/*/*/run.json"))


WET = {"name": "wet", "family": "weighted_blend", "options": {"event": "rain"}, "members": ["climatology"]}
TWICE = {"name": "twice", "family": "weighted_blend", "members": ["trend", "trend"]}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"forecasts": [*FORECASTS, WET]}, r"weighted_blend with \{'event': 'rain'\} is for mm/h; 'arctic_sea_ice' is"),
        ({"eval_years": [1997, 2002]}, r"\[1997, 2002\], but the folds validate only 1999 to 2002"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(workspace, changes, named):
    with pytest.raises(ConfigError, match=named):
        make(forecast_config(**changes), workspace)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"eval_years": [2002, 2000]}, r"eval_years: expected \[first, last\], got \[2002, 2000\]"),
        ({"forecasts": [*FORECASTS, TWICE]}, "twice: a member is named twice, trend, trend"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        forecast_config(**changes)


@pytest.mark.parametrize(
    ("family", "options", "named"),
    [
        ("mean_of_year", {}, "did you mean 'mean_of_years'"),
        ("mean_of_years", {"year": 5}, "did you mean 'years'"),
        ("linear_trend", {"years": 2}, "years': Input should be greater than or equal to 3"),
    ],
)
def test_an_unknown_family_or_option_is_refused_before_data_are_read(tmp_path, family, options, named):
    config = forecast_config(forecasts=[{"name": "a", "family": family, "options": options}], baseline=None)
    with pytest.raises(ConfigError, match=named):
        make(config, Workspace(root=tmp_path))
