"""Experiments: every model of a table trained, studies searched, and the figures side by side."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.config.files import load_config
from skyfold.errors import ConfigError
from skyfold.files import read_json
from skyfold.metrics.segmentation import dice_score, iou_score
from skyfold.pipeline import train as training
from skyfold.pipeline.experiment_table import as_text, experiment_table
from skyfold.pipeline.run import run_job
from skyfold.workspace import Workspace

CONFIGS = {
    "data.yaml": """
data:
  competition: leeds_sea_ice
  name: tiny_ice
  folds: {k: 2, seed: 0}
  sample: {train: 12, test: 3, side: 32, seed: 0}
""",
    "unet.yaml": """
base: data.yaml
name: unet
image: {size: [32, 32]}
model: {family: tiny_net}
optimizer: {learning_rate: 1.0e-2}
loss: {name: bce}
training: {epochs: 3, batch_size: 6}
""",
    "tuned.yaml": """
base: unet.yaml
name: tuned
model: {init_from: {run: unet}}
training: {epochs: 1, seeds: [0, 1], bagging: true}
""",
    "tune.yaml": """
name: search
base: unet.yaml
folds: [0]
trial: {training.epochs: 1}
search:
  optimizer.learning_rate: {kind: float, low: 1.0e-3, high: 1.0e-1, log: true}
""",
    "table.yaml": """
base: data.yaml
name: table
models:
  - {model: From scratch, run: unet.yaml, published: {iou: 0.733, dice: 0.807, pixel_accuracy: 0.808, minutes: 22}}
  - {model: Fine-tuned, run: tuned.yaml}
  - {model: Optuna, study: tune.yaml, trials: 2}
