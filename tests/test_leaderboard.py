"""The table: order, baselines, and lines that cannot be read."""

import pytest

from skyfold.errors import DataLayoutError, OofMismatch
from skyfold.files import read_json, write_json
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.reports.compare import as_lines, compare
from skyfold.reports.leaderboard import as_html, as_text, score_entry
from skyfold.workspace import Workspace


def store(root, name, kind="run", at_half=None, **scores):
    scores |= {} if at_half is None else {"cv_at_0.5": at_half}
    info = {
        "name": name,
        "kind": kind,
        "task": "segmentation",
        "classes": ["cloud"],
        "unit": "probability",
        "config": {},
        "fingerprint": {"version": 1, "rows": "c", "folds": "f", "data": "d"},
        "scores": scores,
    }
    write_json(root / "oof" / "sky" / name / "run.json", info)


def edit(root, name, config=None, **parts):
    """Change the config of a stored run, and parts of its fingerprint."""
    path = root / "oof" / "sky" / name / "run.json"
    info = read_json(path)
    write_json(path, {**info, "config": config or {}, "fingerprint": {**info["fingerprint"], **parts}})


def blend_file(root, name, cross_fitted):
    scores = {"cv_at_0.5": 0.5, "cv_in_sample": 0.72, "cv_cross_fitted": cross_fitted, "low": 0.6, "high": 0.8}
    baselines = {"all_empty": 0.4, "best_single": "unet", "best_single_at_0.5": 0.5, "oracle": 0.95}
    write_json(
        root / "oof" / "sky" / name / "blend.json",
        {"name": name, "gate": None, "scores": {"final": scores, "before_gate": scores, "baselines": baselines}},
    )


def test_best_cross_fitted_first_and_baselines_last(tmp_path):
    store(tmp_path, "unet", at_half=0.5, cv_in_sample=0.66, cv_cross_fitted=0.65, low=0.6, high=0.7)
    store(tmp_path, "fpn", at_half=0.9, cv_in_sample=0.61, cv_cross_fitted=0.60, low=0.5, high=0.7)
    store(tmp_path, "both", kind="blend")
    blend_file(tmp_path, "both", cross_fitted=0.70)
    names = [entry.name for entry in leaderboard("sky", Workspace(tmp_path))]
    assert names[:3] == ["both", "unet", "fpn"]
    assert names[3:] == ["perfect classifier with these masks", "best single at 0.5: unet", "all empty"]


def test_less_is_better_where_the_metric_says_so(tmp_path):
    store(tmp_path, "far", at_half=9.0, cv_cross_fitted=8.0, greater_is_better=False)
    store(tmp_path, "near", at_half=5.0, cv_cross_fitted=4.0, greater_is_better=False)
    assert [entry.name for entry in leaderboard("sky", Workspace(tmp_path))] == ["near", "far"]


def test_one_damaged_file_does_not_take_the_table_down(tmp_path):
    store(tmp_path, "unet", at_half=0.5, cv_cross_fitted=0.65)
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
    with pytest.raises(DataLayoutError, match=r"skyfold train"):
        leaderboard("sky", Workspace(tmp_path))


def test_the_page_escapes_what_stands_in_names():
    assert "&lt;b&gt;" in as_html("sky", [score_entry("<b>", "run", {})])


def rows_file(root, name, scores, fold=(0, 1, 0, 1)):
    lines = ["id,fold,group,cv_cross_fitted cloud", *(f"{i}.jpg,{fold[i]},{i},{s}" for i, s in enumerate(scores))]
    (root / "oof" / "sky" / name / "rows.csv").write_text("\n".join(lines) + "\n")


def test_what_differs_between_two_runs(tmp_path):
    for name, cross, epochs in [("a", 0.8, 5), ("b", 0.7, 9)]:
        store(tmp_path, name, cv_cross_fitted=cross, metric="mean_dice")
        edit(tmp_path, name, {"name": name, "training": {"epochs": epochs, "ema": 0.5}, "tta": ["hflip"]})
    rows_file(tmp_path, "a", [0.9, 0.7, 0.8, 0.8])
    rows_file(tmp_path, "b", [0.8, 0.6, 0.7, 0.7])
    folder = tmp_path / "oof" / "sky"
    found = compare(folder / "a", folder / "b")
    assert found.config == {"training.epochs": (5, 9)}
    assert found.same_folds
    assert found.data == "the same"
    assert found.gain.value == pytest.approx(0.1)
    assert found.gain.low == pytest.approx(0.1)  # every image gains the same, so every draw does
    text = "\n".join(as_lines(found))
    assert text.startswith("mean_dice     a       b\n")
    assert "\ncross-fitted  0.8000  0.7000\n" in text
    assert "a - b: +0.1000 (+0.1000 to +0.1000), cross-fitted, paired, 95 %" in text
    assert text.endswith("config           a  b\n---------------  -  -\ntraining.epochs  5  9")
    assert "folds: the same" in text
    assert compare(folder / "a", folder / "a").config == {}
    assert as_lines(compare(folder / "a", folder / "a"))[-1] == "config: the same"


