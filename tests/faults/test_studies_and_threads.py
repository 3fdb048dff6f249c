"""Studies whose database was damaged or exchanged, and numbers of threads, on which trained weights depend."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from skyfold.cli.main import main
from skyfold.store.records import RunRecord, read_record, write_record
from skyfold.training import backend
from skyfold.tuning import worker
from skyfold.tuning.search_space import StudyConfig
from skyfold.tuning.study import open_study

STUDY = """
name: search
base: network.yaml
search: {optimizer.learning_rate: {kind: float, low: 1.0e-4, high: 1.0e-2}}
"""


def opened(tiny, **options):
    """The study as `tune` opens it, without a trial."""
    config = StudyConfig.model_validate(
        {"name": "search", "base": "network.yaml", "search": {"optimizer.learning_rate": RATE}}
    )
    folder = tiny.oof / "tuning" / "search"
    given = {"storage": None, "greater_is_better": True, "max_epochs": 1, "settings": {}, **options}
    return open_study(config, folder, **given)


RATE = {"kind": "float", "low": 1e-4, "high": 1e-2}


@pytest.fixture(scope="module")
def made_study(made_once, tmp_path_factory):
    """A study of one trial that `tune` has finished, in a copy of the project."""
    root = tmp_path_factory.mktemp("study") / "project"
    shutil.copytree(made_once, root, copy_function=shutil.copy2)
    path = root / "configs" / "search.yaml"
    path.write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        assert main(["tune", str(path), "--trials", "1", "--root", str(root)]) == 0
    return root


@pytest.fixture
def study(made_study, tiny):
    """A copy of it that a test may break."""
    shutil.rmtree(tiny.root)
    shutil.copytree(made_study, tiny.root, copy_function=shutil.copy2)
    return tiny


def database(tiny):
    return tiny.oof / "tuning" / "search" / "study.db"


def execute(tiny, *statements):
    with contextlib.closing(sqlite3.connect(database(tiny))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("DELETE FROM trial_values", 3, "trial 0: complete, but its value is missing"),
        ("UPDATE trial_values SET value_type = 'INF_POS', value = NULL", 3, "complete, but its value is inf"),
        ("UPDATE trial_params SET param_value = 7", 3, "optimizer.learning_rate = 7"),
        ("UPDATE trial_params SET param_name = 'epochs'", 3, "epochs = "),
        ("UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'worker'", 3, "its worker is [1]"),
        ("UPDATE trial_params SET distribution_json = '{}'", 2, "cannot be used as a study database"),
        ("UPDATE study_user_attributes SET value_json = '\"{\"' WHERE key = 'settings'", 3, "the settings"),
        ("UPDATE study_user_attributes SET value_json = '\"x\"' WHERE key = 'threads'", 3, "the settings"),
        ("UPDATE alembic_version SET version_num = 'v9'", 2, "cannot be used as a study database"),
        ("ALTER TABLE trial_values DROP COLUMN value", 2, "cannot be used as a study database"),
    ],
)
def test_an_odd_record_of_a_study_is_named_with_its_database(study, statement, code, message):
    execute(study, statement)
    before = study.files()
    found, _, err = study.run("tune", study.config("search"), "--trials", "1")
    assert found == code
    assert message in err
    assert str(database(study)) in err
    assert "to start over" in err
    assert study.files() == before


def test_a_database_that_is_no_database_is_named(study):
    database(study).write_bytes(b"no database" * 400)
    code, _, err = study.run("tune", study.config("search"), "--trials", "1")
    assert code == 2
    assert f"{database(study)}: cannot be used as a study database" in err


def test_a_study_goes_on_in_its_own_database_only(study):
    other = f"sqlite:///{study.root}/other.db"
    code, _, err = study.run("tune", study.config("search"), "--trials", "1", "--storage", other)
    assert code == 2
    assert "Pass the same --storage as before" in err
    (database(study).parent / "storage.txt").unlink()
    code, _, err = study.run("tune", study.config("search"), "--trials", "1", "--storage", other)
    assert code == 2
    assert "the study is kept in another database. Pass its --storage" in err
    assert study.run("tune", study.config("search"), "--trials", "1")[0] == 0


def test_fewer_workers_are_started_where_cores_do_not_suffice_for_the_threads_of_the_study(tiny, monkeypatch, capsys):
    assert opened(tiny, threads=2).threads == 2
    again = opened(tiny, threads=1)
    assert again.threads == 2, "as many as the study was created with"
    monkeypatch.setattr(worker, "usable_cores", lambda: 5)
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('TF_NUM_INTRAOP_THREADS'))"
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    worker.run_worker_processes(again, [sys.executable, "-c", code], 4, n_trials=1)
    assert "2 of 4 workers are started: each computes in 2 threads, on 5 cores." in capsys.readouterr().out
    logs = sorted((again.folder / "workers").glob("*.txt"))
    assert [log.read_text() for log in logs] == ["2 None\n"] * 2


def test_a_run_goes_on_in_the_threads_it_was_begun_with_to_the_same_bytes(tiny):
    record = tiny.oof / "network" / "run.json"
    threads = json.loads(record.read_text())["fingerprint"]["threads"]
    assert threads == str(backend.default_threads())
    before = tiny.files()
    forget_fold_1(tiny)
    command = [sys.executable, "-m", "skyfold", "train", str(tiny.config("network")), "--root", str(tiny.root)]
    other = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(int(threads) + 1), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=other, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = tiny.files()
    weights = "oof/tiny/network/models/fold1_seed0.weights.h5"
    assert after[weights] == before[weights]
    assert after["oof/tiny/network/oof/values.npy"] == before["oof/tiny/network/oof/values.npy"]


def test_a_process_that_computes_in_other_threads_is_refused_with_how_to_go_on(tiny):
    record = tiny.oof / "network" / "run.json"
    values = read_record(record, RunRecord, remedy="")
    values["fingerprint"]["threads"] = str(backend.default_threads() + 1)
    write_record(record, values)
    forget_fold_1(tiny)
    before = tiny.files()
    code, _, err = tiny.run("train", "network")
    assert code == 2
    assert f"and the run was begun with {backend.default_threads() + 1}" in err
    assert "--restart" in err
    assert tiny.files() == before


def forget_fold_1(tiny):
    for path in (tiny.oof / "network" / "models").glob("fold1_*"):
        path.unlink()


def test_a_database_on_a_full_disk_is_named_with_the_remedy(study, monkeypatch):
    def full(**_):
        raise StorageInternalError("An exception is raised during the commit.") from sqlite3.OperationalError(
            "(sqlite3.OperationalError) database or disk is full"
        )

    monkeypatch.setattr(optuna, "create_study", full)
    code, _, err = study.run("tune", study.config("search"), "--trials", "1")
    assert code == 2
    assert (
        f"{database(study)}: cannot be used as a study database ((sqlite3.OperationalError) database or disk is" in err
    )
    assert "Free disk space, then run the same command again." in err
    assert "delete" not in err
