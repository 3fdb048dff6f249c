"""One command trains every model of a table, searches where a row asks for it, and sets the figures side by side."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.config.experiment import PublishedFigures, TableConfig
from skyfold.config.files import load_config
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.files import read_json
from skyfold.metrics.segmentation import dice_score, iou_score
from skyfold.pipeline import train as training
from skyfold.pipeline.experiment_table import ExperimentTable, as_text, experiment_table
from skyfold.pipeline.run import run_job
from skyfold.training.run_folds import RunResult
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
model: {family: plain_unet, options: {filters: [4, 8], batchnorm_momentum: 0.8}}
optimizer: {learning_rate: 1.0e-2}
loss: {name: bce}
training: {epochs: 3, batch_size: 6}
""",
    "bagging.yaml": """
base: unet.yaml
name: bagging
training: {epochs: 1, seeds: [0, 1], bagging: true}
""",
    "blend.yaml": "base: data.yaml\nname: blend\nruns: [unet.yaml]\n",
    "tuned.yaml": """
base: unet.yaml
name: tuned
model: {init_from: {run: unet}}
training: {epochs: 1}
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
  - {model: Bagging, run: bagging.yaml}
  - {model: Fine-tuned, run: tuned.yaml}
  - {model: Optuna, study: tune.yaml, trials: 2}
""",
}


def written(folder: Path) -> Path:
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return folder / "table.yaml"


class Killed(BaseException):
    """What no handler of ours catches."""


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, int]]:
    """A folder in which `skyfold run` was killed after the first model; its weights, and when they were written."""
    folder = tmp_path_factory.mktemp("work")

    def train_or_die(config: RunConfig, *arguments: Any, **options: Any) -> RunResult:
        if config.name == "bagging":
            raise Killed
        return train(config, *arguments, **options)

    train = training.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", train_or_die)
        with pytest.raises(Killed):
            run_job(written(folder), Workspace(folder), log=lambda line: None)
    return folder, weights_in(folder)


@pytest.fixture(scope="module")
def finished(broken_off: tuple[Path, dict[Path, int]]) -> tuple[Path, list[str]]:
    """The folder after the same command has done the rest of the table, and what it said."""
    folder, _ = broken_off
    said: list[str] = []
    run_job(folder / "table.yaml", Workspace(folder), log=said.append)
    return folder, said


def weights_in(folder: Path) -> dict[Path, int]:
    return {path: os.stat(path).st_mtime_ns for path in (folder / "oof").rglob("*.weights.h5")}


def table_in(folder: Path) -> ExperimentTable:
    config = load_config(folder / "table.yaml")
    assert isinstance(config, TableConfig)
    return experiment_table(config, folder / "table.yaml", Workspace(folder))


