"""Samples that a config excludes: they keep their fold and are predicted, and nothing is trained, chosen or scored on
them."""

import csv
import json

import cv2
import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.config.blend import PostprocessConfig
from skyfold.metrics.segmentation import MeanDice
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure
from skyfold.store.folds import Folds, grow_by_groups, read_folds, write_folds
from skyfold.types import Predictions, Samples

IDS = np.array([f"s{i}" for i in range(12)])
FOLDS = Folds(IDS, np.arange(12) % 3, np.arange(12))
OUT = np.isin(IDS, ["s4", "s11"])


def excluding(excluded=OUT) -> Folds:
    return Folds(IDS, FOLDS.fold, FOLDS.groups, excluded=excluded)


def test_folds_keep_what_they_exclude_apart(tmp_path):
    folds = excluding()
    for fold in range(3):
        split = folds.split(fold)
        assert not {4, 11} & {*split.train, *split.valid}
        assert sorted([*split.train, *split.valid]) == folds.scored.tolist()
    assert 4 in np.concatenate(list(folds.rows_of(1)))  # it is predicted by the fold that validated it
    assert folds.hash() != FOLDS.hash()
    assert excluding(np.zeros(12, bool)).hash() == FOLDS.hash()
    write_folds(tmp_path / "folds.csv", folds)
    again = read_folds(tmp_path / "folds.csv")
    assert again.hash() == folds.hash()
    np.testing.assert_array_equal(again.excluded, OUT)
    grown = grow_by_groups(folds, np.append(IDS, "new"), np.append(np.arange(12), 12))
    write_folds(tmp_path / "folds.csv", grown)
    assert read_folds(tmp_path / "folds.csv").hash() == folds.hash()
    assert grown.excluded.tolist() == [*OUT.tolist(), False]


def test_choices_and_scores_are_those_of_the_data_without_them():
    rng = np.random.default_rng(0)
    prob = rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    target = (prob > 90) ^ (rng.random(prob.shape) < 0.2)
    target[OUT] = prob[OUT] < 90  # labels that would draw any threshold to themselves
    post = PostprocessConfig(thresholds=9, min_areas=(0, 4))

    def evaluated(rows, folds):
        oof = Predictions(folds.ids, prob[rows], np.ones(len(rows), bool), "probability")
        return evaluate(
            measure(oof, Samples(folds.ids, oof.values, target[rows]), folds, MeanDice(), post), folds, post
        )

    kept = np.flatnonzero(~OUT)
    found = evaluated(np.arange(12), excluding())
    without = evaluated(kept, Folds(IDS[kept], FOLDS.fold[kept], FOLDS.groups[kept]))
    assert (found.selection, found.by_fold) == (without.selection, without.by_fold)
    scores, expected = found.scores(50, 0), without.scores(50, 0)
    together = scores.pop("cv_with_excluded")
    assert scores == expected
    assert together == pytest.approx(found.map_scores.mean())
    assert together < scores["cv_cross_fitted"]
    columns = found.columns(["a"])
    assert {len(column) for column in columns.values()} == {len(kept)}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A data set of 12 images; the masks of two are of other images. configs/bright.yaml and exclude.csv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    rng = np.random.default_rng(1)
    for name in ("data/mine/images", "data/mine/masks", "configs"):
        (tmp_path / name).mkdir(parents=True)
    for i, name in enumerate(IDS.tolist()):
        image = rng.integers(0, 90, (24, 32, 3), dtype=np.uint8)
        image[4 : 8 + i, 5:25] += 120
        bright = image[..., 0] > 100
        cv2.imwrite(f"data/mine/images/{name}.png", image)
        cv2.imwrite(f"data/mine/masks/{name}.png", (bright ^ OUT[i]).astype(np.uint8) * 255)
    data = {"competition": "mask_folder", "name": "mine", "options": {"classes": {"cloud": 255}}}
    run = {"name": "bright", "model": {"family": "colour_threshold", "options": {"feature": "brightness"}}}
    config = {"data": {**data, "folds": {"k": 3, "phash_max_distance": -1}}, "image": {"size": [24, 32]}, **run}
    (tmp_path / "configs/bright.yaml").write_text(yaml.safe_dump(config))
    config["data"]["exclude"] = "configs/exclude.csv"
    (tmp_path / "configs/cleaned.yaml").write_text(yaml.safe_dump({**config, "name": "cleaned"}))
    (tmp_path / "configs/exclude.csv").write_text("id,reason\ns4,inverted\ns11,inverted\n")
    return tmp_path


def told(capsys, *command):
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_stage_shows_the_score_without_and_with_them(project, capsys):
    assert main(["prepare", "configs/bright.yaml"]) == 0
    before = read_folds(project / "oof/mine/folds.csv")
    all_in = told(capsys, "train", "configs/bright.yaml")["scores"]
    assert main(["train", "configs/cleaned.yaml"]) == 3  # folds.csv does not exclude them yet
    assert "skyfold prepare" in capsys.readouterr().err
    assert main(["prepare", "configs/cleaned.yaml"]) == 0
    assert "excluded: s11, s4" in capsys.readouterr().out
    np.testing.assert_array_equal(read_folds(project / "oof/mine/folds.csv").fold, before.fold)

    scores = told(capsys, "train", "configs/cleaned.yaml")["scores"]
    assert scores["cv_with_excluded"] < scores["cv_cross_fitted"]
    assert all_in["cv_cross_fitted"] < scores["cv_cross_fitted"]
    with open("oof/mine/cleaned/rows.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == sorted(set(IDS) - {"s4", "s11"})
    result = told(capsys, "blend", "configs/cleaned.yaml")
    final = result["scores"]["final"]
    assert {key: final[key] for key in ("cv_cross_fitted", "cv_with_excluded")} == {
        key: scores[key] for key in ("cv_cross_fitted", "cv_with_excluded")
    }
    assert main(["leaderboard", "mine"]) == 0
    out = capsys.readouterr().out
    assert f"cleaned: {scores['cv_with_excluded']:.4f} with the excluded samples" in out
    assert "run, of other folds than folds.csv" in out  # 'bright' was trained on all


def test_rows_of_no_sample_and_folds_without_any_are_refused(project, capsys):
    exclude = project / "configs/exclude.csv"
    exclude.write_text("id,reason\ns4,inverted\nS11,inverted\ns4,again\n")
    assert main(["prepare", "configs/cleaned.yaml"]) == 2
    error = capsys.readouterr().err
    assert "exclude.csv" in error
    assert "line 3: no training sample 'S11' (did you mean 's11'?). Correct or remove the row." in error
    assert "'s4' is listed 2 times" in error
    exclude.write_text("id,reason\n" + "".join(f"{name},bad\n" for name in IDS))
    assert main(["prepare", "configs/cleaned.yaml"]) == 2
    assert "would validate no sample" in capsys.readouterr().err
    exclude.unlink()
    assert main(["prepare", "configs/cleaned.yaml"]) == 2
    assert "no such file" in capsys.readouterr().err
