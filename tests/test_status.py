"""`skyfold status`: what is done, what runs in which process, and what is left."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from skyfold.cli.main import main
from skyfold.files import host
from skyfold.pipeline.status import FitProgress, as_text, status
from skyfold.store.fits import COLUMNS
from skyfold.store.folds import write_folds
from skyfold.store.locks import Holder, held, own_file
from skyfold.training import checkpoint
from skyfold.training.checkpoint import Checkpoint, CheckpointFile
from skyfold.tuning.results import write_table
from skyfold.tuning.worker import run_worker
from skyfold.workspace import Workspace
from test_forecast_runs import forecast_config, make, sample  # noqa: F401
from test_forecast_runs import workspace as ice  # noqa: F401
from test_loggers import EPOCHS, FOLDS, config_of, train
from test_tuning import by_rate, opened
from test_tuning import folder as study_folder  # noqa: F401

DEAD = 2**22 + 1  # beyond the largest number of a process


@pytest.fixture
def project(tmp_path, tiny_families, monkeypatch) -> Workspace:
    """With folds, and a checkpoint after every epoch."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    write_folds(tmp_path / "oof/shapes/folds.csv", FOLDS)
    return Workspace(tmp_path)


def test_a_run_that_trains_stops_and_ends(project, monkeypatch):
    folder, seen = project.run("shapes", "tiny"), []

    def look(*_):
        seen.append(status("shapes", project)[0])
        if len(seen) == 2:
            raise KeyboardInterrupt

    assert status("shapes", project) == []
    with monkeypatch.context() as patch:
        patch.setattr("skyfold.loggers.Loggers.log_epoch", look)
        with held(writes=[folder]):
            assert [(one.name, one.state) for one in status("shapes", project)] == [("tiny", "running")]
            with pytest.raises(KeyboardInterrupt):
                train(project.root, config_of(), only_folds=None)
    first, second = seen
    ((fit,), (process,)) = second.fits, second.processes
    assert (second.state, second.done, second.total) == ("running", 0, 2)
    assert (fit.name, fit.epoch, fit.epochs) == ("fold 0, seed 0", 2, EPOCHS)
    assert process.host == host()
    assert 0 <= fit.seconds_left < second.seconds_left  # the fit of fold 1 is to come
    assert "tiny  run   running  0 of 2 fits  fold 0, seed 0: epoch 1 of 4  about" in as_text([first])
    [stopped] = status(None, project)
    assert (stopped.state, stopped.processes, stopped.fits[0].epoch) == ("unfinished", [], 2)
    train(project.root, config_of())
    [half] = status("shapes", project)
    assert (half.state, half.done, half.fits, half.seconds_left > 0) == ("unfinished", 1, [], True)
    train(project.root, config_of(), only_folds=None)
    [whole] = status("shapes", project)
    assert (whole.state, whole.done, whole.total, whole.seconds_left) == ("complete", 2, 2, 0)


def test_a_process_that_was_killed_does_not_run(project):
    locks = project.oof("shapes") / ".locks"
    locks.mkdir()
    for soft in (True, False):
        path = locks / f"tiny@{host()}-{DEAD}-{soft}.lock"
        path.touch()
        record = asdict(Holder(host(), DEAD, "2026-01-01 00:00:00+00:00", "skyfold train", True, soft))
        path.with_name(f"{path.name}.json").write_text(json.dumps(record))
    assert status("shapes", project) == []


def test_a_study_counts_its_trials_and_workers(study_folder, monkeypatch):  # noqa: F811
    study = opened(study_folder, to="oof/tiny/tuning/search")
    run_worker(study, by_rate, n_trials=3, save_best=lambda _: write_table(study))
    write_table(study)
    [found] = status("tiny", Workspace(study_folder))
    assert (found.kind, found.state, found.done, found.unit) == ("study", "complete", 3, "trials")
    monkeypatch.setattr("sys.argv", ["skyfold", "tune", "study.yaml", "--trials", "5"])
    trial = study.trial_folder(3)
    trial.mkdir(parents=True)
    (trial / "config.yaml").write_text((study_folder / "small.yaml").read_text())
    row = {**dict.fromkeys(COLUMNS, 0.0), "epoch": 1, "seconds": 7.0}
    CheckpointFile(trial / "fold0_seed0.checkpoint.npz", "key").write(Checkpoint([row], {}, [], "2026-01-01"))
    with own_file(study.folder / "workers" / "mine.lock"):
        [found] = status("tiny", Workspace(study_folder))
    assert (found.state, found.done, found.total, found.processes[0].host) == ("running", 3, 5, host())
    assert found.seconds_left >= 0
    assert list(found.fits) == [FitProgress("trial 3, fold 0, seed 0", 1, 9, 8 * 7.0)]


def test_forecasts_count_their_dates(ice):  # noqa: F811
    config = forecast_config(forecasts=[{"name": "persistence", "family": "persistence"}], baseline=None)
    make(config, ice)
    [found] = status("ice", ice)
    assert (found.kind, found.state, found.done == found.total > 4) == ("forecast", "complete", True)


def test_the_command(project, capsys, monkeypatch):
    folder = train(project.root, config_of())
    assert main(["status", "shapes", "--root", str(project.root), "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["entries"]
    assert (found["data"], found["name"], found["done"], found["total"]) == ("shapes", "tiny", 1, 2)
    (folder / "run.json").write_text("{}")
    assert main(["status", "--root", str(project.root)]) == 0
    assert "unreadable" in capsys.readouterr().out
