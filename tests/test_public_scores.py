"""What was submitted, its scores, and the Kaggle CLI, which an executable stands in for."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from skyfold.cli.main import main
from skyfold.errors import DataLayoutError
from skyfold.pipeline.public_scores import agreement, public_scores
from skyfold.store.public_scores import Submitted, add_submitted, read_submitted
from skyfold.workspace import Workspace

pytestmark = pytest.mark.usefixtures("own_data")
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
CONFIG = {
    "data": {
        "competition": "understanding_clouds",
        "name": "tiny",
        "folds": {"k": 2},
        "sample": {"train": 8, "test": 4, "height": 112},
        "submissions_per_day": 2,
    },
    "name": "both",
    "image": {"size": [56, 84]},
    "runs": [
        {"name": "bright", "model": {"family": "colour_threshold", "options": {"feature": "brightness"}}},
        {"name": "lowest", "model": {"family": "colour_threshold", "options": {"feature": "lowest_band"}}},
    ],
    "postprocess": {"thresholds": 17, "min_areas": [0]},
    "bootstrap": 100,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, own_data):
    folder = tmp_path_factory.mktemp("work")
    (folder / "configs").mkdir()
    (folder / "both.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["run", str(folder / "both.yaml"), "--root", str(folder)]) == 0
    return folder


@pytest.fixture
def project(finished, monkeypatch):
    """The finished project, in which nothing was submitted yet."""
    monkeypatch.chdir(finished)
    yield finished
    shutil.rmtree(finished / "submissions" / "tiny" / "submitted", ignore_errors=True)


def said(capsys):
    return capsys.readouterr().out


def test_a_score_is_noted_beside_cross_validation(project, capsys):
    assert main(["lb", "add", "both", "--public", "0.61", "--date", "2026-11-30T14:00+02:00"]) == 0
    capsys.readouterr()
    assert main(["lb", "list", "tiny", "--json"]) == 0
    (row,) = json.loads(said(capsys))["submitted"]
    assert (row["date"], row["submission"], row["public"]) == ("2026-11-30T12:00:00+00:00", "both", 0.61)
    assert row["cv"] == json.loads(Path("submissions/tiny/both.json").read_text())["scores"]["cv_cross_fitted"]
    assert public_scores("tiny", Workspace(project)) == {"both": 0.61}
    assert main(["leaderboard", "tiny", "--json"]) == 0
    shown = {entry["name"]: entry["public"] for entry in json.loads(said(capsys))["entries"]}
    assert (shown["both"], shown["bright"]) == (0.61, None)


def test_a_score_completes_what_was_submitted(project, capsys):
    assert main(["submit", "both.yaml", "--message", "both, mean"]) == 0
    assert "left today: 1 of 2 (UTC)" in said(capsys)
    assert main(["lb", "add", "tiny/both.csv", "--public", "0.5"]) == 0
    assert main(["lb", "add", "both", "--private", "0.4"]) == 0
    (row,) = read_submitted(Path("submissions/tiny"))
    assert (row.public, row.private, row.message) == (0.5, 0.4, "both, mean")
    (kept,) = Path("submissions/tiny/submitted").glob("both-*.csv")
    assert kept.read_bytes() == Path("submissions/tiny/both.csv").read_bytes()


def test_another_file_of_that_name_has_no_score(project):
    row = Submitted(NOON, "both", public=0.9, sha256="0" * 64)
    add_submitted(Path("submissions/tiny"), [row])
    assert public_scores("tiny", Workspace(project)) == {}


@pytest.mark.parametrize("name", ["bot", "other/both", "both.txt", "."])
def test_unknown_submissions_are_refused_with_those_there_are(project, capsys, name):
    assert main(["lb", "add", name, "--public", "0.5"]) == 2
    assert f"'{name}': no such submission. There are: tiny/both." in capsys.readouterr().err


def test_a_name_in_two_data_sets_asks_which(project, capsys):
    other = project / "submissions/other/both.csv"
    other.parent.mkdir()
    other.write_text("id\n")
    assert main(["lb", "add", "both", "--public", "0.5"]) == 2
    assert "Name one of them: other/both, tiny/both" in capsys.readouterr().err
    assert main(["lb", "add", "other/both", "--public", "0.5"]) == 0
    shutil.rmtree(other.parent)


def test_importing_the_table_of_kaggle_twice_adds_nothing(project, capsys):
    table = project / "kaggle.csv"
    table.write_text(
        "ref,fileName,date,description,status,publicScore,privateScore\n"
        "2,both.csv,2026-11-30 12:00:00,mean,SubmissionStatus.COMPLETE,0.62,\n"
        "1,old.csv,2026-11-29 12:00:00.123000,first,SubmissionStatus.ERROR,,\n"
    )
    for _ in range(2):
        assert main(["lb", "import", "tiny", str(table)]) == 0
    rows = read_submitted(Path("submissions/tiny"))
    assert [(row.submission, row.public) for row in rows] == [("old", None), ("both", 0.62)]
    assert "no file of this name here" not in said(capsys).splitlines()[0]


def test_the_table_of_kaggle_completes_what_was_noted_here(project):
    folder = Path("submissions/tiny")
    add_submitted(folder, [Submitted(NOON, "both", message="mean", sha256="a" * 64)])
    table = project / "kaggle.csv"
    table.write_text(
        "fileName,date,description,status,publicScore,privateScore\n"
        "both.csv,2026-11-30 12:00:07,mean,complete,0.62,0.6\n"
        "both.csv,2026-11-30 12:30:00,mean,complete,0.62,0.6\n"
    )
    assert main(["lb", "import", "tiny", str(table)]) == 0
    first, again = read_submitted(folder)
    assert (first.date, first.sha256, first.public, first.private) == (NOON, "a" * 64, 0.62, 0.6)
    assert (again.public, again.sha256) == (0.62, "")


def test_a_file_that_is_submitted_again_is_counted_again(tmp_path):
    file = {"submission": "both", "sha256": "a" * 64}
    rows = add_submitted(tmp_path, [Submitted(NOON, **file), Submitted(NOON + timedelta(hours=1), **file)])
    assert len(rows) == 2
    rows = add_submitted(tmp_path, [Submitted(NOON + timedelta(hours=2), public=0.5, **file)])
    assert [row.public for row in rows] == [0.5, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2026-11-30,both,high,,,", "line 2 ('both'): public 'high' is no score"),
        ("2026-11-30,both,nan,,,", "line 2 ('both'): public 'nan' is no score"),
        ("yesterday,both,0.5,,,", "line 2 ('both'): the date 'yesterday' cannot be read"),
        ("2026-11-30,,0.5,,,", "no submission is named"),
        ("2026-11-30,both,0.5", "expected 6 fields as in the header, got 3"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    (tmp_path / "submitted").mkdir()
    (tmp_path / "submitted" / "scores.csv").write_text(f"date,submission,public,private,message,sha256\n{line}\n")
    with pytest.raises(DataLayoutError) as refused:
        read_submitted(tmp_path)
    assert message in str(refused.value)


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """An executable that notes its arguments, and fails where the message asks for it."""
    program = tmp_path / "bin" / "kaggle"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncase "$*" in *fail*) echo 403 - Forbidden >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "arguments"


def test_kaggle_is_called_only_when_told(project, kaggle, capsys):
    assert main(["submit", "both.yaml", "--message", "one"]) == 0
    assert not kaggle.exists()
    assert main(["submit", "both.yaml", "--message", "fail", "--kaggle"]) == 2
    assert "understanding_cloud_organization: 403 - Forbidden" in capsys.readouterr().err
    assert len(read_submitted(Path("submissions/tiny"))) == 1  # what Kaggle refused was not submitted
    assert main(["submit", "both.yaml", "--message", "two", "--kaggle"]) == 0
    path = project / "submissions/tiny/both.csv"
    expected = f"competitions submit -c understanding_cloud_organization -f {path} -m two"
    assert kaggle.read_text().strip() == expected
    assert len(read_submitted(Path("submissions/tiny"))) == 2


def test_no_more_than_the_contest_takes_of_a_day(project, capsys):
    today = datetime.now(UTC).replace(microsecond=0)
    rows = [Submitted(today - timedelta(seconds=i), f"other{i}") for i in range(2)]
    add_submitted(Path("submissions/tiny"), [*rows, Submitted(NOON - timedelta(days=90), "old")])
    assert main(["submit", "both.yaml", "--message", "third"]) == 2
    assert "2 were submitted today (UTC)" in capsys.readouterr().err
    assert len(read_submitted(Path("submissions/tiny"))) == 3


def test_agreement_is_a_rank_correlation_with_its_interval():
    (line,) = agreement([0.5, 0.6, 0.7, 0.8, 0.9], [0.52, 0.61, 0.73, 0.81, 0.95])
    assert "rank correlation 1.00 (1.00 to 1.00), public - CV +0.0200" in line
    assert "needs 4" in agreement([0.5], [0.6])[0]


def test_shakeup_and_final_picks_name_every_entry(project, capsys):
    assert main(["shakeup", "tiny", "--public-fraction", "0.5", "--simulations", "200", "--json"]) == 0
    found = json.loads(said(capsys))
    assert set(found["ranks"]) == {"both", "bright", "lowest"}
    assert set(found["choices"]) == {"public score", "cross-validation", "both"}
    assert (found["public_samples"], found["private_samples"]) == (2, 2)
    assert main(["leaderboard", "tiny", "--final", "2", "--public-fraction", "0.5"]) == 0
    lines = said(capsys).splitlines()
    assert sum(line.startswith("final pick") for line in lines) == 2
    assert main(["leaderboard", "tiny", "--final", "9"]) == 2
    assert "expected 1 to 3" in capsys.readouterr().err
    assert main(["shakeup", "tiny", "--public-fraction", "1.5"]) == 2
    assert "expected a number between 0 and 1" in capsys.readouterr().err
