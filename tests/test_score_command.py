"""The command that scores a submission: printed scores, and those that are not finite."""

import re

import pytest

from skyfold.cli.main import main
from skyfold.competition import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    build("arctic_sea_ice", {"grid": [16, 12]}).write_sample(folder / "ice", years=4)
    (folder / "ice.yaml").write_text("data: {competition: arctic_sea_ice, name: ice, options: {grid: [16, 12]}}\n")
    truth, flagged = (folder / "ice" / "test_truth.csv").read_text(), re.compile(r"\b25[1-5]\b")
    assert flagged.search(truth)
    (folder / "ice" / "perfect.csv").write_text(flagged.sub("0", truth))
    return folder


@pytest.mark.parametrize(
    ("submission", "truth", "printed", "error"),
    [
        ("perfect.csv", "test_truth.csv", r"0\.000000 \(1 sample\)\n$", ""),
        (
            "sample_submission.csv",
            "test_truth.csv",
            r"inf \(1 sample\)\nScore is not finite: no observed event was forecast",
            "",
        ),
        ("sample_submission.csv", "truths.csv", "^$", r"error: .*truths\.csv: no such file\.\n"),
        ("mine.csv", "test_truth.csv", "^$", r"error: mine\.csv: no such file\.\n"),
        ("..", "test_truth.csv", "^$", r"error: \.\.: a folder, expected a CSV file\. Rename or remove it\.\n"),
    ],
)
def test_scores_are_printed_and_missing_files_named_in_one_line(
    folder, monkeypatch, capsys, submission, truth, printed, error
):
    monkeypatch.chdir(folder / "ice")
    code = main(["score", "../ice.yaml", submission, "--truth", truth, "--data", "."])
    out, err = capsys.readouterr()
    assert code == (2 if error else 0)
    assert re.search(printed, out)
    assert re.fullmatch(error, err)
