"""What `import skyfold` offers a notebook: the figures of the commands, from arrays, with nothing written."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import skyfold
from conftest import begin_stored, store_rows
from skyfold.cli.main import main
from skyfold.config.files import load_blend, load_run
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError, DataLayoutError, OofMismatch
from skyfold.pipeline.prepare import prepare
from skyfold.store.runs import read_made_blend
from skyfold.submission.write import write_submission
from skyfold.tasks.segmentation import Segmentation
from skyfold.workspace import Workspace

COUNT, TEST = 12, 3
NOISE = {"good": 0.9, "fair": 1.3, "poor": 4.0}
BLEND = f"""
data:
  competition: understanding_clouds
  name: tiny
  folds: {{k: 3, seed: 0}}
  sample: {{train: {COUNT}, test: {TEST}, seed: 0, height: 64}}
name: both
image: {{size: [32, 48]}}
model: {{family: colour_threshold}}
runs: [{{name: good}}, {{name: fair}}, {{name: poor}}]
postprocess: {{thresholds: 17, min_areas: [0, 20]}}
bootstrap: 50
"""
HOW = {
    "mean": {},
    "fixed": {"weights": [2, 1, 0]},
    "greedy": {"weights": {"search": "greedy", "steps": 4, "thresholds": 3}},
    "stack": {"combine": "stack"},
}
POST = {"thresholds": 17, "min_areas": [0, 20], "draws": 50}


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_data):
    """A project with three runs, written as training would, and their blends."""
    root = tmp_path_factory.mktemp("project")
    configs, workspace = root / "configs", Workspace(root)
    configs.mkdir()
    (configs / "both.yaml").write_text(BLEND)
    config = load_blend(configs / "both.yaml")
    prepare(config.data, workspace, sample=True)
    dataset = open_masks(config.data, workspace)
    truth = np.stack([dataset.train.targets[i] for i in range(COUNT)]).astype(np.float64)
    rng = np.random.default_rng(0)
    for name, noise in NOISE.items():
        run, own = workspace.run("tiny", name), load_run(configs / f"both.yaml#{name}")
        info = begin_stored(run, dataset.folds, dataset.competition.classes, config=own)
        for part, ids, target in (("oof", dataset.train.ids, truth), ("test", dataset.test.ids, truth[:TEST])):
            logits = 2 * target - 1 + noise * rng.standard_normal(target.shape)
            store_rows(run, info, part, ids, np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8))
        Segmentation.score_run(run, dataset)
    for name, how in HOW.items():
        (configs / f"{name}.yaml").write_text("base: both.yaml\n" + as_yaml({"name": name, **how}))
        Segmentation.blend(load_blend(configs / f"{name}.yaml"), workspace)
    return root


def as_yaml(values):
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


@pytest.fixture(scope="module")
def results(project):
    return skyfold.open("tiny", root=project)


def test_importing_skyfold_loads_nothing_before_a_name_is_used():
    code = (
        "import sys, skyfold\n"
        "assert {'open', 'load_bundle', 'Results'} <= set(dir(skyfold))\n"
        "heavy = {'numpy', 'pandas', 'pydantic', 'keras', 'skyfold.notebook'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "skyfold.open\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len([name for name in dir(skyfold) if name in skyfold._MODULES]) <= 12
    assert {getattr(skyfold, name).__doc__ is None for name in skyfold._MODULES} == {False}
    with pytest.raises(AttributeError, match="opne"):
        skyfold.opne  # noqa: B018


def test_a_data_set_is_opened_by_its_name_or_by_a_config(project, results, monkeypatch):
    assert skyfold.open(project / "configs" / "both.yaml", root=project).name == "tiny"
    monkeypatch.chdir(project / "configs")
    assert skyfold.open("tiny").workspace.root == project
    assert results.runs.index.tolist() == ["fair", "good", "poor"]
    assert results.blends.index.tolist() == sorted(HOW)
    assert (results.blends["cv_in_sample"] > results.blends["low"]).all()
    assert results.folds.columns.tolist() == ["id", "fold", "group"]
    assert results.truth.ids.tolist() == results.folds["id"].tolist()
    assert results.truth.targets[0].shape == results.run("good").oof.values.shape[1:]
    with pytest.raises(ConfigError, match=r"no run 'goood' \(did you mean 'good'\?\)"):
        results.run("goood")
    with pytest.raises(ConfigError, match="no competition 'tyni'"):
        skyfold.open("tyni")
    with pytest.raises(DataLayoutError, match="skyfold prepare"):
        skyfold.open("mask_folder")


def test_out_of_fold_rows_are_mapped_from_the_disk_with_their_ids(project, results):
    run = results.run("good")
    np.testing.assert_array_equal(run.oof.values, np.load(project / "oof/tiny/good/oof/values.npy"))
    assert isinstance(run.oof.values.base, type(np.load(project / "oof/tiny/good/oof/values.npy", mmap_mode="r").base))
    assert run.oof.ids.tolist() == results.folds["id"].tolist()
    assert run.test.ids.tolist() == results.test_ids.tolist()
    assert len(run.test.values) == TEST
    assert results.run("stack").kind == "blend"


def test_scores_are_those_of_the_command_score(project, results, tmp_path, capsys):
    """The masks at 0.5 and the truth, written as submissions of the training images."""
    scored = results.score("good")
    assert scored.score == results.run("good").scores["cv_at_0.5"]
    ids, table = results.truth.ids, open_masks(results.data, results.workspace).competition.submission
    masks = {"oof": np.asarray(results.run("good").oof.values) > 127, "truth": results.truth.targets}
    oof, truth = (tmp_path / f"{name}.csv" for name in masks)
    for path, values in zip((oof, truth), masks.values(), strict=True):
        write_submission(path, ids, [values[i].astype(bool) for i in range(COUNT)], table, None, {})
    assert main(["score", "tiny", str(oof), "--truth", str(truth), "--root", str(project), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["score"], told["samples"]) == (scored.score, scored.samples)
    assert told["per_class"] == scored.per_class
    assert (told["low"], told["high"]) == (scored.low, scored.high)


def test_thresholds_may_be_of_all_classes_of_each_or_tuned(results):
    classes = results.run("good").classes
    at_half = results.score("good")
    assert results.score("good", [0.5] * 4) == results.score("good", dict.fromkeys(classes, 0.5)) == at_half
    assert results.score("good", 0.9).score != at_half.score
    tuned = results.tune_thresholds("good", min_areas=[0, 20])
    in_sample = results.score("good", tuned)
    assert in_sample.score == tuned.scores["cv_in_sample"]
    assert "thresholds fitted on these rows" in in_sample.note
    alike = results.tune_thresholds("good")
    assert results.score("good", alike.thresholds).score == results.score("good", alike).score
    for wrong in (1.0, [0.5, 0.5], {"Fish": 0.5}):
        with pytest.raises(ConfigError, match="thresholds: "):
            results.score("good", wrong)


def test_tuned_thresholds_of_a_run_have_the_scores_that_training_stored(results):
    tuned, stored = results.tune_thresholds("fair"), results.run("fair").scores
    assert {key: stored[key] for key in tuned.scores} == tuned.scores
    assert set(tuned.by_fold) == {0, 1, 2}
    np.testing.assert_array_equal(
        tuned.masks(results.run("fair").oof)[3], tuned.selection.apply(results.run("fair").oof.values[3:4])[0]
    )


@pytest.mark.parametrize("kind", HOW)
def test_a_blend_in_memory_has_the_figures_and_rows_of_the_command_blend(project, results, kind):
    before = sorted((project / "oof").rglob("*"))
    blend = results.blend(list(NOISE), **HOW[kind])
    tuned = results.tune_thresholds(blend, **POST)
    made = read_made_blend(project / "oof" / "tiny" / kind)
    assert tuned.scores == made["scores"]["final"]
    assert list(tuned.selection.thresholds) == made["selection"]["final"]["thresholds"]
    assert list(tuned.selection.min_areas) == made["selection"]["final"]["min_areas"]
    for part in ("oof", "test"):
        stored = getattr(results.run(kind), part)
        np.testing.assert_array_equal(getattr(blend, part).values[:], stored.values[:])
    assert blend.weights is None or sum(blend.weights.values()) == pytest.approx(1)
    assert results.score(blend).score == tuned.scores["cv_at_0.5"]
    assert ("blend fitted" in results.score(blend).note) is (kind in ("greedy", "stack"))
    assert sorted((project / "oof").rglob("*")) == before


def test_thresholds_of_a_stored_blend_with_fitted_weights_are_not_tuned_on_its_rows(results):
    with pytest.raises(ConfigError, match="the weights of blend 'stack' were fitted on the rows"):
        results.tune_thresholds("stack")
    assert (
        results.tune_thresholds("mean", **POST).scores
        == results.tune_thresholds(results.blend(list(NOISE)), **POST).scores
    )


def test_arrays_of_another_framework_count_as_runs_in_any_form(results):
    good = results.run("good")
    rows = np.asarray(good.oof.values)
    expected = results.tune_thresholds("good").scores
    forms = {
        "bytes": rows,
        "probabilities": (rows / 255).astype(np.float32),
        "classes first": np.moveaxis(rows, -1, 1),
        "by id, in another order": {name: rows[i] for i, name in reversed([*enumerate(good.oof.ids.tolist())])},
        "rows with their ids": good.oof,
    }
    for form, values in forms.items():
        assert results.tune_thresholds(values).scores == expected, form
    stored = results.blend(["good", "fair"], combine="stack")
    foreign = results.blend({"a": forms["probabilities"], "b": "fair"}, combine="stack")
    assert results.tune_thresholds(foreign).scores == results.tune_thresholds(stored).scores
    assert foreign.test is None
    given, mean = results.from_arrays(rows, good.test.values[:], name="theirs"), results.blend(["good", "fair"])
    np.testing.assert_array_equal(results.blend([given, "fair"]).test.values[:], mean.test.values[:])


def test_arrays_that_do_not_fit_are_refused_with_the_id(results):
    rows = np.asarray(results.run("good").oof.values)
    first = results.folds["id"][0]
    with pytest.raises(OofMismatch, match="train: 3 maps of 12 ids"):
        results.score(rows[:3])
    with pytest.raises(OofMismatch, match=f"there is no map of 1 ids: .*{first}"):
        results.score({name: rows[i] for i, name in enumerate(results.folds["id"]) if i})
    with pytest.raises(OofMismatch, match=r"unknown 1 ids: .*other"):
        results.score({**dict(zip(results.folds["id"], rows, strict=True)), "other": rows[0]})
    with pytest.raises(DataLayoutError, match=f"train, '{first}': values from .* Apply the sigmoid"):
        results.score(rows.astype(np.float32) / 10 - 5)
    with pytest.raises(ConfigError, match="weights: give one for each of the 2 runs"):
        results.blend(["good", "fair"], weights=[1.0])


def test_a_picture_shows_a_sample_its_prediction_and_its_errors(results, tmp_path):
    train, test = results.folds["id"][0], str(results.run("good").test.ids[0])
    plain, predicted = results.show(train), results.show(train, "good", 0.6)
    for picture in (plain, predicted, results.show(test, results.blend(["good", "fair"]))):
        assert picture._repr_png_().startswith(b"\x89PNG")
    assert width_of(predicted.png) > width_of(plain.png)
    assert predicted.save(tmp_path / "a.png").read_bytes() == predicted.png
    with pytest.raises(ConfigError, match="no sample 'nobody'"):
        results.show("nobody")
    with pytest.raises(ConfigError, match=f"'arrays' has no prediction of '{test}'"):
        results.show(test, results.run("good").oof)


def width_of(png):
    return int.from_bytes(png[16:20], "big")


def test_a_submission_of_a_blend_in_memory_is_that_of_the_command_submit(project, results, tmp_path):
    assert main(["submit", str(project / "configs/stack.yaml"), "--root", str(project)]) == 0
    blend = results.blend(list(NOISE), combine="stack")
    path = results.write_submission(tmp_path / "mine.csv", blend, results.tune_thresholds(blend, **POST))
    assert path.read_bytes() == (project / "submissions/tiny/stack.csv").read_bytes()
    assert json.loads(path.with_suffix(".json").read_text())["rows"] == 4 * TEST


def test_everything_shows_itself_as_a_table(results):
    blend = results.blend(["good", "fair"], weights=[3, 1])
    shown = {
        "good": results,
        "cv_cross_fitted": results.run("good"),
        "0.7500": blend,
        "Flower": results.score(blend),
        "optimism": results.tune_thresholds(blend),
    }
    for text, one in shown.items():
        assert text in one._repr_html_()
    assert "uint8" in repr(results.run("good"))


SKY = """
data:
  competition: mask_folder
  name: sky
  options: {classes: {cloud: 1, haze: 2}, test_images: test}
  folds: {k: 2}
