"""From contest files to scored submissions through the commands, with classical baselines in the place of networks.

A classifier is stood in for by rows written into a run's folder, as training would write them.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from conftest import begin_stored
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.postprocess.threshold_sweep import threshold_grid
from skyfold.store.folds import read_folds
from skyfold.store.runs import open_rows

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
CONFIGS = {
    "data.yaml": """
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 3, seed: 0}
  sample: {train: 30, test: 15, seed: 0, height: 112}
""",
    "bright.yaml": """
base: data.yaml
name: bright
image: {size: [56, 84]}
model: {family: colour_threshold, options: {feature: brightness}}
""",
    "lowest.yaml": """
base: bright.yaml
name: lowest
model: {options: {feature: lowest_band}}
""",
    "gate.yaml": """
base: data.yaml
name: gate
task: classification
image: {size: [64, 96]}
model: {family: efficientnet_classifier, options: {encoder_weights: none}}
loss: {name: bce}
""",
    "blend.yaml": """
base: data.yaml
name: both
runs: [bright.yaml, lowest.yaml]
postprocess: {thresholds: 17, min_areas: [0, 20]}
bootstrap: 100
""",
    "gated.yaml": """
base: blend.yaml
name: gated
classifier_gate: gate.yaml
postprocess: {gate_input: classifier}
""",
    "stacked.yaml": """
