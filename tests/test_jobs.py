"""`skyfold run --jobs`: runs are trained at the same time, each by a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skyfold.models
from skyfold import plugins
from skyfold.cli.main import main
from skyfold.files import read_json
from skyfold.models import colour_threshold
from skyfold.training.backend import usable_cores

BLEND = """
name: both
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, phash_max_distance: -1}
  sample: {train: 8, test: 2, seed: 0, height: 64}
image: {size: [16, 24]}
model: {family: plain_unet, options: {filters: [4, 8]}}
"""
RULES = """
runs:
  - {name: brightness, model: {family: colour_threshold}}
  - {name: whiteness, model: {family: colour_threshold, options: {feature: whiteness}}}
"""


def written(folder: Path, runs: str) -> tuple[str, ...]:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "both.yaml").write_text(BLEND + runs)
    return str(folder / "configs" / "both.yaml"), "--root", str(folder)


def bytes_of(folder: Path, *names: str) -> list[bytes]:
    return [(folder / "oof" / "tiny" / name / "oof" / "values.npy").read_bytes() for name in names]


def test_they_leave_what_one_after_the_other_leaves(tmp_path, own_data, monkeypatch, capfd):
    """With a family that lies in a folder beside the config, which each process finds."""
    monkeypatch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__])
    monkeypatch.setattr(plugins, "_searched", [])
    runs = "plugins: [../../mine]\n" + RULES.replace("family: colour_threshold", "family: my_threshold")
    (tmp_path / "mine" / "models").mkdir(parents=True)
    shutil.copy(colour_threshold.__file__, tmp_path / "mine" / "models" / "my_threshold.py")
    for name, options in (("at_once", ("--jobs", "2")), ("in_order", ())):
        assert main(["run", *written(tmp_path / name, runs), *options]) == 0
    assert "my_threshold" not in capfd.readouterr().err
    at_once, in_order = (
        bytes_of(tmp_path / name, "brightness", "whiteness", "both") for name in ("at_once", "in_order")
    )
    assert at_once == in_order
    assert at_once[0] != at_once[1]
    assert (tmp_path / "at_once" / "submissions" / "tiny" / "both.csv").is_file()


def test_each_has_its_share_of_the_cores_and_an_error_of_one_ends_the_command(tmp_path, own_data, capfd):
    """The run beside the failed one is trained to its end, and is kept."""
    runs = "training: {epochs: 2}\nruns: [{name: fails, optimizer: {learning_rate: 4.0e+9}}, {name: works}]\n"
    assert main(["run", *written(tmp_path, runs), "--jobs", "2"]) == 2
    told = capfd.readouterr().err
    assert "works fold 1: 2/2 steps" in told
    assert told.endswith("Lower optimizer.learning_rate or set optimizer.clip_norm.\n")
    fit = read_json(tmp_path / "oof" / "tiny" / "works" / "models" / "fold1_seed0.json")
    assert fit["environment"]["threads"] == max(1, usable_cores() // 2)
    assert not (tmp_path / "oof" / "tiny" / "both").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="children are looked up below /proc, which only Linux has")
def test_ctrl_c_ends_all_processes(tmp_path, own_data):
    config = written(tmp_path, "training: {epochs: 100000}\nruns: [{name: one}, {name: two}]\n")
    command = [sys.executable, "-m", "skyfold", "run", *config, "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    begun = [tmp_path / "oof" / "tiny" / name / "run.json" for name in ("one", "two")]
    until = time.monotonic() + 120
    while not all(path.exists() for path in begun) and time.monotonic() < until:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    pids = {pid for path in children for pid in path.read_text().split()}
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert len(pids) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_less_than_one_is_refused(tmp_path, capsys):
    assert main(["run", *written(tmp_path, RULES), "--jobs", "0"]) == 2
    assert capsys.readouterr().err == "error: --jobs: give at least 1.\n"
