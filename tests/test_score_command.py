"""The command that scores a submission: what it prints, and what it says of figures that mean nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from skyfold.competition import build

CONFIG = "data: {competition: arctic_sea_ice, name: ice, options: {grid: [16, 12]}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    build("arctic_sea_ice", {"grid": [16, 12]}).write_sample(folder / "ice", years=4)  # type: ignore[misc]
    (folder / "ice.yaml").write_text(CONFIG)
    flagged = re.compile(r"\b25[1-5]\b")
    truth = (folder / "ice" / "test_truth.csv").read_text()
    assert flagged.search(truth)
    (folder / "ice" / "perfect.csv").write_text(flagged.sub("0", truth))
    return folder


def score(folder: Path, submission: str, truth: str = "test_truth.csv") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skyfold", "score", str(folder / "ice.yaml"), submission]
    options = ["--truth", str(folder / "ice" / truth), "--data", str(folder / "ice")]
    return subprocess.run(
        [*command, *options], cwd=folder / "ice", capture_output=True, text=True, check=False, timeout=120
    )


def test_the_truth_without_its_flags_has_no_error(folder: Path) -> None:
    done = score(folder, "perfect.csv")
    assert done.returncode == 0, done.stderr
    assert "0.000000 (1 sample)" in done.stdout
    assert "finite" not in done.stdout


def test_no_ice_anywhere_is_said_to_mean_nothing(folder: Path) -> None:
    done = score(folder, "sample_submission.csv")
    assert done.returncode == 0, done.stderr
    assert "inf (1 sample)\nnot finite: nothing that came was forecast" in done.stdout


def test_a_file_that_is_not_there_is_named_in_one_line(folder: Path) -> None:
    done = score(folder, "sample_submission.csv", "truths.csv")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "truths.csv: no such file." in done.stderr
    assert score(folder, "mine.csv").stderr == "error: mine.csv: no such file.\n"
    assert score(folder, str(folder)).stderr == f"error: {folder}: a folder, expected a CSV file.\n"