image: {size: [24, 32]}
name: both
runs:
  - {name: white, model: {family: colour_threshold, options: {feature: whiteness}}}
  - {name: bright, model: {family: colour_threshold, options: {feature: brightness}}}
postprocess: {thresholds: 9}
bootstrap: 20
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory, own_data):
    """A project whose blend was run and packed by the functions of a notebook."""
    root = tmp_path_factory.mktemp("sky")
    rng, data, config = np.random.default_rng(0), root / "data" / "sky", root / "configs" / "sky.yaml"
    for folder in (data / "images", data / "masks", data / "test", config.parent):
        folder.mkdir(parents=True)
    for number in range(10):
        image = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(image).save(data / ("images" if number < 7 else "test") / f"{number}.png")
        if number < 7:
            Image.fromarray((image[..., 0] // 90).astype(np.uint8)).save(data / "masks" / f"{number}.png")
    config.write_text(SKY)
    assert skyfold.prepare(config, root=root).folds["fold"].nunique() == 2
    results = skyfold.run(config, root=root, overrides=["seed=0"])
    return root, results, skyfold.pack(config, root / "sky.zip", root=root)


def test_a_bundle_predicts_a_folder_or_arrays_as_training_did(packed, tmp_path, monkeypatch):
    root, results, _ = packed
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bundle, folder = skyfold.load_bundle(root / "sky.zip"), root / "data" / "sky" / "test"
    images = [np.asarray(Image.open(folder / f"{number}.png")) for number in (7, 8, 9)]
    of_folder, of_arrays, trained = bundle.predict(folder), bundle.predict(images), results.run("both").test
    assert of_folder.ids.tolist() == trained.ids.tolist()
    submitted = results.tune_thresholds(results.blend(["white", "bright"]), thresholds=9).masks(trained)
    for row in range(3):
        for found in (of_folder, of_arrays):
            np.testing.assert_array_equal(found.values[row], trained.values[row])
            np.testing.assert_array_equal(found.masks[row], submitted[row])
    assert [*tmp_path.iterdir()] == []
    assert bundle.classes == ("cloud", "haze")
    assert bundle.scores["cv_cross_fitted"] == results.run("both").scores["cv_cross_fitted"]
    assert "haze" in of_folder._repr_html_()
    assert "cv_cross_fitted" in bundle._repr_html_()
    with pytest.raises(ConfigError, match="images: there are none"):
        bundle.predict([])
    with pytest.raises(DataLayoutError, match="3 bands of float32"):
        bundle.predict([images[0].astype(np.float32)])
    with pytest.raises(ConfigError, match="no bundle here"):
        skyfold.load_bundle(root)


def test_runs_of_another_task_other_folds_or_changed_data_are_refused(packed, results, tmp_path):
    stored = results.run("good").stored
    other = skyfold.Run(replace(stored, info=replace(stored.info, task="classification")))
    with pytest.raises(ConfigError, match="run 'good' is of task: classification"):
        results.score(other)
    _, of_sky, _ = packed
    with pytest.raises(OofMismatch, match="'white' has other folds than data set 'tiny'"):
        results.score(of_sky.run("white"))
    forecasts, dataset = skyfold.open("tiny", root=results.workspace.root), results._dataset
    competition = replace(dataset.competition, task="forecasting")
    forecasts.__dict__["_dataset"] = replace(dataset, competition=competition)
    with pytest.raises(ConfigError, match="data set 'tiny' is of task: forecasting; scores, blends and pictures"):
        forecasts.score("good")
    copy = shutil.copytree(packed[0], tmp_path / "copy")
    mask = np.asarray(Image.open(copy / "data/sky/masks/3.png"))
    Image.fromarray(np.ascontiguousarray(mask[::-1])).save(copy / "data/sky/masks/3.png")
    with pytest.raises(OofMismatch, match=r"mask 3.png changed since 'white' was made"):
        skyfold.open("sky", root=copy).score("white")


def test_arrays_of_images_that_differ_in_size_are_scored_on_their_own_size(own_data, tmp_path):
    data, config = tmp_path / "data" / "own", tmp_path / "configs" / "own.yaml"
    for folder in (data / "images", data / "masks", config.parent):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, size in enumerate([(20, 30), (30, 20)] * 3):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(data / "images" / f"{number}.png")
        Image.fromarray(rng.integers(0, 2, size).astype(np.uint8)).save(data / "masks" / f"{number}.png")
    settings = {"competition": "mask_folder", "name": "own", "options": {"classes": {"a": 1}, "grid": "own"}}
    config.write_text(as_yaml({"data": {**settings, "folds": {"k": 2}}}))
    results = skyfold.prepare(config, root=tmp_path)
    masks = [results.truth.targets[i].astype(bool) for i in range(6)]
    assert results.score(masks).score == 1
    half_wrong = {name: masks[i] if i % 2 else ~masks[i] for i, name in enumerate(results.folds["id"])}
    assert results.score(half_wrong).score == pytest.approx(0.5)
    blend = results.blend([masks, half_wrong], weights=[2, 1])
    assert blend.oof.values[0].shape == (20, 30, 1)
    assert results.tune_thresholds(blend, thresholds=5).scores["cv_cross_fitted"] == 1
    assert results.show("1", blend).png.startswith(b"\x89PNG")
    assert results.test_ids.tolist() == []
