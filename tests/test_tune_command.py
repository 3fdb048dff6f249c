"""The tune command with real training at 32 pixels: files, refusals, workers, and a SIGKILL during a fit."""

from __future__ import annotations

import csv
import os
import re
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
import yaml

from skyfold.cli.main import main
from skyfold.config.files import load_run
from skyfold.tuning.tune import tune
from skyfold.workspace import Workspace

CHILD = Path(__file__).parent / "tuning_train_child.py"
STUDY = Path("oof/tiny/tuning/search")
FILES = yaml.safe_load("""
data.yaml:
  data:
    competition: understanding_clouds
    name: tiny
    folds: {k: 2, seed: 0}
    sample: {train: 16, test: 2, seed: 0, height: 64}
tiny.yaml:
  base: data.yaml
  name: tiny
  image: {size: [32, 32], normalization: per_image}
  model: {family: tiny_net, options: {filters: 4}}
  training: {epochs: 5, batch_size: 4}
search.yaml:
  name: search
  base: tiny.yaml
  folds: [0, 1]
  trial: {training.epochs: 3}
  pruner: {name: none}
  search:
    optimizer.learning_rate: {kind: float, low: 1.0e-3, high: 1.0e-1, log: true}
    model.options.filters: {kind: int, low: 4, high: 8, step: 4}
""")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_families, own_data):
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "configs").mkdir()
    for name, config in FILES.items():
        (folder / name).write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["prepare", "data.yaml", "--sample"]) == 0
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def trials(folder):
    with open(folder / STUDY / "trials.csv") as file:
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
    assert not STUDY.parent.exists()


@pytest.mark.slow
def test_killed_in_a_fit_the_study_resumes_from_the_checkpoint(folder, tmp_path):
    """Two folds of three epochs a trial: the eighth epoch is the second of trial 1's first fold."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(folder, undisturbed)
    runs = [[undisturbed / "search.yaml", "2"], [folder / "search.yaml", "2", "8"], [folder / "search.yaml", "2"]]
    command = [sys.executable, CHILD, *runs[0], "--", *runs[1], "--", *runs[2]]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    output = subprocess.run(command, env=environment, timeout=200, check=False, **pipes).stdout
    assert re.findall("^exit (.*)$", output, re.MULTILINE) == ["0", str(-signal.SIGKILL), "0"], output
    assert "trial 1: its worker died; requeued after epoch 2" in output
    assert trials(folder) == trials(undisturbed)
    assert [row["state"] for row in trials(folder)] == ["complete"] * 2
    steps = [Counter((where / "steps.txt").read_text().splitlines()) for where in (folder, undisturbed)]
    assert steps[0] == steps[1]  # no step was done twice
    best = [where / STUDY / "best.yaml" for where in (folder, undisturbed)]
    assert load_run(best[0]).training.epochs == 5
    assert best[0].read_text().splitlines()[2:] == best[1].read_text().splitlines()[2:]
    both_folds = list(STUDY.glob("trials/*/*.h5"))
    assert (len(both_folds), len({path.parent for path in both_folds})) == (2, 1)  # of the best trial


@pytest.mark.slow
def test_two_workers_one_of_them_killed_and_the_best_is_trained(folder, capsys):
    study = folder / STUDY

    def kill_the_worker_of_trial_1():
        deadline = time.monotonic() + 120
        while len(list(study.glob("workers/*.lock"))) < 2 or not (study / "trials/0001/config.yaml").is_file():
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        trial = optuna.load_study(study_name="search", storage=f"sqlite:///{study}/study.db").trials[1]
        os.kill(int(trial.user_attrs["worker"].split("-")[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_worker_of_trial_1)
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
