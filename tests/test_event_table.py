"""From the sample's files to a table of events: forecasts made, fitted without the event they score, compared."""

import shutil

import numpy as np
import pytest

from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.forecasting.baselines.rain_extrapolation import RainExtrapolation
from skyfold.metrics.score_submission import score_lines
from skyfold.pipeline.baselines import make_forecasts
from skyfold.pipeline.forecasts import score_forecasts, submit_forecast
from skyfold.pipeline.prepare import prepare
from skyfold.reports.forecast_table import as_text
from skyfold.store.rows import RowStore
from skyfold.workspace import Workspace

CONFIG = ForecastConfig.model_validate(
    {
        "name": "table",
        "data": {
            "competition": "hydro_rain",
            "folds": {"k": 3},
            "sample": {"train": 12, "test": 2, "train_events": 3, "test_events": 1},
        },
        "baseline": "persistence",
        "forecasts": [
            {"name": "persistence", "family": "persistence"},
            {"name": "dis", "family": "rain_extrapolation"},
            {"name": "farneback", "family": "rain_extrapolation", "options": {"motions": ["farneback"]}},
            {"name": "blend", "family": "rain_blend", "options": {"stride": 1}, "members": ["dis", "farneback"]},
        ],
    }
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workspace = Workspace(root=tmp_path_factory.mktemp("work"))
    prepare(CONFIG.data, workspace, sample=True)
    return make_forecasts(CONFIG, workspace, log=lambda line: None), workspace


@pytest.fixture(scope="module")
def table(made):
    return score_forecasts(CONFIG, *made)


def test_moving_rain_is_forecast_better_than_by_persistence_on_every_event(table):
    still, dis, _, blend = table.rows
    assert len(table.cases) == 3
    assert (still.ratio, still.better, still.difference.value) == (1.0, 0, 0.0)
    assert dis.better == blend.better == 3
    assert max(dis.ratio, blend.ratio) < 0.8
    assert dis.beside["csi_at_1"] > still.beside["csi_at_1"]
    assert dis.beside["mae_by_csi_at_points"] < still.beside["mae_by_csi_at_points"]
    head, _, *lines = as_text(table).splitlines()
    assert head.startswith("forecast ")
    assert "of persistence" in head
    assert [line.split()[0] for line in lines] == ["persistence", "dis", "farneback", "blend"]
    assert "1.000" in lines[0]
    assert "0/3" in lines[0]


def test_figures_of_the_table_worked_out_slowly(made, table):
    """MAE / CSI of one event, and the error where it rained, from all pixels at once."""
    data, workspace = made
    chosen = np.flatnonzero(data.train.groups.astype(str) == table.cases[1])
    known = np.stack([data.train.valid[i] for i in chosen])
    truth = np.stack([data.train.targets[i] for i in chosen])[known]
    pred = RowStore.open(workspace.run("hydro_rain", "dis") / "oof").values[chosen][known]
    hits, either = ((truth >= 0.1) & (pred >= 0.1)).sum(), ((truth >= 0.1) | (pred >= 0.1)).sum()
    dis = table.rows[1]
    assert data.train.inputs.checksum is data.train.inputs.checksum, "read with every row, and made of all files"
    assert dis.per_case[1] == pytest.approx(np.abs(truth - pred).mean() / (hits / either), rel=1e-5)
    assert dis.beside["mae_where_wet"] > np.abs(truth - pred).mean()


def test_noise_in_the_targets_of_fold_0_changes_no_forecast_of_them(made, tmp_path):
    data, workspace = made
    noisy, rows, rng = Workspace(root=tmp_path), data.folds.fold == 0, np.random.default_rng(0)
    shutil.copytree(workspace.data("hydro_rain"), noisy.data("hydro_rain"))
    for name in data.train.ids[rows]:
        path = noisy.data("hydro_rain") / "train" / name
        window = np.load(path)
        window[..., -1] = rng.integers(0, 4000, window.shape[:2])
        np.save(path, window)
    noisy.oof("hydro_rain").mkdir(parents=True)
    shutil.copy(workspace.folds("hydro_rain"), noisy.folds("hydro_rain"))
    make_forecasts(CONFIG, noisy, log=lambda line: None)
    for name in ("dis", "blend"):
        clean, other = (RowStore.open(place.run("hydro_rain", name) / "oof").values for place in (workspace, noisy))
        np.testing.assert_array_equal(clean[rows], other[rows])


def test_the_last_forecast_is_submitted_scored_and_read_at_the_dams(made):
    data, workspace = made
    submission = submit_forecast(CONFIG, data, workspace)
    stored = RowStore.open(workspace.run("hydro_rain", "blend") / "test").values
    pred = np.stack([data.competition.read_pred(submission, data.test.ids)[i] for i in range(2)])
    np.testing.assert_allclose(pred, stored, rtol=1e-3, atol=0.04)  # what is below 0 dBZ is submitted as no rain
    header, first, *_ = (submission.parent / "table_points.csv").read_text().splitlines()
    assert header == "id,lead,67_28,64_46,69_57,66_62,64_68,71_70,87_56"
    assert first.startswith("test_00000.npy,+10 min,")
    assert [float(value) for value in first.split(",")[2:]] == pytest.approx(
        [float(stored[0, row, column, 0]) for row, column in data.competition.points], abs=5e-4
    )
    scored, dams = score_lines(data.competition, submission, workspace.data("hydro_rain") / "test_truth.csv")
    assert scored.startswith("test: mae_by_csi 0.")
    assert scored.endswith("over 2 samples")
    assert dams.startswith("test, 7 points: ")


NETWORK = {
    "name": "persistence",
    "data": CONFIG.data.model_dump(),
    "task": "forecasting",
    "frame_adapter": {"name": "anomalies"},
    "model": {"family": "anomaly_unet"},
    "loss": {"name": "mae"},
    "training": {"checkpoint": "last"},
}
SEASONAL = ForecastModel(name="persistence", run=RunConfig.model_validate(NETWORK))


def one(**changes):
    """The config with a single forecast, the first one changed."""
    return {"forecasts": (CONFIG.forecasts[0].model_copy(update=changes),)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (one(family="rain_blend"), "forecasts: persistence: rain_blend blends its members; name some in members"),
        (one(family="edge_blend"), "edge_blend is for concentration x 250; 'hydro_rain' is in mm/h"),
        (one(family="mean_of_years"), "persistence: mean_of_years asks for the same season of earlier years"),
        ({"forecasts": (SEASONAL,)}, "persistence: frame_adapter anomalies asks for the same season"),
        ({"eval_years": (2012, 2014)}, "eval_years: names years, but the samples of these data have no dates"),
    ],
)
def test_what_cannot_be_forecast_is_refused_before_anything_is_made(made, changes, message):
    before = sorted(made[1].root.rglob("run.json"))
    with pytest.raises(ConfigError, match=message):
        make_forecasts(CONFIG.model_copy(update=changes), made[1])
    assert sorted(made[1].root.rglob("run.json")) == before


