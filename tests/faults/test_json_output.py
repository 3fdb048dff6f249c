"""`--json`: one document on standard output, with all digits, and everything else on standard error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skyfold.cli.main import _json
from skyfold.files import file_digest, read_json


def document(tiny, *arguments):
    code, out, err = tiny.run(*arguments, "--json")
    assert code == 0, err
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found["command"] == arguments[0]
    assert all(Path(file).exists() for file in found.get("files", []))
    return found


def test_prepare_tells_how_many_samples_are_in_each_fold(tiny):
    found = document(tiny, "prepare", "bright")
    assert (found["samples"], found["samples_per_fold"]) == (12, {"0": 6, "1": 6})
    assert found["files"] == [str(tiny.oof / "folds.csv")]


def test_train_tells_the_scores_that_the_run_records(tiny):
    found = document(tiny, "train", "bright")
    assert (found["run"], found["complete"]) == ("bright", True)
    assert found["scores"] == read_json(tiny.oof / "bright" / "run.json")["scores"]
    assert len(str(found["scores"]["cv_cross_fitted"])) > 8


def test_blend_and_submit_tell_what_they_wrote(tiny):
    found = document(tiny, "blend", "blend")
    stored = read_json(tiny.oof / "blend" / "blend.json")
    assert {key: found[key] for key in ("metric", "scores", "weights", "selection")} == {
        key: stored[key] for key in ("metric", "scores", "weights", "selection")
    }
    [submission] = document(tiny, "submit", "blend")["submissions"]
    table = tiny.root / "submissions" / "tiny" / "blend.csv"
    assert (submission["name"], submission["sha256"]) == ("blend", file_digest(table))


def test_score_tells_the_score_of_each_class(tiny):
    table = tiny.root / "submissions" / "tiny" / "blend.csv"
    found = document(tiny, "score", tiny.config("bright"), table, "--truth", table)
    assert (found["score"], found["low"], found["high"], found["samples"]) == (1, 1, 1, 4)
    assert found["per_class"] == {"blob": 1}


def test_the_leaderboard_tells_figures_and_not_texts(tiny):
    entries = {entry["name"]: entry for entry in document(tiny, "leaderboard", "tiny")["entries"]}
    scores = read_json(tiny.oof / "dark" / "run.json")["scores"]
    assert entries["dark"]["cv_cross_fitted"] == scores["cv_cross_fitted"]
    assert entries["blend"]["submission"] == "tiny/blend.csv"
    found = document(tiny, "leaderboard", "tiny", "--diff", tiny.oof / "bright", tiny.oof / "dark")
    assert any("cross-fitted" in line for line in found["lines"])


def test_an_error_prints_no_document(tiny):
    code, out, err = tiny.run("train", tiny.root / "nowhere.yaml", "--json")
    assert (code, out) == (2, "")
    assert "nowhere.yaml" in err


def test_what_json_cannot_say_is_null():
    assert _json({"score": float("inf"), "of": [float("nan"), 0.1]}) == '{"score": null, "of": [null, 0.1]}'


def test_a_deleted_working_folder_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = tiny.run("leaderboard", "tiny")
    assert (code, err) == (2, "error: the working folder was deleted. Change to one that is there: cd DIR.\n")


@pytest.mark.parametrize("command", ["prepare", "train", "blend", "submit", "run", "leaderboard"])
def test_a_pipe_in_the_place_of_a_config_does_not_hang(tiny, command):
    pipe = tiny.root / "configs" / "pipe.yaml"
    os.mkfifo(pipe)
    code, _, err = tiny.run(command, pipe)
    assert code == 2
    assert f"{pipe}: a pipe or device, expected a config file" in err
