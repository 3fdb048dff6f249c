"""From contest files to scored submissions through the commands, with classical baselines in place of networks."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import begin_stored, store_rows
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.config.files import load_run
from skyfold.postprocess.measure import threshold_grid
from skyfold.reports.mask_plot import draw_examples
from skyfold.store.folds import read_folds

pytestmark = pytest.mark.usefixtures("own_data")
CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
CONFIGS = yaml.safe_load("""
data.yaml:
  data:
    competition: understanding_clouds
    name: tiny
    folds: {k: 3, seed: 0}
    sample: {train: 30, test: 15, seed: 0, height: 112}
bright.yaml:
  base: data.yaml
  name: bright
  image: {size: [56, 84]}
  model: {family: colour_threshold, options: {feature: brightness}}
lowest.yaml: {base: bright.yaml, name: lowest, model: {options: {feature: lowest_band}}}
gate.yaml:
  base: data.yaml
  name: gate
  task: classification
  image: {size: [64, 96]}
  model: {family: efficientnet_classifier, options: {encoder_weights: none}}
  loss: {name: bce}
blend.yaml:
  base: data.yaml
  name: both
  runs: [bright.yaml, lowest.yaml]
  postprocess: {thresholds: 17, min_areas: [0, 20]}
  bootstrap: 100