def test_runs_of_other_folds_are_not_compared_image_by_image(tmp_path):
    for name, fold in [("a", (0, 1, 0, 1)), ("b", (1, 0, 0, 1))]:
        store(tmp_path, name, cv_cross_fitted=0.8)
        edit(tmp_path, name, folds=str(fold), data=str(fold))
        rows_file(tmp_path, name, [0.9, 0.7, 0.8, 0.8], fold)
    found = compare(tmp_path / "oof/sky/a", tmp_path / "oof/sky/b")
    assert found.gain is None
    text = "\n".join(as_lines(found))
    assert "not the same folds, first in row 2" in text
    assert "folds: DIFFERENT, the scores cannot be compared" in text
    assert "training images and masks: DIFFERENT" in text


def test_what_was_seen_at_another_size_is_not_called_other_data(tmp_path):
    for name, size in [("a", [32, 32]), ("b", [64, 64]), ("c", [32, 32])]:
        store(tmp_path, name, cv_cross_fitted=0.8)
        edit(tmp_path, name, {"image": {"size": size}}, data=name)
        rows_file(tmp_path, name, [0.5, 0.5, 0.5, 0.5])
    folder = tmp_path / "oof" / "sky"
    assert compare(folder / "a", folder / "b").data == "seen at other sizes, [32, 32] and [64, 64]; not compared"
    assert compare(folder / "a", folder / "c").data == "DIFFERENT"


def test_crops_and_whole_images_are_not_called_other_data(tmp_path):
    for name, crop in [("whole", None), ("crops", {"crops_per_image": 4}), ("again", {"crops_per_image": 2})]:
        store(tmp_path, name, cv_cross_fitted=0.8)
        edit(tmp_path, name, {"image": {"size": [32, 32], **({"crop": crop} if crop else {})}}, data=name)
        rows_file(tmp_path, name, [0.5, 0.5, 0.5, 0.5])
    folder = tmp_path / "oof" / "sky"
    assert (
        compare(folder / "whole", folder / "crops").data == "seen whole by one and by crops by the other; not compared"
    )
    assert compare(folder / "crops", folder / "again").data == "DIFFERENT"


def test_weights_of_another_file_of_the_same_name_are_told(tmp_path):
    for name, digest in [("a", "1f" * 32), ("b", "2e" * 32), ("scratch", None)]:
        store(tmp_path, name, cv_cross_fitted=0.8)
        edit(tmp_path, name, {"model": {"weights": "encoder.h5"}}, **({"init_weights": digest} if digest else {}))
    folder = tmp_path / "oof" / "sky"
    found = compare(folder / "a", folder / "b")
    assert found.config == {"sha256 of the weights begun with": ("1f" * 32, "2e" * 32)}
    assert as_lines(compare(folder / "a", folder / "scratch"))[-1].endswith("not set")


def test_a_blend_and_a_run_have_no_config_in_common(tmp_path):
    store(tmp_path, "a", cv_cross_fitted=0.8)
    store(tmp_path, "b", kind="blend", cv_cross_fitted=0.8)
    for name in "ab":
        rows_file(tmp_path, name, [0.5, 0.5, 0.5, 0.5])
    made = {
        "config": {"combine": "mean"},
        "runs": [{"name": "a"}, {"name": "c"}],
        "weights": [0.25, 0.75],
        "gate": {"name": "classifier"},
    }
    write_json(tmp_path / "oof/sky/b/blend.json", made)
    lines = as_lines(compare(tmp_path / "oof/sky/a", tmp_path / "oof/sky/b"))
    assert "b: mean of a 0.25, c 0.75, gated by classifier" in lines
    assert lines[-1] == "config: not compared, they are of two kinds, run and blend"


def test_a_run_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    store(tmp_path, "unet", cv_cross_fitted=0.8)
    with pytest.raises(OofMismatch, match=r"unett: no run here \(did you mean 'unet'.*There are: unet\."):
        compare(tmp_path / "oof/sky/unet", tmp_path / "oof/sky/unett")
    with pytest.raises(OofMismatch, match=r"a: no run here"):
        compare(tmp_path / "a", tmp_path / "b")