def test_a_missing_package_is_named_before_anything_is_made_and_not_missed_by_what_is_made(made, tmp_path, monkeypatch):
    def missing(baseline):
        raise ConfigError("needs a package that is not installed")

    monkeypatch.setattr(RainExtrapolation, "require", missing)
    make_forecasts(CONFIG, made[1], log=lambda line: None)
    workspace = Workspace(root=tmp_path)
    prepare(CONFIG.data, workspace, sample=True)
    with pytest.raises(ConfigError, match="forecasts: dis: needs a package"):
        make_forecasts(CONFIG, workspace)
    assert not list(tmp_path.glob("oof/*/persistence"))


def test_an_event_without_rain_stops_nothing(tmp_path):
    """Its figure is not known, or 0; the others are compared without it."""
    workspace = Workspace(root=tmp_path)
    prepare(CONFIG.data, workspace, sample=True)
    train = workspace.data("hydro_rain") / "train"
    for path, value in zip(sorted(train.glob("*.npy")), (0, 0, 0, 0, -9999), strict=False):
        np.save(path, np.full_like(np.load(path), value))
    workspace.folds("hydro_rain").unlink()
    prepare(CONFIG.data, workspace)
    config = CONFIG.model_copy(update={"forecasts": CONFIG.forecasts[:2]})
    table = score_forecasts(config, make_forecasts(config, workspace, log=lambda line: None), workspace)
    still, dis = table.rows
    comparable = still.per_case > 0
    assert len(table.cases) == comparable.sum() + 5
    assert dis.ratio == pytest.approx((dis.per_case[comparable] / still.per_case[comparable]).mean())
    assert "dis" in as_text(table)
