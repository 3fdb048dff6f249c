"""The command itself with real training at 32 pixels: its files, its refusals, its workers, and a kill in a fit."""

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

import pytest
from optuna.storages import JournalStorage

import skyfold.models
from skyfold.cli.main import main
from skyfold.config.files import load_run
from skyfold.tuning.journal import MendedJournal
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
    "unet.yaml": """
base: data.yaml
name: unet
image: {size: [32, 32], normalization: per_image}
model: {family: segmentation_models, options: {encoder: resnet18, encoder_weights: none}}
""",
    "search_unet.yaml": """
name: search_unet
base: unet.yaml
search:
  optimizer.learning_rate: {kind: float, low: 1.0e-3, high: 1.0e-1, log: true}
""",
}


def script(name):
    return lambda arguments: main([name, *arguments])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "configs").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        patch.chdir(folder)
        assert script("prepare")(["data.yaml", "--sample"]) == 0
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
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
    said, _ = process.communicate(timeout=200)
    return process.returncode, said


def trials(folder, study="search"):
    with open(folder / "oof/tiny/tuning" / study / "trials.csv") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_mistakes_are_said_before_anything_is_fitted(folder, capsys):
    command = script("tune")
    assert command(["search.yaml", "--trials", "0"]) == 2
    assert command(["nowhere.yaml", "--trials", "1"]) == 2
    assert command(["unet.yaml", "--trials", "1"]) == 2
    assert command(["search_unet.yaml", "--trials", "1", "--set", "folds=[2]"]) == 2
    assert command(["search_unet.yaml", "--trials", "1", "--set", "loss.name=dyce"]) == 2
    said = capsys.readouterr().err
    assert "give at least 1" in said
    assert "nowhere.yaml: no such study file" in said
    assert "unet.yaml: not a study (it has no 'search')" in said
    assert "there is no fold 2; the data set has 0 to 1" in said
    assert "did you mean 'dice'?" in said
    assert not (folder / "oof/tiny/tuning").exists()


@pytest.mark.slow
def test_killed_in_a_fit_the_study_goes_on_from_the_checkpoint(folder, tmp_path):
    """Two folds of three epochs a trial: the eighth epoch is the second of trial 1's first fold."""
    quiet = tmp_path / "quiet"
    shutil.copytree(folder, quiet)
    undisturbed = child(quiet, 3)
    code, said = end(child(folder, 3, 8))
    assert code == -signal.SIGKILL, said
    assert len(list(folder.glob("oof/tiny/tuning/search/trials/0001/*.checkpoint.npz"))) == 1
    code, said = end(child(folder, 3))
    assert code == 0, said
    assert "trial 1: its worker died; back in the queue after epoch 2" in said
    code, said = end(undisturbed)
    assert code == 0, said
    assert trials(folder) == trials(quiet)
    assert [row["state"] for row in trials(folder)] == ["complete"] * 3
    steps = {where: Counter((where / "steps.txt").read_text().splitlines()) for where in (folder, quiet)}
    assert steps[folder] == steps[quiet]  # no step was done twice
    best = folder / "oof/tiny/tuning/search/best.yaml"
    assert load_run(best).training.epochs == 5
    assert (
        best.read_text().splitlines()[2:] == (quiet / "oof/tiny/tuning/search/best.yaml").read_text().splitlines()[2:]
    )
    models = sorted(path.parent.name for path in folder.glob("oof/tiny/tuning/search/trials/*/*.h5"))
    assert len(set(models)) == 1
    assert len(models) == 2  # both folds of the best trial


@pytest.mark.slow
def test_two_workers_one_of_them_killed_and_the_best_is_trained(folder, capsys, monkeypatch):
    monkeypatch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__, str(CHILD.parent / "families")])
    study = folder / "oof/tiny/tuning/search"
    killed = threading.Thread(target=kill_a_worker, args=(study,))
    killed.start()
    result = tune(
        Path("search.yaml"),
        Workspace(folder),
        trials=4,
        workers=2,
        worker_command=[sys.executable, str(CHILD), "search.yaml", "4"],
    )
    killed.join()
    said = capsys.readouterr().out
    assert "ended with signal 9" in said
    assert "4/4 finished" in said
    rows = trials(folder)
    assert [row["state"] for row in rows] == ["complete"] * 4, said
    assert len({row["optimizer.learning_rate"] for row in rows}) == 4
    assert result.best == study / "best.yaml"
    assert script("train")([str(result.best), "--fold", "0", "--set", "training.epochs=1"]) == 0
    assert (folder / "oof/tiny/search_best/run.json").is_file()


def kill_a_worker(study):
    """SIGKILL the worker that has trial 1, once both are there."""
    deadline = time.monotonic() + 120
    while len(list(study.glob("workers/*.json"))) < 2 or not (study / "trials/0001/config.yaml").is_file():
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    trial = JournalStorage(MendedJournal(study / "journal.log", print)).get_all_trials(0)[1]
    os.kill(int(trial.user_attrs["worker"].split("-")[-2]), signal.SIGKILL)
