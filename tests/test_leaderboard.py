"""Leaderboard and comparison of stored runs: order, baselines, differences, and entries that cannot be read."""

import json

import pytest

from conftest import made_blend
from skyfold.cli.main import main
from skyfold.errors import DataLayoutError, OofMismatch
from skyfold.files import read_json, write_json
from skyfold.pipeline.compare import compare
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.reports.leaderboard import TESTED, as_text
from skyfold.store.records import write_record
from skyfold.workspace import Workspace


def store(root, name, kind="run", config=None, parts=None, scores=()):
    """Write the run.json of a run; `parts` of its fingerprint. Returns its folder."""
    folder, fingerprint = root / "oof" / "sky" / name, {"version": 1, "rows": "c", "folds": "f", "data": "d"}
    info = {"name": name, "kind": kind, "task": "segmentation", "classes": ["cloud"], "unit": "probability"}
    info |= {"config": config or {}, "fingerprint": fingerprint | (parts or {}), "scores": dict(scores)}
    write_json(folder / "run.json", info)
    return folder


def scored(root, name, rows=(0.5, 0.5, 0.5, 0.5), fold=(0, 1, 0, 1), **kind):
    """Store a run that is scored, with the cross-fitted score of each of four images."""
    folder = store(root, name, scores={"cv_cross_fitted": sum(rows) / 4, "metric": "mean_dice"}, **kind)
    lines = ["id,fold,group,cv_cross_fitted cloud", *(f"{i}.jpg,{fold[i]},{i},{s}" for i, s in enumerate(rows))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_best_cross_fitted_first_and_baselines_last(tmp_path):
    store(tmp_path, "unet", scores={"cv_at_0.5": 0.5, "cv_in_sample": 0.66, "cv_cross_fitted": 0.65})
    store(tmp_path, "fpn", scores={"cv_at_0.5": 0.9, "cv_in_sample": 0.61, "cv_cross_fitted": 0.60})
    blend = store(tmp_path, "both", kind="blend")
    scores = {"cv_at_0.5": 0.5, "cv_in_sample": 0.72, "cv_cross_fitted": 0.70, "low": 0.6, "high": 0.8}
    baselines = {"all_empty": 0.4, "best_single": "unet", "best_single_at_0.5": 0.5, "oracle": 0.95}
    scores = {"final": scores, "before_gate": scores, "baselines": baselines, "runs": {}}
    write_json(blend / "blend.json", made_blend("both", scores=scores))
    names = [entry.name for entry in leaderboard("sky", Workspace(tmp_path))]
    assert names[:3] == ["both", "unet", "fpn"]
    assert names[3:] == ["perfect classifier with these masks", "best single at 0.5: unet", "all empty"]


def compared_with(root, name, tested=None, **baselines):
    """Store a blend with its baselines; tested: their scores on the test truth. Returns its folder."""
    folder = store(root, name, kind="blend")
    scores = {"final": {"cv_cross_fitted": 0.7}, "before_gate": {}, "baselines": baselines, "runs": {}}
    write_json(folder / "blend.json", made_blend(name, scores=scores))
    if tested is not None:
        result = {"truth": "truth.csv", "images": 4, "scores": tested, "differences": {}, "sha256": {}}
        write_record(root / "submissions" / "sky" / f"{name}{TESTED}", result)
    return folder


def test_a_baseline_of_several_blends_is_listed_once(tmp_path, capsys):
    compared_with(tmp_path, "a", all_empty=0.4, best_single="unet", **{"best_single_at_0.5": 0.5}, oracle=0.9)
    tested = {"all_empty": 0.3}
    compared_with(tmp_path, "b", tested, all_empty=0.4, best_single="fpn", **{"best_single_at_0.5": 0.6}, oracle=0.8)
    stale = compared_with(tmp_path, "c", all_empty=0.4, best_single="unet", **{"best_single_at_0.5": 0.45}, oracle=0.7)
    write_json(tmp_path / "oof" / "sky" / "c" / "run.json", read_json(stale / "run.json") | {"name": "d"})
    entries = leaderboard("sky", Workspace(tmp_path))
    listed = [(entry.name, entry.kind, entry.cells["CV at 0.5"], entry.cells["test"]) for entry in entries[3:]]
    assert listed == [
        ("perfect classifier with these masks", "baseline of a", "0.9000", ""),
        ("perfect classifier with these masks", "baseline of b", "0.8000", ""),
        ("perfect classifier with these masks", "baseline of c, in the folder 'c'", "0.7000", ""),
        ("best single at 0.5: fpn", "baseline", "0.6000", ""),
        ("best single at 0.5: unet", "baseline", "0.5000", ""),
        ("best single at 0.5: unet", "baseline, in the folder 'c'", "0.4500", ""),
        ("all empty", "baseline", "0.4000", "0.3000"),
    ]
    (tmp_path / "configs").mkdir()
    root = ["--root", str(tmp_path)]
    assert main(["leaderboard", "sky", "--html", str(tmp_path / "site"), *root]) == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert (capsys.readouterr().out.count("all empty"), page.count("all empty")) == (1, 1)
    assert main(["leaderboard", "sky", "--json", *root]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)["entries"]].count("all empty") == 1


def test_less_is_better_where_the_metric_says_so(tmp_path):
    for name, score in (("far", 8.0), ("near", 4.0)):
        store(tmp_path, name, scores={"cv_cross_fitted": score, "greater_is_better": False})
    assert [entry.name for entry in leaderboard("sky", Workspace(tmp_path))] == ["near", "far"]