def test_the_figures_are_those_of_the_out_of_fold_rows_and_the_histories(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    scratch, bagging, tuned, optuna = (line.figures for line in table_in(folder).lines)
    assert scratch is not None
    assert bagging is not None
    assert tuned is not None
    assert optuna is not None
    run = folder / "oof" / "tiny_ice" / "unet"
    pred = np.load(run / "oof" / "values.npy", allow_pickle=False) > 127
    from skyfold.competition import build

    contest = build("leeds_sea_ice", {}, folder / "data" / "tiny_ice")
    samples = contest.load(folder / "data" / "tiny_ice", "train")
    assert samples.targets is not None
    target = np.stack([samples.targets[i] for i in range(12)]).astype(bool)
    assert scratch.iou == pytest.approx(iou_score(target=target, pred=pred).mean())
    assert scratch.dice == pytest.approx(dice_score(target=target, pred=pred).mean())
    assert scratch.pixel_accuracy == pytest.approx((target == pred).mean())
    for name, figures in (("unet", scratch), ("tuned", tuned)):
        losses, seconds = [], 0.0
        for path in sorted((folder / "oof" / "tiny_ice" / name / "models").glob("*.json")):
            about = read_json(path)
            with open(path.with_suffix(".csv"), newline="") as file:
                losses.append(float(list(csv.DictReader(file))[about["best_epoch"] - 1]["val_loss"]))
            seconds += about["seconds"]
        assert figures.val_loss == pytest.approx(np.mean(losses))
        assert figures.minutes == pytest.approx(seconds / 60)
    assert (scratch.fits, bagging.fits, tuned.fits, optuna.fits) == (2, 4, 2, 2)


def test_a_study_counts_the_minutes_of_its_trials_too(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    figures = table_in(folder).lines[3].figures
    assert figures is not None
    with open(folder / "oof" / "tiny_ice" / "tuning" / "search" / "trials.csv", newline="") as file:
        trials = sum(float(row["seconds"]) for row in csv.DictReader(file))
    models = folder / "oof" / "tiny_ice" / "search_best" / "models"
    fits = sum(read_json(models / f"fold{fold}_seed0.json")["seconds"] for fold in (0, 1))
    assert figures.minutes == pytest.approx((trials + fits) / 60)


def test_the_sample_is_called_what_it_is_and_no_published_figure_stands_beside_it(
    finished: tuple[Path, list[str]],
) -> None:
    _, said = finished
    text = said[-1]
    assert text.startswith("tiny_ice: synthetic sample, 12 samples, out-of-fold over 2 folds, cut at 0.5")
    for model in ("From scratch", "Bagging", "Fine-tuned", "Optuna"):
        assert f"\n{model} " in text
    assert "0.733" not in text
    assert "\nmean_iou, cross-fitted\nmodel         cross-fitted  95 % interval     minus the first" in text
    assert "published figures stand beside these on the contest's own files alone" in text


def test_published_figures_stand_beside_the_official_files(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    lines = as_text(replace(table_in(folder), provenance="official")).splitlines()
    header = "model IoU Dice pixel accuracy validation loss minutes fits published IoU Dice pixel accuracy minutes"
    assert " ".join(lines[1].split()) == header
    assert lines[3].split()[-4:] == ["0.733", "0.807", "0.808", "22"]
    assert lines[4].split()[-4:] == ["-"] * 4
    assert "synthetic" not in "\n".join(lines)


def test_a_table_that_was_killed_goes_on_with_the_next_model(
    broken_off: tuple[Path, dict[Path, int]], finished: tuple[Path, list[str]]
) -> None:
    folder, before = broken_off
    assert {path.parent.parent.name for path in before} == {"unet"}
    now = weights_in(folder)
    assert {path: now[path] for path in before} == before
    assert len(now) > len(before)
    assert finished[1][0] == "model From scratch"


def test_what_is_done_is_not_done_again_and_the_leaderboard_shows_the_same_table(
    finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said = finished
    weights = weights_in(folder)
    again: list[str] = []
    run_job(folder / "table.yaml", Workspace(folder), log=again.append)
    assert weights == weights_in(folder)
    assert again[-1] == said[-1]
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert main(["leaderboard", "--root", ".", "table.yaml"]) == 0
    assert capsys.readouterr().out.strip() == said[-1]


def test_models_that_are_not_there_say_what_to_do(finished: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = finished
    path = folder / "wider.yaml"
    path.write_text(
        "base: table.yaml\nname: wider\nmodels:\n- {model: New, run: new.yaml}\n- {model: Changed, run: changed.yaml}\n"
    )
    (folder / "new.yaml").write_text("base: unet.yaml\nname: new\n")
    (folder / "changed.yaml").write_text("base: unet.yaml\ntraining: {epochs: 4}\n")
    config = load_config(path)
    assert isinstance(config, TableConfig)
    new, changed = experiment_table(config, path, Workspace(folder)).lines
    assert new.figures is None
    assert new.note == f"not trained yet: skyfold run {path}"
    assert changed.figures is None
    assert "run 'unet' was trained with another config" in changed.note


def test_a_run_of_other_data_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "unet.yaml").write_text(CONFIGS["unet.yaml"] + "data: {name: other}\n")
    with pytest.raises(
        ConfigError, match=r"run 'unet' predicts segmentation of data set 'other', the table .* 'tiny_ice'"
    ):
        run_job(path, Workspace(tmp_path))
    assert not (tmp_path / "oof").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{model: A}", "give one of run, blend and study"),
        ("{model: A, run: unet.yaml, study: tune.yaml, trials: 2}", "give one of run, blend and study"),
        ("{model: A, run: unet.yaml, blend: blend.yaml}", "give one of run, blend and study"),
        ("{model: A, study: tune.yaml}", "give trials with a study"),
        ("{model: A, run: unet.yaml, trials: 2}", "give trials with a study, and with a study only"),
        ("{model: A, run: unet.yaml, publisht: 1}", r"unknown key 'models\.0\.publisht' \(did you mean 'published'"),
    ],
)
def test_rows_that_make_no_sense_are_refused(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "table.yaml"
    written(tmp_path)
    path.write_text(f"base: data.yaml\nname: t\nmodels:\n- {row}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_the_teams_figures_are_in_the_shipped_table() -> None:
    config = load_config(Path(__file__).parents[1] / "configs" / "leeds_sea_ice" / "table.yaml")
    assert isinstance(config, TableConfig)
    published = {row.model: row.published for row in config.models}
    assert len(published) == 7
    assert published["ResNet18"] == PublishedFigures(iou=0.772, dice=0.832, pixel_accuracy=0.878, minutes=9)
    assert published["Bagging"] == PublishedFigures(iou=0.708, dice=0.756, pixel_accuracy=0.921, minutes=81)
