"""What of a blend is packed: some members, some folds, the fits on all samples, or what there is time for."""

import numpy as np
import pytest

from bundles.conftest import predict, rows_by_id
from skyfold.files import read_json
from skyfold.pipeline import bundle_choice
from skyfold.pipeline.bundle_choice import seconds_of
from skyfold.pipeline.prediction_speed import Speed

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")


@pytest.fixture
def pack(project, tmp_path, capsys):
    """pack(config, option, ...) -> folder, manifest, what was printed."""

    def packed(config, *options):
        out = tmp_path / f"bundle{len(list(tmp_path.iterdir()))}"
        path = project.trained(config)
        capsys.readouterr()
        assert project.run("pack", path, "--out", out, *options) == 0
        return out, read_json(out / "manifest.json"), capsys.readouterr().out

    return packed


@pytest.fixture
def refused(project, tmp_path, capsys):
    def refused(config, *options, says):
        assert project.run("pack", project.trained(config), "--out", tmp_path / "out", *options) == 2
        assert says in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    return refused


def weights_of(manifest):
    return {run["name"]: [fit["weights"].partition("/")[2] for fit in run["fits"]] for run in manifest["runs"]}


def test_a_blend_of_fewer_members_is_the_one_that_skyfold_blend_makes_of_them(project, pack):
    stored = project.root / "oof/tiny/both/blend.json"
    project.trained("clouds")
    before = stored.read_bytes()
    _, manifest, said = pack("clouds", "--members", "turned,gate")
    smaller = project.config("smaller")
    text = project.config("clouds").read_text().replace("name: both", "name: smaller")
    smaller.write_text("\n".join(line for line in text.splitlines() if "name: bright" not in line))
    assert project.run("blend", smaller) == 0
    made = read_json(project.root / "oof/tiny/smaller/blend.json")
    assert manifest["scores"] == made["scores"]["final"]
    assert manifest["selection"] == made["selection"]
    assert manifest["presence_stack"] == made["presence_stack"]
    assert manifest["combination"] == made["combination"]["whole"]
    assert [run["name"] for run in manifest["runs"]] == ["turned"]
    assert manifest["gate"]["name"] == "gate"
    whole = read_json(stored)["scores"]["final"]
    cost = made["scores"]["final"]["cv_cross_fitted"] - whole["cv_cross_fitted"]
    assert f"instead of {whole['cv_cross_fitted']:.4f}" in said
    assert f"of all members: {cost:+.4f}" in said
    assert manifest["choice"]["left_out"] == ["bright"]
    assert stored.read_bytes() == before


def test_without_the_gate_thresholds_are_those_before_it_and_the_bundle_predicts(project, pack, tmp_path):
    bundle, manifest, said = pack("clouds", "--members", "turned,bright")
    whole = read_json(project.root / "oof/tiny/both/blend.json")
    assert manifest["gate"] is None
    assert manifest["selection"]["final"] == whole["selection"]["before_gate"]
    assert manifest["scores"]["cv_cross_fitted"] == whole["scores"]["before_gate"]["cv_cross_fitted"]
    assert "Left out: gate." in said
    assert "Left out: gate." in (bundle / "README.md").read_text()
    out = tmp_path / "out"
    assert predict(bundle, project.data("clouds") / "test_images", out) == 0
    assert (out / "submission.csv").read_bytes() == project.submission("tiny/both_before_gate")


def test_members_of_weight_0_are_not_packed_and_the_same_is_predicted_without_them(project, tmp_path, capsys):
    project.trained("clouds")
    config = project.config("zero")
    text = project.config("clouds").read_text().replace("name: both", "name: zero")
    config.write_text(text.replace("combine: stack", "weights: [0.0, 0.3]"))
    assert project.run("blend", config) == 0
    assert project.run("pack", config, "--out", tmp_path / "bundle") == 0
    assert "members of weight 0 are not packed: turned." in capsys.readouterr().err
    manifest = read_json(tmp_path / "bundle/manifest.json")
    assert [run["name"] for run in manifest["runs"]] == ["bright"]
    assert manifest["gate"]["name"] == "gate"
    assert manifest["choice"] is None
    assert manifest["scores"] == read_json(project.root / "oof/tiny/zero/blend.json")["scores"]["final"]
    assert predict(tmp_path / "bundle", project.data("clouds") / "test_images", tmp_path / "out") == 0
    stored = rows_by_id(project.root / "oof/tiny/zero/test")
    made = rows_by_id(tmp_path / "out/.work/blend")
    assert made.keys() == stored.keys()
    for name, values in made.items():
        np.testing.assert_array_equal(values, stored[name])


