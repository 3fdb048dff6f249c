"""The table: order, baselines, and lines that cannot be read."""

import pytest

from skyfold.errors import DataLayoutError
from skyfold.files import write_json
from skyfold.leaderboard.table import Entry, as_html, as_text, leaderboard
from skyfold.workspace import Workspace


def store(root, name, kind="masks", **scores):
    info = {
        "name": name,
        "kind": kind,
        "classes": ["cloud"],
        "unit": "probability",
        "config": {},
        "config_hash": "c",
        "folds_hash": "f",
        "data_hash": "d",
        "scores": scores,
    }
    write_json(root / "oof" / "sky" / name / "run.json", info)


def blend_file(root, name, cross_fitted):
    scores = {"at_half": 0.5, "naive": 0.72, "cross_fitted": cross_fitted, "low": 0.6, "high": 0.8}
    baselines = {"all_empty": 0.4, "best_single": "unet", "best_single_at_half": 0.5, "oracle": 0.95}
    write_json(
        root / "oof" / "sky" / name / "blend.json",
        {"name": name, "gate": None, "scores": {"final": scores, "before_gate": scores, "baselines": baselines}},
    )


def test_best_cross_fitted_first_and_baselines_last(tmp_path):
    store(tmp_path, "unet", at_half=0.5, naive=0.66, cross_fitted=0.65, low=0.6, high=0.7)
    store(tmp_path, "fpn", at_half=0.9, naive=0.61, cross_fitted=0.60, low=0.5, high=0.7)
    store(tmp_path, "both", kind="blend")
    blend_file(tmp_path, "both", cross_fitted=0.70)
    names = [entry.name for entry in leaderboard("sky", Workspace(tmp_path))]
    assert names[:3] == ["both", "unet", "fpn"]
    assert names[3:] == ["perfect classifier with these masks", "best single at 0.5: unet", "all empty"]


def test_one_damaged_file_does_not_take_the_table_down(tmp_path):
    store(tmp_path, "unet", at_half=0.5, cross_fitted=0.65)
    store(tmp_path, "fpn")
    (tmp_path / "oof" / "sky" / "fpn" / "run.json").write_text('{"name": "fp')
    entries = leaderboard("sky", Workspace(tmp_path))
    assert [entry.name for entry in entries] == ["unet", "fpn"]
    assert "run.json" in entries[1].kind


def test_a_run_without_scores_yet_has_empty_cells(tmp_path):
    store(tmp_path, "unet", fold0=0.7)
    text = as_text(leaderboard("sky", Workspace(tmp_path)))
    assert text.splitlines()[2] == "unet  run"


def test_no_runs_says_what_to_do(tmp_path):
    with pytest.raises(DataLayoutError, match=r"train\.py"):
        leaderboard("sky", Workspace(tmp_path))


def test_the_page_escapes_what_stands_in_names():
    assert "&lt;b&gt;" in as_html("sky", [Entry("<b>", "run")])
