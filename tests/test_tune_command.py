"""The tune command with real training at 32 pixels: files, refusals, workers, and a SIGKILL during a fit."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

import skyfold.models
from skyfold.cli.main import main
from skyfold.config.files import load_run
from skyfold.tuning.tune import tune
from skyfold.workspace import Workspace

CHILD = Path(__file__).parent / "tuning_train_child.py"
FILES = {
    "data.yaml": """
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 16, test: 2, seed: 0, height: 64}
""",
    "tiny.yaml": """
base: data.yaml
name: tiny
image: {size: [32, 32], normalization: per_image}
model: {family: tiny_net, options: {filters: 4}}
training: {epochs: 5, batch_size: 4}
""",
    "search.yaml": """
name: search
base: tiny.yaml
folds: [0, 1]
trial: {training.epochs: 3}
pruner: {name: none}
search:
  optimizer.learning_rate: {kind: float, low: 1.0e-3, high: 1.0e-1, log: true}
  model.options.filters: {kind: int, low: 4, high: 8, step: 4}
""",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "configs").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        patch.chdir(folder)
        assert main(["prepare", "data.yaml", "--sample"]) == 0
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__, str(CHILD.parent / "families")])
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def child(folder, *arguments):
    """Start the command; two of them run side by side, with one core each."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(CHILD), "search.yaml", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process):
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def trials(folder):
    with open(folder / "oof/tiny/tuning/search/trials.csv") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.yaml", "--trials", "0"], "give at least 1"),
        (["nowhere.yaml", "--trials", "1"], "nowhere.yaml: no such config file"),
        (["tiny.yaml", "--trials", "1"], "tiny.yaml: not a study file (no 'search')"),
        (["search.yaml", "--trials", "1", "--set", "folds=[2]"], "no fold 2; the data set has folds 0 to 1"),
        (["search.yaml", "--trials", "1", "--set", "loss.name=dyce"], "did you mean 'dice'?"),
    ],
)
def test_mistakes_are_reported_before_anything_is_fitted(folder, capsys, arguments, message):
    assert main(["tune", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "oof/tiny/tuning").exists()


@pytest.mark.slow
def test_killed_in_a_fit_the_study_resumes_from_the_checkpoint(folder, tmp_path):
    """Two folds of three epochs a trial: the eighth epoch is the second of trial 1's first fold."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(folder, undisturbed)
    beside = child(undisturbed, 2)
    code, output = end(child(folder, 2, 8))
    assert code == -signal.SIGKILL, output
    assert len(list(folder.glob("oof/tiny/tuning/search/trials/0001/*.checkpoint.npz"))) == 1
    code, output = end(child(folder, 2))
    assert code == 0, output
    assert "trial 1: its worker died; requeued after epoch 2" in output
    code, output = end(beside)
    assert code == 0, output
    assert trials(folder) == trials(undisturbed)
    assert [row["state"] for row in trials(folder)] == ["complete"] * 2
    steps = [Counter((where / "steps.txt").read_text().splitlines()) for where in (folder, undisturbed)]
    assert steps[0] == steps[1]  # no step was done twice
    best = [where / "oof/tiny/tuning/search/best.yaml" for where in (folder, undisturbed)]
    assert load_run(best[0]).training.epochs == 5
    assert best[0].read_text().splitlines()[2:] == best[1].read_text().splitlines()[2:]
    models = sorted(path.parent.name for path in folder.glob("oof/tiny/tuning/search/trials/*/*.h5"))
    assert len(set(models)) == 1
    assert len(models) == 2  # both folds of the best trial


@pytest.mark.slow
def test_two_workers_one_of_them_killed_and_the_best_is_trained(folder, capsys):
    study = folder / "oof/tiny/tuning/search"
    killer = threading.Thread(target=kill_a_worker, args=(study,))
    killer.start()
    command = [sys.executable, str(CHILD), "search.yaml", "3"]
    best = tune(Path("search.yaml"), Workspace(Path.cwd()), trials=3, workers=2, worker_command=command) / "best.yaml"
    killer.join()
    output = capsys.readouterr().out
    assert "exited with code -9" in output
    assert "3/3 finished" in output
    rows = trials(folder)
    assert [row["state"] for row in rows] == ["complete"] * 3, output
    assert len({row["optimizer.learning_rate"] for row in rows}) == 3
    assert main(["train", str(best), "--fold", "0", "--set", "training.epochs=1"]) == 0
    assert (folder / "oof/tiny/search_best/run.json").is_file()


def kill_a_worker(study):
    """SIGKILL the worker that has trial 1, once both are running."""
    deadline = time.monotonic() + 120
    while len(list(study.glob("workers/*.lock"))) < 2 or not (study / "trials/0001/config.yaml").is_file():
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    trial = optuna.load_study(study_name="search", storage=f"sqlite:///{study}/study.db").trials[1]
    os.kill(int(trial.user_attrs["worker"].split("-")[1]), signal.SIGKILL)