def test_the_mean_over_folds_lies_between_what_each_fold_predicts(project, pack, tmp_path):
    images = project.data("deep") / "test"
    parts = []
    for fold in (0, 1):
        bundle, manifest, said = pack("deep", "--folds", fold)
        assert weights_of(manifest) == {"deep": [f"deep/fold{fold}_seed0.weights.h5"]}
        assert manifest["choice"]["folds"] == {"deep": [fold]}
        assert f"Fits of fewer folds (deep: fold {fold})" in said
        assert manifest["scores"] == read_json(project.root / "oof/deep/deep_blend/blend.json")["scores"]["final"]
        assert predict(bundle, images, tmp_path / f"p{fold}") == 0
        parts.append(rows_by_id(tmp_path / f"p{fold}/.work/rows/deep"))
    for name, values in rows_by_id(project.root / "oof/deep/deep/test").items():
        mean = (parts[0][name].astype(float) + parts[1][name]) / 2
        assert np.abs(values - mean).max() <= 1


def test_the_fits_on_all_samples_are_packed_in_the_place_of_the_folds(project, pack, refused, tmp_path):
    refused("deep", "--full", says="run 'deep' has not finished the fit on all samples with seed 0")
    assert project.run("train", f"{project.config('deep')}#deep", "--full") == 0
    bundle, manifest, said = pack("deep", "--full")
    assert weights_of(manifest) == {"deep": ["deep/full_seed0.weights.h5"]}
    trained = project.root / "oof/deep/deep/models/full_seed0.weights.h5"
    assert (bundle / "runs/deep/full_seed0.weights.h5").read_bytes() == trained.read_bytes()
    for text in (said, (bundle / "README.md").read_text()):
        assert "the score is that of the folds' fits" in text
    assert predict(bundle, project.data("deep") / "test", tmp_path / "out") == 0
    of_folds = rows_by_id(project.root / "oof/deep/deep/test")
    assert any(
        (values != of_folds[name]).any() for name, values in rows_by_id(tmp_path / "out/.work/rows/deep").items()
    )


def test_a_time_limit_takes_the_best_members_first_and_as_many_folds_as_there_is_time_for(pack, refused, monkeypatch):
    """By speeds that are given; 10 % of the limit are kept back."""
    speeds = {"turned": Speed(1.0, 2.0), "bright": Speed(1.0, 1.0), "gate": Speed(0.5, 0.25)}
    scores = {"turned": 0.6, "bright": 0.5, "gate": 0.0}
    read = bundle_choice.read_info
    monkeypatch.setattr(bundle_choice, "speed_of", lambda config, *_: speeds[config.name])

    def info(folder):
        found = read(folder)
        found.scores["cv_cross_fitted"] = scores[folder.name]
        return found

    monkeypatch.setattr(bundle_choice, "read_info", info)

    def taken(limit):
        _, manifest, said = pack("clouds", "--time-limit", limit, "--images", 100)
        gate = [manifest["gate"]["name"]] if manifest["gate"] else []
        assert "Predicting 100 images takes about" in said
        fits = {name: len(fits) for name, fits in weights_of(manifest).items()}
        return fits, gate, manifest["choice"]["seconds"]

    # turned: 100 s of reading and 400 s for the two seeds of a fold; bright: 200 s; gate: 50 s, and 25 s a fold.
    assert taken("1500s") == ({"turned": 4, "bright": 0}, ["gate"], 1200.0)
    assert taken("1250s") == ({"turned": 4, "bright": 0}, [], 1100.0)
    assert taken("15m") == ({"turned": 2, "bright": 0}, ["gate"], 800.0)
    scores["bright"] = 0.7
    assert taken("5m") == ({"bright": 0}, [], 200.0)
    refused("clouds", "--time-limit", "200s", "--images", 100, says="one fold of the fastest run takes 200 s here")


def test_speed_is_measured_by_predicting_a_handful_of_images(project, pack):
    _, manifest, said = pack("clouds", "--time-limit", "9h", "--images", 1000)
    assert manifest["choice"]["left_out"] == []
    assert 0 < manifest["choice"]["seconds"] < 9 * 3600
    assert "of 9.00 h on the machine that packed it" in said
    assert manifest["scores"] == read_json(project.root / "oof/tiny/both/blend.json")["scores"]["final"]


def test_what_is_not_there_is_refused_by_name(refused):
    refused("clouds", "--members", "turnt", says="'turnt' is no member of 'both'")
    refused("clouds", "--members", "gate", says="name a run of 'both', not its gate alone")
    refused("clouds", "--folds", 2, says="--folds 2: new samples are predicted by the fits of fold 0, 1")
    refused("clouds", "--folds", 0, "--full", says="Remove one of the two")
    refused("clouds", "--time-limit", "9h", says="--time-limit and --images N go together")
    refused("clouds", "--time-limit", "soon", "--images", 9, says="--time-limit soon: no time")
    assert seconds_of("1h30m") == 5400
