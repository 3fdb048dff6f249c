"""Networks for forecasts go the way of every run: trained fold by fold, stored, compared, blended, handed in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from skyfold.competition import build
from skyfold.config.files import load_forecasts
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.forecasting import rain_units
from skyfold.forecasting.arrays import forecast_arrays
from skyfold.forecasting.frame_adapters import advected, anomalies, frames
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.forecasting.rain_units import log_rain
from skyfold.pipeline.plot import draw_pictures
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.run import run_job
from skyfold.pipeline.train import train
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import read_history
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.tasks import build_task
from skyfold.tasks.open_run import check
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.types import Samples
from skyfold.workspace import Workspace

ROOT = Path(__file__).parents[1]
DATA = {
    "competition": "hydro_rain",
    "folds": {"k": 3},
    "sample": {"train": 12, "test": 2, "train_events": 3, "test_events": 1},
}
NETWORK = {
    "name": "network",
    "data": DATA,
    "task": "forecasting",
    "frame_adapter": {"name": "advected"},
    "model": {"family": "rain_unet", "options": {"filters": [4, 8]}},
    "loss": {"name": "mae"},
    "augment": [{"name": "D4", "p": 1.0}],
    "training": {"epochs": 2, "batch_size": 4, "checkpoint": "last"},
    "optimizer": {"learning_rate": 1e-3},
}


def network(**changes: object) -> RunConfig:
    return RunConfig.model_validate({**NETWORK, **changes})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(root=tmp_path_factory.mktemp("work"))
    prepare(network().data, workspace, sample=True)
    return workspace


def rows_of(workspace: Workspace, run: str = "network", part: str = "oof") -> np.ndarray:
    return np.array(RowStore.open(workspace.run("hydro_rain", run) / part).values)


def test_a_network_is_a_row_of_the_table_a_member_and_a_submission(workspace: Workspace) -> None:
    forecasts = [
        {"name": "dis", "family": "rain_extrapolation"},
        {"name": "network", "run": "network.yaml"},
        {"name": "blend", "family": "rain_blend", "options": {"stride": 1}, "members": ["dis", "network"]},
    ]
    table = {"name": "table", "data": DATA, "baseline": "dis", "forecasts": forecasts}
    for name, values in (("network", NETWORK), ("table", table)):
        (workspace.root / f"{name}.yaml").write_text(yaml.safe_dump(values))
    said: list[str] = []
    run_job(workspace.root / "table.yaml", workspace, said.append)
    lines = "\n".join(said).splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in ("dis", "network", "blend")] == [
        "dis",
        "network",
        "blend",
    ]
    assert any(line.startswith("submission:") for line in lines)
    head = next(line for line in lines if " better " in line)
    assert "validation loss" in head
    histories = [read_history(path) for path in workspace.run("hydro_rain", "network").glob("models/*.csv")]
    val_loss = sum(history[-1]["val_loss"] for history in histories) / 3
    assert f"{val_loss:.5f}" in next(line for line in lines if line.startswith("network "))
    stored, extrapolated = rows_of(workspace), rows_of(workspace, "dis")
    assert (stored >= 0).all()
    difference = np.abs(stored - extrapolated).mean()
    assert 0 < difference < 0.5 * extrapolated.mean(), "two epochs correct the extrapolation, they do not replace it"
    said.clear()
    run_job(workspace.root / "network.yaml", workspace, said.append)
    assert any(line.startswith("network ") for line in "\n".join(said).splitlines())
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "network.yaml", "--root", "."]
    shown = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=True).stdout
    assert [line.split(":")[0] for line in shown.splitlines()[:3]] == ["fold 0", "fold 1", "fold 2"]
    assert next(table for table in said if table.startswith("forecast ")) in shown
    assert draw_pictures(load_forecasts(workspace.root / "table.yaml"), workspace, "network")
    other = ForecastConfig.model_validate(
        {**table, "forecasts": [forecasts[0], {"name": "network", "run": network(loss={"name": "logcosh"})}]}
    )
    with pytest.raises(OofMismatch, match=r"made with another config \(changed: its run\)"):
        draw_pictures(other, workspace, "network")


def test_fold_after_fold_ends_with_the_same_bytes(workspace: Workspace) -> None:
    whole, parts = network(name="whole"), network(name="parts")
    assert train(whole, workspace).complete
    assert not train(parts, workspace, only_folds=[1]).complete
    assert train(parts, workspace).complete
    for part in ("oof", "test"):
        np.testing.assert_array_equal(rows_of(workspace, "parts", part), rows_of(workspace, "whole", part))


def test_a_full_fit_learns_from_all_events_and_enters_no_row(workspace: Workspace) -> None:
    whole = network(name="whole")
    train(whole, workspace)
    before = rows_of(workspace, "whole")
    [fit] = train(whole, workspace, full=True).full
    assert (fit.weights.name, fit.epochs, fit.weights.is_file()) == ("full_seed0.weights.h5", 2, True)
    np.testing.assert_array_equal(rows_of(workspace, "whole"), before)


def test_what_came_after_a_forecast_changes_no_bit_of_it(workspace: Workspace, tmp_path: Path) -> None:
    """The wanted frames of the event that fold 0 validates become noise; what fold 0 says of them stays."""
    plain = network(name="plain")
    train(plain, workspace, only_folds=[0])
    noisy = Workspace(root=tmp_path)
    prepare(plain.data, noisy, sample=True)
    noisy.folds("hydro_rain").write_bytes(workspace.folds("hydro_rain").read_bytes())
    store = RowStore.open(workspace.run("hydro_rain", "plain") / "oof")
    rng = np.random.default_rng(0)
    for name in store.ids[store.complete].tolist():
        path = noisy.data("hydro_rain") / "train" / name
        raw = np.load(path)
        raw[..., -1] = rng.integers(0, 4000, raw.shape[:2])
        np.save(path, raw)
    train(plain, noisy, only_folds=[0])
    assert store.complete.sum() >= 3
    np.testing.assert_array_equal(rows_of(noisy, "plain")[store.complete], rows_of(workspace, "plain")[store.complete])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frame_adapter": None}, "frame_adapter"),
        ({"image": {"size": [120, 120]}}, "remove image"),
        ({"training": {"checkpoint": "best"}}, "checkpoint: best"),
        ({"training": {"checkpoint": "last", "patience": 2}}, "patience"),
        ({"augment": [{"name": "RandomBrightnessContrast"}]}, "RandomBrightnessContrast"),
        ({"mix": [{"name": "cutmix"}]}, "mix"),
        ({"task": "segmentation"}, "image"),
    ],
)
def test_what_a_forecast_cannot_use_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        network(**changes)


def test_unknown_views_losses_and_networks_are_refused_before_any_data_are_read() -> None:
    with pytest.raises(ConfigError, match="did you mean 'advected'"):
        check(network(frame_adapter={"name": "advectd"}))
    with pytest.raises(ConfigError, match=r"'frame_adapter\.options\.motions\.0': unknown \(did you mean 'dis'"):
        check(network(frame_adapter={"name": "advected", "options": {"motions": ["diss"]}}))
    with pytest.raises(ConfigError, match="no loss 'bce_dice' for forecasting"):
        check(network(loss={"name": "bce_dice"}))


def test_a_table_refuses_a_run_of_another_name_or_data() -> None:
    for named, name, data in (
        ("other: the run has name: network", "other", DATA),
        ("data.folder: hydro_rain, not b", "network", {**DATA, "name": "b"}),
        ("has data.folds: .*k=3", "network", {**DATA, "folds": {"k": 4}}),
        ("has data.options: {}, not", "network", {**DATA, "options": {"unit": "mm/h"}}),
    ):
        with pytest.raises(ValidationError, match=named):
            ForecastConfig.model_validate({"name": "t", "data": data, "forecasts": [{"name": name, "run": network()}]})
    with pytest.raises(ValidationError, match="give a family, or a run"):
        ForecastConfig.model_validate({"name": "t", "data": DATA, "forecasts": [{"name": "both"}]})


@pytest.mark.parametrize("make", [frames.Frames, advected.Advected])
def test_a_view_of_rain_gives_back_the_rain_that_was_wanted(make):
    rng = np.random.default_rng(0)
    rain = np.where(rng.random((5, 24, 20)) < 0.4, rng.gamma(1.0, 3.0, (5, 24, 20)), 0).astype(np.float32)
    history, view = PastFrames(rain[:4], np.array([1])), make()
    assert view.inputs(history).shape == (24, 20, 4)
    valid = rng.random((24, 20, 1)) < 0.8
    truth = np.where(valid, rain[4][..., None], np.nan)
    target = view.target(history, truth, valid)
    assert np.isfinite(target).all()
    np.testing.assert_array_equal(target[..., 1:] > 0, valid)
    np.testing.assert_allclose(view.forecast(target[..., :1], history)[valid], truth[valid], rtol=1e-5)


def test_frames_are_carried_along_each_motion_the_last_one_last() -> None:
    rng = np.random.default_rng(1)
    rain = np.repeat(rng.gamma(1.0, 3.0, (1, 24, 20)), 4, axis=0).astype(np.float32)
    rain = np.stack([np.roll(frame, shift, axis=1) for shift, frame in enumerate(rain)])
    history = PastFrames(rain, np.array([1]))
    alone = [advected.Advected(motions=[name]).inputs(history) for name in ("dis", "phase_correlation")]
    np.testing.assert_array_equal(
        advected.Advected(motions=["dis", "phase_correlation"]).inputs(history), np.concatenate(alone, axis=-1)
    )
    assert not np.array_equal(*alone)


def test_frames_are_shown_oldest_first_on_the_logarithmic_scale() -> None:
    rain = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 8, 8), dtype=np.float32)
    seen = frames.Frames().inputs(PastFrames(rain, np.array([1])))
    np.testing.assert_allclose(seen[0, 0], log_rain(np.arange(4)))
    assert rain_units.LOG_FLOOR == 0.1


@pytest.mark.parametrize(("newest", "expected"), [(None, ["2001", "2002", "2003"]), (2, ["2002", "2003"])])
def test_a_fold_learns_from_its_newest_dates_that_teach_something(newest: int | None, expected: list[str]) -> None:
    years = [2003, 2001, 2000, 2002, 2004]
    times = np.array([str(year) for year in years], dtype="datetime64[Y]")
    folds = Folds(
        ids=times.astype(str),
        fold=np.array([-1, -1, -1, -1, 0]),
        groups=np.arange(5),
        times=times,
        trained_before=times[-1:],
    )
    # The frames begin with 1999, so that 2000 has one year before it: too few to teach.
    last = np.array([12 * (year - 1999) - 1 for year in years])
    whole = PastFrames(np.zeros((5 * 12, 8, 8), dtype=np.uint8), np.arange(1, 13), 12)
    histories = PastFramesSource(len(last), lambda i: whole.until(int(last[i])), lambda: "frames")
    samples = Samples(ids=folds.ids, inputs=histories, times=times)
    view = {"name": "anomalies", "options": {"least_years": 2}, "max_train_size": newest}
    config = network(
        data={"competition": "arctic_sea_ice", "options": {"grid": [8, 8]}}, frame_adapter=view, augment=[]
    )
    contest = build("arctic_sea_ice", {"grid": [8, 8]})
    arrays = forecast_arrays(samples, anomalies.Anomalies(least_years=2))
    task = build_task(config, contest)
    job = FoldTrainer(task, arrays, Path("nowhere"), Fingerprint())
    assert times[job.split(folds, 0, 0).train].astype(str).tolist() == expected
    short = forecast_arrays(samples, anomalies.Anomalies(least_years=9))
    told = FoldTrainer(task, short, Path("nowhere"), Fingerprint())
    with pytest.raises(ConfigError, match="fold 0: no sample to fit it on"):
        told.split(folds, 0, 0)
    if newest is not None:
        with pytest.raises(ConfigError, match=r"frame_adapter\.max_train_size: these samples have no order in time"):
            job.split(replace(folds, times=None, trained_before=None), 0, 0)