base: blend.yaml
name: stacked
classifier_gate: gate.yaml
""",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A working folder in which `skyfold run` has done everything that `blend.yaml` asks for."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "configs").mkdir()
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        patch.chdir(folder)
        assert main(["run", "blend.yaml"]) == 0
    return folder


@pytest.fixture
def work(finished, tmp_path, monkeypatch):
    """A copy of the finished folder, to change."""
    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def store_gate(folder, wrong=()):
    """Rows of a classifier that is right, but for the training rows `wrong`, whose answer is turned round."""
    competition = build("understanding_clouds", {}, folder / "data" / "tiny")
    folds = read_folds(folder / "oof" / "tiny" / "folds.csv")
    from skyfold.config.files import load_run

    config = load_run(folder / "gate.yaml")
    run = folder / "oof" / "tiny" / "gate"
    info = begin_stored(run, folds, CLASSES, config=config, task="classification")
    truths = {
        "oof": competition.load(folder / "data" / "tiny", "train"),
        "test": competition.read_truth(folder / "data" / "tiny" / "test_truth.csv"),
    }
    for part, truth in truths.items():
        there = np.array([truth.targets[i].any(axis=(0, 1)) for i in range(len(truth.ids))])
        prob = np.where(there, 0.9, 0.1)
        if part == "oof":
            prob[list(wrong)] = 1 - prob[list(wrong)]
        open_rows(run, part, info, ids=truth.ids, shape=(4,), dtype="float32").write(np.arange(len(prob)), prob)


def test_one_command_ends_in_a_submission_with_its_scores(finished):
    folder = finished / "submissions" / "tiny"
    sidecar = json.loads((folder / "both.json").read_text())
    sample = pd.read_csv(finished / "data" / "tiny" / "sample_submission.csv", keep_default_na=False)
    table = pd.read_csv(folder / "both.csv", keep_default_na=False)
    assert table["Image_Label"].tolist() == sample["Image_Label"].tolist()
    assert {run["name"] for run in sidecar["runs"]} == {"bright", "lowest"}
    assert sidecar["rows"] == len(table) == 15 * 4
    assert (finished / "oof" / "tiny" / "both" / "examples.png").read_bytes().startswith(b"\x89PNG")
    assert set(sidecar["scores"]) >= {"cv_in_sample", "cv_cross_fitted", "optimism", "cv_at_0.5"}


def test_naive_is_never_below_cross_fitted_and_optimism_is_their_difference(finished):
    scores = json.loads((finished / "oof" / "tiny" / "both" / "blend.json").read_text())["scores"]["final"]
    assert scores["cv_in_sample"] >= scores["cv_cross_fitted"]
    assert scores["optimism"] == pytest.approx(scores["cv_in_sample"] - scores["cv_cross_fitted"])
    assert scores["low"] < scores["cv_cross_fitted"] < scores["high"]


def test_the_script_scores_the_submission_as_the_job_did(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    assert main(["score", "data.yaml", "submissions/tiny/both.csv", "--truth", "data/tiny/test_truth.csv"]) == 0
    printed = capsys.readouterr().out
    recorded = json.loads((finished / "submissions" / "tiny" / "both.test_scores.json").read_text())["scores"]["final"]
    assert f"mean_dice: {recorded:.6f} (15 samples)" in printed
    assert all(name in printed for name in CLASSES)


def test_truth_against_itself_scores_one(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    truth = "data/tiny/test_truth.csv"
    assert main(["score", "data.yaml", truth, "--truth", truth]) == 0
    assert "mean_dice: 1.000000" in capsys.readouterr().out


def test_a_second_time_trains_nothing_again(work, capsys):
    before = {path: path.stat().st_mtime_ns for path in work.rglob("values.npy")}
    assert main(["run", "blend.yaml"]) == 0
    assert {path: path.stat().st_mtime_ns for path in work.rglob("values.npy")} == before


def test_the_stages_alone_do_what_the_job_did(work, capsys):
    wanted = (work / "submissions" / "tiny" / "both.csv").read_bytes()
    shutil.rmtree(work / "submissions")
    shutil.rmtree(work / "oof")
    for name, arguments in [
        ("prepare", ["data.yaml"]),
        ("train", ["bright.yaml"]),
        ("train", ["lowest.yaml"]),
        ("blend", ["blend.yaml"]),
        ("submit", ["blend.yaml"]),
    ]:
        assert main([name, *arguments]) == 0
    assert (work / "submissions" / "tiny" / "both.csv").read_bytes() == wanted


def test_a_perfect_classifier_brings_the_blend_to_its_oracle(work):
    store_gate(work)
    assert main(["blend", "gated.yaml"]) == 0
    scores = json.loads((work / "oof" / "tiny" / "gated" / "blend.json").read_text())["scores"]
    # The oracle may empty a mask that hits nothing anyway, which scores the same: both keep or gain every map.
    assert scores["final"]["cv_in_sample"] >= scores["baselines"]["oracle"] - 1e-9
    assert scores["gains"]["gate"]["value"] > 0
    assert main(["submit", "gated.yaml"]) == 0
    tables = {
        name: pd.read_csv(work / "submissions" / "tiny" / f"{name}.csv", keep_default_na=False)["EncodedPixels"]
        for name in ("gated", "gated_before_gate")
    }
    truth = pd.read_csv(work / "data" / "tiny" / "test_truth.csv", keep_default_na=False)["EncodedPixels"]
    assert (tables["gated"][truth == ""] == "").all()
    assert (tables["gated_before_gate"][truth == ""] != "").any()


def test_stacked_gate_is_fitted_without_the_scored_fold_and_hands_in_too(work):
    store_gate(work, wrong=[0, 1, 2])
    assert main(["blend", "stacked.yaml"]) == 0
    result = json.loads((work / "oof" / "tiny" / "stacked" / "blend.json").read_text())
    coef = np.array(result["presence_stack"]["coef_"])
    assert (coef.argmax(axis=1) == coef.shape[1] - 1).all()  # brightness knows little, the classifier nearly all
    assert result["scores"]["final"]["cv_cross_fitted"] > result["scores"]["before_gate"]["cv_cross_fitted"]
    assert main(["submit", "stacked.yaml"]) == 0
    assert (work / "submissions" / "tiny" / "stacked.csv").is_file()


def test_a_classifier_of_pure_error_does_no_harm_before_the_gate(work):
    store_gate(work, wrong=range(0, 30, 2))
    assert main(["blend", "gated.yaml"]) == 0
    gated = json.loads((work / "oof" / "tiny" / "gated" / "blend.json").read_text())["scores"]
    plain = json.loads((work / "oof" / "tiny" / "both" / "blend.json").read_text())["scores"]
    assert gated["before_gate"] == plain["final"]


def test_leaderboard_shows_runs_blends_and_baselines_and_writes_a_page(work, capsys):
    assert main(["leaderboard", "tiny", "--html", "board.html"]) == 0
    printed = capsys.readouterr().out
    for name in ("bright", "lowest", "both", "all empty", "best single at 0.5", "perfect classifier"):
        assert name in printed
    page = (work / "board.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "tiny/both.csv" in page


def test_a_changed_blend_is_not_handed_in_with_old_thresholds(work, capsys):
    (work / "blend.yaml").write_text(CONFIGS["blend.yaml"].replace("[0, 20]", "[0, 40]"))
    before = (work / "submissions" / "tiny" / "both.csv").read_bytes()
    assert main(["submit", "blend.yaml"]) == 2
    assert "Run `skyfold blend` again" in capsys.readouterr().err
    assert (work / "submissions" / "tiny" / "both.csv").read_bytes() == before


def test_a_run_that_was_not_trained_is_named(work, capsys):
    shutil.rmtree(work / "oof" / "tiny" / "lowest")
    assert main(["blend", "blend.yaml"]) == 2
    assert "lowest" in capsys.readouterr().err


def test_new_folds_make_old_runs_unusable(work, capsys):
    path = work / "oof" / "tiny" / "folds.csv"
    lines = path.read_text().splitlines()
    swapped = [line.replace(",0,", ",x,").replace(",1,", ",0,").replace(",x,", ",1,") for line in lines]
    path.write_text("\n".join(swapped) + "\n")
    assert main(["blend", "blend.yaml"]) == 2
    assert "other folds" in capsys.readouterr().err


def test_a_cut_image_is_named_and_no_folds_are_written(work, capsys):
    shutil.rmtree(work / "oof")
    image = sorted((work / "data" / "tiny" / "train_images").glob("*.jpg"))[3]
    image.write_bytes(image.read_bytes()[:900])
    assert main(["prepare", "data.yaml"]) == 2
    assert image.name in capsys.readouterr().err
    assert not (work / "oof").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", ["nowhere"]), "no competition 'nowhere'"),
        (("prepare", ["data.yaml", "--sample"]), "already there"),
        (("leaderboard", ["hydro"]), "no competition 'hydro'"),
        (("score", ["data.yaml", "none.csv", "--truth", "data/tiny/test_truth.csv"]), "none.csv"),
        (("train", ["blend.yaml"]), "not the config of a training run"),
        (("run", ["data.yaml"]), "nothing to train"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_mistakes_end_with_one_message_and_exit_code_2(work, capsys, arguments, message):
    name, rest = arguments
    assert main([name, *rest]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_threshold_grid_has_one_half_and_nothing_twice():
    thresholds = threshold_grid(51)
    assert 127 in thresholds
    assert len(set(thresholds.tolist())) == 51
    assert thresholds.min() >= 0
    assert thresholds.max() <= 254
    assert threshold_grid(255).tolist() == list(range(255))


@pytest.mark.parametrize("name", ["bright", "gate"])
def test_a_blend_may_not_take_the_name_of_a_run(work, capsys, name):
    before = (work / "oof" / "tiny" / "bright" / "run.json").read_bytes()
    text = "\n".join(
        f"name: {name}" if line.startswith("name:") else line for line in CONFIGS["gated.yaml"].splitlines()
    )
    (work / "gated.yaml").write_text(text)
    assert main(["blend", "gated.yaml"]) == 2
    assert "need different names" in capsys.readouterr().err
    assert (work / "oof" / "tiny" / "bright" / "run.json").read_bytes() == before


def test_the_same_run_twice_is_refused(work, capsys):
    (work / "blend.yaml").write_text(CONFIGS["blend.yaml"].replace("lowest.yaml", "bright.yaml"))
    assert main(["blend", "blend.yaml"]) == 2
    assert "need different names" in capsys.readouterr().err


def test_changed_masks_are_noticed_before_old_predictions_are_used(work, capsys):
    path = work / "data" / "tiny" / "train.csv"
    table = pd.read_csv(path, keep_default_na=False)
    full = table.index[table["EncodedPixels"] != ""][0]
    table.loc[full, "EncodedPixels"] = ""
    table.to_csv(path, index=False)
    assert main(["train", "bright.yaml"]) == 2
    assert "other training data" in capsys.readouterr().err


def test_files_that_were_only_copied_again_are_the_same_data(work):
    for path in (work / "data" / "tiny").rglob("*.jpg"):
        path.touch()
    assert main(["train", "bright.yaml"]) == 0


def test_a_changed_test_image_is_predicted_again(work):
    images = sorted((work / "data" / "tiny" / "test_images").glob("*.jpg"))
    images[0].write_bytes(images[1].read_bytes())
    values = work / "oof" / "tiny" / "bright" / "test" / "values.npy"
    before = np.load(values)
    assert main(["train", "bright.yaml"]) == 0
    after = np.load(values)
    assert (before != after).any(axis=(1, 2, 3)).sum() == 1


def test_an_image_lost_after_folds_were_made_is_named_by_every_stage(work, capsys):
    image = sorted((work / "data" / "tiny" / "train_images").glob("*.jpg"))[5]
    image.unlink()
    table = work / "data" / "tiny" / "train.csv"
    table.write_text("".join(line for line in table.open() if image.name not in line))
    for name, config in [("prepare", "data.yaml"), ("train", "bright.yaml"), ("blend", "blend.yaml")]:
        assert main([name, config]) == 2
        error = capsys.readouterr().err
        assert f"'{image.name}' is not in the data" in error
        assert "folds.csv" in error


def test_another_number_of_folds_than_was_made_is_refused(work, capsys):
    (work / "data.yaml").write_text(CONFIGS["data.yaml"].replace("k: 3", "k: 5"))
    assert main(["prepare", "data.yaml"]) == 2
    assert "made with k = 3; the config says k = 5" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["run.json", "oof/rows.json", "oof/values.npy", "oof/complete.npy", "test/crc32.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_of_a_run_are_named_with_the_remedy(work, capsys, file, damage):
    path = work / "oof" / "tiny" / "bright" / file
    path.write_bytes(path.read_bytes()[:40])
    if damage == "gone":
        path.unlink()
    assert main(["blend", "blend.yaml"]) == 2
    error = capsys.readouterr().err
    assert "bright" in error
    assert "skyfold train" in error or "Delete it and run the stage that writes it again" in error


def test_a_damaged_cache_is_made_again(work):
    for path in (work / "data" / ".cache").rglob("values.npy"):
        path.write_bytes(path.read_bytes()[:40])
    for path in (work / "data" / ".cache").rglob("complete.npy"):
        path.unlink()
    assert main(["run", "blend.yaml"]) == 0


def test_a_folder_that_cannot_be_written_is_one_line(work, capsys):
    shutil.rmtree(work / "submissions")
    (work / "submissions").write_text("a file where a folder should be")
    assert main(["submit", "blend.yaml"]) == 2
    assert "submissions" in capsys.readouterr().err


def test_a_config_that_does_not_fit_the_images_leaves_no_fit_behind(work, capsys):
    """So that the same name can be trained without --restart once the config is mended."""
    turned = CONFIGS["gate.yaml"] + "augment: [{name: RandomRotate90}]\n"
    (work / "gate.yaml").write_text(turned)
    assert main(["train", "gate.yaml"]) == 2
    assert "RandomRotate90" in capsys.readouterr().err
    assert not list((work / "oof" / "tiny" / "gate").glob("models/*"))