""",
}


def written(folder):
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return folder / "table.yaml"


class Killed(BaseException):
    """What no handler of ours catches."""


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory, tiny_families):
    """A folder in which `skyfold run` was killed after the first model; its weights, and when they were written."""
    folder, train = tmp_path_factory.mktemp("work"), training.train

    def train_or_die(config, *arguments, **options):
        if config.name == "tuned":
            raise Killed
        return train(config, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", train_or_die)
        with pytest.raises(Killed):
            run_job(written(folder), Workspace(folder), log=lambda line: None)
    return folder, weights_in(folder)


@pytest.fixture(scope="module")
def finished(broken_off):
    """The folder after the same command has done the rest of the table, and the lines it logged."""
    folder, lines = broken_off[0], []
    run_job(folder / "table.yaml", Workspace(folder), log=lines.append)
    return folder, lines


def weights_in(folder):
    return {path: os.stat(path).st_mtime_ns for path in (folder / "oof").rglob("*.weights.h5")}


def table_in(folder, name="table.yaml"):
    return experiment_table(load_config(folder / name), folder / name, Workspace(folder))


def column(path, name):
    return pd.read_csv(path)[name].tolist()


def test_the_figures_are_those_of_the_out_of_fold_rows_and_the_histories(finished):
    folder, _ = finished
    scratch, tuned, optuna = (line.figures for line in table_in(folder).lines)
    oof, data = folder / "oof" / "tiny_ice", folder / "data" / "tiny_ice"
    pred = np.load(oof / "unet" / "oof" / "values.npy", allow_pickle=False) > 127
    targets = build("leeds_sea_ice", {}, data).load(data, "train").targets
    target = np.stack([targets[i] for i in range(12)]).astype(bool)
    assert scratch.iou == pytest.approx(iou_score(target=target, pred=pred).mean())
    assert scratch.dice == pytest.approx(dice_score(target=target, pred=pred).mean())
    assert scratch.pixel_accuracy == pytest.approx((target == pred).mean())
    seconds = {"search_best": sum(column(oof / "tuning" / "search" / "trials.csv", "seconds"))}
    for name, figures in (("unet", scratch), ("tuned", tuned), ("search_best", optuna)):
        about = {path: read_json(path) for path in sorted((oof / name / "models").glob("*.json"))}
        losses = [column(p.with_suffix(".csv"), "val_loss")[fit["best_epoch"] - 1] for p, fit in about.items()]
        assert figures.val_loss == pytest.approx(np.mean(losses))
        fits = sum(fit["seconds"] for fit in about.values())
        assert figures.minutes == pytest.approx((fits + seconds.get(name, 0)) / 60)
    assert (scratch.fits, tuned.fits, optuna.fits) == (2, 4, 2)


def test_published_figures_stand_beside_the_official_files_only(finished):
    folder, said = finished
    text = said[-1]
    assert text.startswith("tiny_ice: synthetic sample, 12 samples, out-of-fold over 2 folds, cut at 0.5")
    for model in ("From scratch", "Fine-tuned", "Optuna"):
        assert f"\n{model} " in text
    assert "0.733" not in text
    assert "\nmean_iou, cross-fitted\nmodel         cross-fitted  95 % interval     minus the first" in text
    assert "published figures stand beside these on the contest's own files alone" in text
    lines = as_text(replace(table_in(folder), official=True)).splitlines()
    header = "model IoU Dice pixel accuracy validation loss minutes fits published IoU Dice pixel accuracy minutes"
    assert " ".join(lines[1].split()) == header
    assert lines[3].split()[-4:] == ["0.733", "0.807", "0.808", "22"]
    assert lines[4].split()[-4:] == ["-"] * 4
    assert lines[-1].startswith("published: one split of the authors' own")


def test_an_interrupted_table_resumes_and_the_leaderboard_shows_it(broken_off, finished, monkeypatch, capsys):
    (folder, before), (_, lines) = broken_off, finished
    assert {path.parent.parent.name for path in before} == {"unet"}
    weights, again = weights_in(folder), []
    assert {path: weights[path] for path in before} == before
    assert len(weights) > len(before)
    assert lines[0] == "model From scratch"
    run_job(folder / "table.yaml", Workspace(folder), log=again.append)
    assert weights == weights_in(folder)
    assert again[-1] == lines[-1]
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert main(["leaderboard", "--root", ".", "table.yaml"]) == 0
    assert capsys.readouterr().out.strip() == lines[-1]


def test_models_that_are_not_there_say_what_to_do(finished):
    folder, _ = finished
    own = ("New, run: {base: unet.yaml, name: new}", "Changed, run: {base: unet.yaml, name: unet, tta: [hflip]}")
    rows = "\n".join(f"- {{model: {row}}}" for row in own)
    (folder / "wider.yaml").write_text(f"base: table.yaml\nname: wider\nmodels:\n{rows}\n")
    new, changed = table_in(folder, "wider.yaml").lines
    assert new.figures is changed.figures is None
    assert new.note == f"not trained yet: skyfold run {folder / 'wider.yaml'}"
    assert "run 'unet' was trained with another config" in changed.note


def test_a_run_of_other_data_is_refused_before_anything_is_trained(tmp_path):
    path = written(tmp_path)
    (tmp_path / "tuned.yaml").write_text(CONFIGS["tuned.yaml"] + "data: {name: other}\n")
    with pytest.raises(ConfigError, match=r"'tuned' predicts segmentation of data set 'other', the table .* 'tiny_i"):
        run_job(path, Workspace(tmp_path))
    assert not (tmp_path / "oof").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{model: A}", "give one of run, blend and study"),
        ("{model: A, run: unet.yaml, study: tune.yaml, trials: 2}", "give one of run, blend and study"),
        ("{model: A, run: unet.yaml, blend: {name: b, runs: [unet.yaml]}}", "give one of run, blend and study"),
        ("{model: A, study: tune.yaml}", "give trials with a study"),
        ("{model: A, run: unet.yaml, trials: 2}", "give trials with a study, and with a study only"),
        ("{model: A, run: unet.yaml, publisht: 1}", r"unknown key 'models\.0\.publisht' \(did you mean 'published'"),
    ],
)
def test_rows_that_make_no_sense_are_refused(tmp_path, row, message):
    path = written(tmp_path)
    path.write_text(f"base: data.yaml\nname: t\nmodels:\n- {row}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path)
