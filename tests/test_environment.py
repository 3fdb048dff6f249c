"""What a fit was made with: recorded with it, and told where the fits of one run differ."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import skyfold
from skyfold import workspace
from skyfold.files import write_json
from skyfold.pipeline.compare import compare
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.reports.leaderboard import as_text, score_entry
from skyfold.reports.mixed_fits import mixed_fits
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles
from skyfold.training import backend
from skyfold.training.environment import environment
from skyfold.workspace import Workspace, commit_of

MADE: dict[str, Any] = {
    "versions": {"python": "3.11.9", "skyfold": "0.1.0", "keras": "3.15.0", "tensorflow": "2.21.0", "numpy": "2.3.0"},
    "backend": "tensorflow",
    "device": "cpu AMD EPYC",
    "precision": "float32",
    "threads": 2,
    "commit": None,
}


def store(
    folder: Path, fold: int, *, seed: int = 0, old: bool = False, keras: str = "3.15.0", **changes: object
) -> None:
    folder.mkdir(exist_ok=True)
    made = {**MADE, "versions": {**MADE["versions"], "keras": keras}, **changes}
    recorded = {} if old else {"environment": made}
    FitFiles(folder, fold, seed).finish(
        lambda path: path.write_text(""),
        fingerprint=Fingerprint(folds="f"),
        score=0.5,
        best_epoch=1,
        epochs=1,
        seconds=1.0,
        **recorded,
    )


def test_a_fold_that_was_trained_with_another_version_is_told_in_one_line(tmp_path: Path) -> None:
    for fold in range(4):
        store(tmp_path, fold)
    assert mixed_fits("unet", tmp_path) == ""
    store(tmp_path, 2, keras="3.14.1")
    assert mixed_fits("unet", tmp_path) == ("run 'unet': fold 2 was trained with keras 3.14.1, the others with 3.15.0")
    store(tmp_path, 3, keras="3.14.1", commit="0123456789abcdef")
    store(tmp_path, 0, threads=4, commit="0123456789abcdef")
    store(tmp_path, 4, old=True)
    assert mixed_fits("unet", tmp_path) == (
        "run 'unet': fold 2, fold 3 were trained with keras 3.14.1, the others with 3.15.0; "
        "fold 0 was trained with threads 4, the others with 2"
    )


def test_seeds_are_named_where_there_are_several_and_older_fits_are_left_out(tmp_path: Path) -> None:
    for seed in (0, 1):
        store(tmp_path, 0, seed=seed)
        store(tmp_path, 1, seed=seed, device="gpu NVIDIA H200" if seed else MADE["device"])
    line = "run 'unet': fold 1 seed 1 was trained with device gpu NVIDIA H200, the others with cpu AMD EPYC"
    assert mixed_fits("unet", tmp_path) == line
    assert mixed_fits("unet", tmp_path / "none") == ""
    for fold in (0, 1):
        store(tmp_path / "old", fold, old=True)
    assert mixed_fits("unet", tmp_path / "old") == ""


def test_the_leaderboard_and_a_comparison_tell_it(tmp_path: Path) -> None:
    for name in ("unet", "fpn"):
        folder = tmp_path / "oof" / "sky" / name
        info = {"name": name, "kind": "run", "task": "segmentation", "classes": ["cloud"], "unit": "probability"}
        made = {"config": {}, "fingerprint": {"version": 3, "folds": "f"}, "scores": {"cv_cross_fitted": 0.5}}
        write_json(folder / "run.json", info | made)
        for fold in (0, 1, 2):
            store(folder / "models", fold, keras="3.14.1" if (name, fold) == ("unet", 1) else "3.15.0")
    line = "run 'unet': fold 1 was trained with keras 3.14.1, the others with 3.15.0"
    assert as_text(leaderboard("sky", Workspace(tmp_path))).splitlines()[-1] == line
    assert line in compare(tmp_path / "oof/sky/fpn", tmp_path / "oof/sky/unet")
    next((tmp_path / "oof/sky/unet/models").glob("fold1*.json")).write_text("{}")
    assert [entry.name for entry in leaderboard("sky", Workspace(tmp_path))] == ["fpn", "unet"]


def test_remarks_stand_below_the_tables() -> None:
    entries = [replace(score_entry("unet", "run", {}), remark="fold 2 <differs>"), score_entry("fpn", "run", {})]
    assert as_text(entries).endswith("\n\nfold 2 <differs>")
    assert as_text(entries[1:]).splitlines()[-1].startswith("fpn")


@pytest.mark.usefixtures("float32_backend")
def test_versions_and_device_are_those_of_this_process(tmp_path: Path) -> None:
    made = environment(tmp_path, precision="bfloat16", deterministic=False)
    assert made["versions"] == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "skyfold": skyfold.__version__,
        "keras": keras.__version__,
        "tensorflow": sys.modules["tensorflow"].__version__,
        "numpy": np.__version__,
    }
    assert (made["backend"], made["precision"], made["commit"]) == ("tensorflow", "bfloat16", None)
    assert made["deterministic"] is False
    assert made["threads"] == backend.default_threads()
    assert made["device"].startswith("cpu ")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_project_also_where_results_lie_on_another_disk(tmp_path: Path) -> None:
    project, disk = tmp_path / "project", tmp_path / "disk"
    for folder in (project, disk):
        folder.mkdir()
    assert commit_of(project) is None
    git(project, "init")
    assert commit_of(project) is None  # without a commit
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    git(project, *author, "commit", "--allow-empty", "-m", "first")
    (project / "oof").symlink_to(disk)
    commit = git(project, "rev-parse", "HEAD").strip()
    assert commit_of(project / "oof" / "sky" / "unet" / "models") == commit
    assert commit_of(disk) is None


def test_a_git_that_is_missing_or_stuck_costs_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert commit_of(tmp_path) is None
    stuck = programs / "git"
    stuck.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    os.chmod(stuck, 0o755)
    monkeypatch.setattr(workspace, "GIT_SECONDS", 0.2)
    began = time.monotonic()
    assert commit_of(tmp_path) is None
    assert time.monotonic() - began < 20


def test_a_machine_without_a_gpu_is_not_greeted_by_complaints_about_it():
    code = "from skyfold.training import backend; backend.start(deterministic=False); backend.device()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("driver", "visible", "cpu", "told"),
    [(True, None, True, True), (True, "-1", True, False), (True, None, False, False), (False, None, True, False)],
)
def test_a_gpu_that_is_there_and_not_found_is_told(monkeypatch, tmp_path, capfd, driver, visible, cpu, told):
    monkeypatch.setattr(backend, "NVIDIA", tmp_path if driver else tmp_path / "missing")
    monkeypatch.setattr(backend, "on_cpu", lambda: cpu)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with backend._start_up_lines_hidden():
        os.write(2, b"failed call to cuInit\n")
    assert capfd.readouterr().err == ("failed call to cuInit\n" if told else "")