gated.yaml: {base: blend.yaml, name: gated, classifier_gate: gate.yaml, postprocess: {gate_input: classifier}}
stacked.yaml: {base: blend.yaml, name: stacked, classifier_gate: gate.yaml}
""")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, own_data):
    """A working folder in which `skyfold run` has done everything that `blend.yaml` asks for."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "configs").mkdir()
    for name, config in CONFIGS.items():
        (folder / name).write_text(yaml.safe_dump(config, default_flow_style=None, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("skyfold.tasks._mask_blend.draw_examples", draw_examples)
        assert main(["run", "blend.yaml"]) == 0
    return folder


@pytest.fixture
def work(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def blend_of(folder, name):
    return json.loads((folder / "oof" / "tiny" / name / "blend.json").read_text())


def store_gate(folder, wrong=()):
    """Rows of a classifier that is right, but for the training rows `wrong`, whose answer is turned round."""
    data, run = folder / "data" / "tiny", folder / "oof" / "tiny" / "gate"
    competition, folds = build("understanding_clouds", {}, data), read_folds(run.with_name("folds.csv"))
    info = begin_stored(run, folds, CLASSES, config=load_run(folder / "gate.yaml"), task="classification")
    truths = {"oof": competition.load(data, "train"), "test": competition.read_truth(data / "test_truth.csv")}
    for part, truth in truths.items():
        there = np.array([truth.targets[i].any(axis=(0, 1)) for i in range(len(truth.ids))])
        if part == "oof":
            there[list(wrong)] = ~there[list(wrong)]
        store_rows(run, info, part, truth.ids, np.where(there, 0.9, 0.1).astype(np.float32))


def test_one_command_ends_in_a_submission_with_its_scores(finished):
    sidecar = json.loads((finished / "submissions/tiny/both.json").read_text())
    files = ("data/tiny/sample_submission.csv", "submissions/tiny/both.csv")
    sample, table = (pd.read_csv(finished / file, keep_default_na=False) for file in files)
    assert table["Image_Label"].tolist() == sample["Image_Label"].tolist()
    assert {run["name"] for run in sidecar["runs"]} == {"bright", "lowest"}
    assert sidecar["rows"] == len(table) == 15 * 4
    assert (finished / "oof" / "tiny" / "both" / "examples.png").read_bytes().startswith(b"\x89PNG")
    scores = blend_of(finished, "both")["scores"]["final"]
    assert sidecar["scores"] == scores
    assert scores["cv_in_sample"] >= scores["cv_cross_fitted"]
    assert scores["optimism"] == pytest.approx(scores["cv_in_sample"] - scores["cv_cross_fitted"])
    assert scores["low"] < scores["cv_cross_fitted"] < scores["high"]


def test_a_run_by_itself_ends_in_a_submission_too(work, capsys):
    assert main(["run", "bright.yaml"]) == 0
    assert f"submission: {work / 'submissions/tiny/bright_alone.csv'}" in capsys.readouterr().out
    alone = blend_of(work, "bright_alone")
    rows = np.load(work / "oof/tiny/bright_alone/test/values.npy")
    np.testing.assert_array_equal(rows, np.load(work / "oof/tiny/bright/test/values.npy"))
    assert alone["scores"]["final"]["cv_in_sample"] >= alone["scores"]["final"]["cv_cross_fitted"]
    written = (work / "submissions/tiny/bright_alone.csv").read_bytes()
    assert main(["submit", "bright.yaml"]) == main(["pack", "bright.yaml", "--out", "bundle"]) == 0
    assert main(["predict", "bundle", "--data", "data/tiny", "--out", "out"]) == 0
    assert (work / "out/submission.csv").read_bytes() == written


def test_submission_and_truth_are_scored_as_by_the_job_and_listed(work, capsys):
    truth = "data/tiny/test_truth.csv"
    recorded = json.loads((work / "submissions" / "tiny" / "both.test_scores.json").read_text())["scores"]["final"]
    for table, score in (("submissions/tiny/both.csv", recorded), (truth, 1)):
        assert main(["score", "data.yaml", table, "--truth", truth]) == 0
        printed = capsys.readouterr().out
        assert all(part in printed for part in (f"mean_dice: {score:.6f} (15 samples)", *CLASSES))
    assert main(["leaderboard", "tiny"]) == 0
    printed = capsys.readouterr().out
    for name in ("bright", "lowest", "both", "all empty", "best single at 0.5", "perfect classifier"):
        assert name in printed


def test_a_second_time_trains_nothing_again_and_predicts_a_changed_test_image(work):
    before = {path: path.stat().st_mtime_ns for path in (work / "oof").rglob("values.npy")}
    assert main(["run", "blend.yaml"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (work / "oof").rglob("values.npy")} == before
    for path in (work / "data" / "tiny").rglob("*.jpg"):
        path.touch()  # copied again, they are the same data
    images = sorted((work / "data" / "tiny" / "test_images").glob("*.jpg"))
    images[0].write_bytes(images[1].read_bytes())
    values = work / "oof" / "tiny" / "bright" / "test" / "values.npy"
    stored = np.load(values)
    assert main(["train", "bright.yaml"]) == 0
    assert (np.load(values) != stored).any(axis=(1, 2, 3)).sum() == 1


def test_a_damaged_cache_is_made_again_and_the_stages_alone_do_what_the_job_did(work):
    submission = work / "submissions" / "tiny" / "both.csv"
    wanted = submission.read_bytes()
    for path in (work / "data" / ".cache").rglob("values.npy"):
        path.write_bytes(path.read_bytes()[:40])
    for path in (work / "data" / ".cache").rglob("complete.npy"):
        path.unlink()
    for folder in ("submissions", "oof"):
        shutil.rmtree(work / folder)
    for command in ("prepare data", "train bright", "train lowest", "blend blend", "submit blend"):
        assert main(f"{command}.yaml".split()) == 0
    assert submission.read_bytes() == wanted


def test_a_classifier_of_pure_error_does_no_harm_before_the_gate_and_a_perfect_one_reaches_the_oracle(work):
    store_gate(work, wrong=range(0, 30, 2))
    assert main(["blend", "gated.yaml"]) == 0
    assert blend_of(work, "gated")["scores"]["before_gate"] == blend_of(work, "both")["scores"]["final"]
    store_gate(work)
    assert main(["blend", "gated.yaml"]) == 0
    scores = blend_of(work, "gated")["scores"]
    # The oracle may empty a mask that hits nothing anyway, which scores the same: both keep or gain every map.
    assert scores["final"]["cv_in_sample"] >= scores["baselines"]["oracle"] - 1e-9
    assert scores["gains"]["gate"]["value"] > 0
    assert main(["submit", "gated.yaml"]) == 0
    files = ("submissions/tiny/gated.csv", "submissions/tiny/gated_before_gate.csv", "data/tiny/test_truth.csv")
    final, before, truth = (pd.read_csv(work / file, keep_default_na=False)["EncodedPixels"] for file in files)
    assert (final[truth == ""] == "").all()
    assert (before[truth == ""] != "").any()


def test_stacked_gate_is_fitted_without_the_scored_fold_and_submitted_too(work):
    store_gate(work, wrong=[0, 1, 2])
    assert main(["blend", "stacked.yaml"]) == 0
    result = blend_of(work, "stacked")
    coef = np.array(result["presence_stack"]["coef_"])
    assert (coef.argmax(axis=1) == coef.shape[1] - 1).all()  # brightness knows little, the classifier nearly all
    assert result["scores"]["final"]["cv_cross_fitted"] > result["scores"]["before_gate"]["cv_cross_fitted"]
    assert main(["submit", "stacked.yaml"]) == 0
    assert (work / "submissions" / "tiny" / "stacked.csv").is_file()


def edit(name, old, new):
    """Replace text, once, in one of the configs or in a file of the data set."""
    path = Path(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def empty_a_mask():
    table = pd.read_csv("data/tiny/train.csv", keep_default_na=False)
    table.loc[table.index[table["EncodedPixels"] != ""][0], "EncodedPixels"] = ""
    table.to_csv("data/tiny/train.csv", index=False)


def put_a_file_in_the_place_of_submissions():
    shutil.rmtree("submissions")
    Path("submissions").write_text("a file where a folder should be")


@pytest.mark.parametrize(
    ("change", "command", "message"),
    [
        (None, "prepare nowhere", "no competition 'nowhere'"),
        (None, "prepare data.yaml --sample", "already there"),
        (None, "leaderboard hydro", "no competition 'hydro'"),
        (None, "score data.yaml none.csv --truth data/tiny/test_truth.csv", "none.csv"),
        (None, "train blend.yaml", "not the config of a training run"),
        (None, "run data.yaml", "nothing to train"),
        (partial(edit, "blend.yaml", "[0, 20]", "[0, 40]"), "submit blend.yaml", "Run `skyfold blend` again"),
        (put_a_file_in_the_place_of_submissions, "submit blend.yaml", "submissions"),
        (partial(shutil.rmtree, "oof/tiny/lowest"), "blend blend.yaml", "lowest"),
        (partial(edit, "oof/tiny/folds.csv", ",0,", ",1,"), "blend blend.yaml", "other folds"),
        (partial(edit, "blend.yaml", "lowest.yaml", "bright.yaml"), "blend blend.yaml", "need different names"),
        (empty_a_mask, "train bright.yaml", "since run 'bright' was trained"),
        (partial(edit, "data.yaml", "k: 3", "k: 5"), "prepare data.yaml", "made with k = 3; the config has k = 5"),
        (partial(edit, "gate.yaml", "loss", "augment: [{name: RandomRotate90}]\nloss"), "train gate.yaml", "Rotate90"),
    ],
)
def test_mistakes_end_with_one_message_and_an_exit_code(work, capsys, change, command, message):
    if change is not None:
        change()
    before = {path: path.read_bytes() for path in work.glob("*/tiny/bot*/*.json")}
    no_longer_fits = message in ("lowest", "other folds", "since run 'bright' was trained") or "made with" in message
    assert main(command.split()) == (3 if no_longer_fits else 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert {path: path.read_bytes() for path in work.glob("*/tiny/bot*/*.json")} == before
    assert not list(work.glob("oof/tiny/gate/models/*")), "the same name cannot be trained without --restart"


def test_a_cut_image_is_named_and_no_folds_are_written(work, capsys):
    shutil.rmtree(work / "oof")
    image = sorted((work / "data" / "tiny" / "train_images").glob("*.jpg"))[3]
    image.write_bytes(image.read_bytes()[:900])
    assert main(["prepare", "data.yaml"]) == 2
    assert image.name in capsys.readouterr().err
    assert not (work / "oof").exists()


def test_threshold_grid_has_one_half_and_nothing_twice():
    thresholds = set(threshold_grid(51).tolist())
    assert (127 in thresholds, len(thresholds & set(range(255)))) == (True, 51)
    assert threshold_grid(255).tolist() == list(range(255))


def test_an_image_lost_after_folds_were_made_is_named_by_every_stage(work, capsys):
    image = sorted((work / "data" / "tiny" / "train_images").glob("*.jpg"))[5]
    image.unlink()
    table = work / "data" / "tiny" / "train.csv"
    table.write_text("".join(line for line in table.open() if image.name not in line))
    for name, config in [("prepare", "data.yaml"), ("train", "bright.yaml"), ("blend", "blend.yaml")]:
        assert main([name, config]) == 3
        error = capsys.readouterr().err
        assert f"'{image.name}' is not in the data" in error
        assert "folds.csv" in error


@pytest.mark.parametrize("file", ["run.json", "oof/rows.json", "oof/values.npy", "oof/complete.npy", "test/crc32.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_of_a_run_are_named_with_the_remedy(work, capsys, file, damage):
    path = work / "oof" / "tiny" / "bright" / file
    path.write_bytes(path.read_bytes()[:40])
    if damage == "gone":
        path.unlink()
    assert main(["blend", "blend.yaml"]) == 3
    error = capsys.readouterr().err
    assert "bright" in error
    assert "skyfold train" in error or "Delete it and run the stage that writes it again" in error