def test_one_damaged_file_does_not_take_the_table_down_and_missing_scores_are_empty_cells(tmp_path):
    with pytest.raises(DataLayoutError, match=r"skyfold train"):
        leaderboard("sky", Workspace(tmp_path))
    store(tmp_path, "unet", scores={"fold0": 0.7})
    (store(tmp_path, "fpn") / "run.json").write_text('{"name": "fp')
    entries = leaderboard("sky", Workspace(tmp_path))
    assert [entry.name for entry in entries] == ["unet", "fpn"]
    assert "run.json" in entries[1].kind
    assert as_text(entries).splitlines()[2] == "unet  run, unfinished: run skyfold train again"


def test_what_differs_between_two_runs(tmp_path):
    a = scored(tmp_path, "a", (0.9, 0.7, 0.8, 0.8), config={"name": "a", "training": {"epochs": 5, "seeds": [0]}})
    b = scored(tmp_path, "b", (0.8, 0.6, 0.7, 0.7), config={"name": "b", "training": {"epochs": 9, "seeds": [0]}})
    text = "\n".join(compare(a, b))
    assert text.startswith("mean_dice     a       b\n")
    assert "\ncross-fitted  0.8000  0.7000\n" in text
    # Every image gains the same, so every draw does.
    assert "a - b: +0.1000 (+0.1000 to +0.1000), cross-fitted, paired, 95 %" in text
    assert "folds: the same\ntraining images and masks: the same\n" in text
    assert text.endswith("config           a  b\n---------------  -  -\ntraining.epochs  5  9")
    assert compare(a, a)[-1] == "config: the same"


def test_runs_of_other_folds_are_not_compared_image_by_image(tmp_path):
    a, b = (
        scored(tmp_path, name, fold=fold, parts={"folds": str(fold), "data": str(fold)})
        for name, fold in (("a", (0, 1, 0, 1)), ("b", (1, 0, 0, 1)))
    )
    text = "\n".join(compare(a, b))
    assert "not compared image by image: " in text
    assert "not the same folds, first in row 2" in text
    assert "folds: DIFFERENT, the scores cannot be compared" in text
    assert "training images and masks: DIFFERENT" in text


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"size": [32, 32]}, {"size": [64, 64]}, "seen at other sizes, [32, 32] and [64, 64]; not compared"),
        ({"size": [32, 32]}, {"size": [32, 32]}, "DIFFERENT"),
        ({}, {"crop": {"crops_per_image": 4}}, "seen whole by one and by crops by the other; not compared"),
        ({"crop": {"crops_per_image": 2}}, {"crop": {"crops_per_image": 4}}, "DIFFERENT"),
    ],
)
def test_what_was_seen_in_another_way_is_not_called_other_data(tmp_path, one, other, expected):
    a, b = (scored(tmp_path, n, config={"image": image}, parts={"data": n}) for n, image in (("a", one), ("b", other)))
    assert f"training images and masks: {expected}" in compare(a, b)


def test_weights_of_another_file_of_the_same_name_are_told(tmp_path):
    config = {"model": {"weights": "encoder.h5"}}
    a, b = (scored(tmp_path, n, config=config, parts={"init_weights": d * 30}) for n, d in (("a", "1f"), ("b", "2e")))
    line = compare(a, b)[-1]
    assert line.split("  ") == ["initial weights", "1f" * 30, "2e" * 30]
    for name, parts, said in [
        ("scratch", {"init_weights": "", "version": 3}, "not set"),
        ("of_version_2", {"init_weights": ""}, "not recorded"),  # it may be on ImageNet's
        ("older", {}, "not recorded"),
    ]:
        assert compare(a, scored(tmp_path, name, config=config, parts=parts))[-1].endswith(said)


def test_the_same_weights_in_another_place_are_no_difference(tmp_path):
    def on(name, file, digest):
        model = {"options": {"encoder_weights": file}}
        return scored(tmp_path, name, config={"model": model}, parts={"init_weights": digest})

    assert compare(on("a", "here/r.h5", "1f"), on("b", "there/r.h5", "1f"))[-1] == "config: the same"
    assert "here/r.h5" in "".join(compare(on("a", "here/r.h5", "1f"), on("c", "there/r.h5", "2e")))


def test_a_blend_and_a_run_have_no_config_in_common(tmp_path):
    a, b = scored(tmp_path, "a"), scored(tmp_path, "b", kind="blend")
    a_member, c_member, gate = ({"name": name, "fingerprint": {"version": 1}} for name in ("a", "c", "classifier"))
    made = made_blend("b", runs=[a_member, c_member], weights=[0.25, 0.75], gate=gate)
    made["selection"]["final"] = {"thresholds": [127], "min_areas": [0], "gate_thresholds": [0.5]}
    write_json(b / "blend.json", made)
    lines = compare(a, b)
    assert "b: mean of a 0.25, c 0.75, gated by classifier" in lines
    assert lines[-1] == "config: not compared, they are of two kinds, run and blend"


def test_a_run_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    unet = scored(tmp_path, "unet")
    with pytest.raises(OofMismatch, match=r"unett: no run here \(did you mean 'unet'.*There are: unet\."):
        compare(unet, unet.with_name("unett"))
    with pytest.raises(OofMismatch, match=r"a: no run here"):
        compare(tmp_path / "a", tmp_path / "b")
