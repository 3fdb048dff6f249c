"""Study files, what trials make of a run's config, and what a study leaves: best.yaml, trials.csv, pictures, words."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import optuna
import pytest
import yaml

from skyfold.config.files import load_run
from skyfold.errors import ConfigError
from skyfold.tuning.pictures import FEWEST, importance
from skyfold.tuning.results import summary, write_best, write_pictures, write_table
from skyfold.tuning.search_space import load_study
from skyfold.tuning.study import SeededByTrial, open_study
from skyfold.tuning.trial_config import Recipe, check_space, combinations, config_value
from skyfold.tuning.work import best_trial, work

CONFIGS = Path(__file__).parent.parent / "configs"
RUN = """
name: small
data: {competition: understanding_clouds, name: tiny}
image: {size: [64, 96], normalization: per_image}
model: {family: segmentation_models, options: {decoder: unet, encoder: resnet18, encoder_weights: none}}
training: {epochs: 9, batch_size: 8}
augment:
  - {name: HorizontalFlip, p: 0.5}
  - {name: Affine, rotate: [-15, 15], scale: [0.8, 1.2], p: 0.5}
"""
STUDY = {
    "name": "search",
    "base": "small.yaml",
    "trial": {"training.epochs": 2},
    "search": {
        "optimizer.learning_rate": {"kind": "float", "low": "1e-4", "high": "1e-2", "log": True},
        "model.options.decoder": {"kind": "categorical", "choices": ["unet", "fpn"]},
        "model.options.pyramid_block_filters": {
            "kind": "int",
            "low": 32,
            "high": 96,
            "step": 32,
            "when": {"model.options.decoder": "fpn"},
        },
        "image.size": {"kind": "categorical", "choices": {"small": [32, 48], "large": [64, 96]}},
        "augment.Affine.rotate": {"kind": "float", "low": 0, "high": 45, "form": "plus_minus"},
        "augment.Affine.scale": {"kind": "float", "low": 0, "high": 0.4, "form": "around_one"},
    },
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.yaml").write_text(RUN)
    return tmp_path


def study_file(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


def searching(folder, **search):
    """The study with these keys instead of its own; a dot is written __."""
    return study_file(folder, search={key.replace("__", "."): value for key, value in search.items()})


def recipe_of(path, overrides=()):
    study, changes = load_study(path, overrides)
    return Recipe(study, path.parent / study.base, changes)


def refused(path, overrides=()):
    with pytest.raises(ConfigError) as error:
        load_study(path, overrides)
    return str(error.value)


def space_refused(path):
    with pytest.raises(ConfigError) as error:
        check_space(recipe_of(path))
    return str(error.value)


RATE = {"kind": "float", "low": 1e-4, "high": 1e-2}


def test_a_study_is_read(folder):
    study, changes = load_study(study_file(folder))
    assert changes == {}
    assert study.folds == (0,)
    assert study.search["optimizer.learning_rate"].low == 1e-4  # YAML reads 1e-4 as text
    assert study.search["image.size"].choices == {"small": [32, 48], "large": [64, 96]}
    assert study.search["model.options.decoder"].choices == {"unet": "unet", "fpn": "fpn"}


def test_unknown_keys_are_refused_with_the_nearest(folder):
    said = refused(searching(folder, optimizer__learning_rat=RATE))
    assert "unknown key 'optimizer.learning_rat' (did you mean 'optimizer.learning_rate'?)" in said
    assert "unknown key 'prunner' (did you mean 'pruner'?)" in refused(study_file(folder, prunner={"name": "none"}))
    said = refused(study_file(folder, sampler={"sed": 1}))
    assert "unknown key 'sampler.sed' (did you mean 'seed'?)" in said
    said = refused(searching(folder, optimizer__learning_rate={**RATE, "hi": 1}))
    assert "unknown key 'search.optimizer.learning_rate.hi' (did you mean 'high'?)" in said
    said = refused(study_file(folder, trial={"training.epoch": 2}))
    assert "trial: unknown key 'training.epoch' (did you mean 'training.epochs'?)" in said
    assert "--set: unknown key 'loss.nam'" in refused(study_file(folder), ["loss.nam=bce"])


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ({"kind": "float", "low": 1}, "'search.loss.name.high' is missing"),
        ({"kind": "float", "low": 2, "high": 1}, "low 2.0 is above high 1.0"),
        ({"kind": "float", "low": 0, "high": 1, "log": True}, "log: true needs low above 0"),
        ({"kind": "float", "low": 1, "high": 9, "log": True, "step": 2}, "log or step, not both"),
        ({"kind": "int", "low": 1, "high": 4, "step": 2}, "high is not low plus a multiple of step 2"),
        ({"kind": "float", "low": 0, "high": float("nan")}, "a finite number"),
        ({"kind": "categorical", "choices": []}, "choices"),
        ({"kind": "categorical", "choices": ["bce", "bce"]}, "a choice stands there twice"),
        ({"kind": "normal"}, "write it as {kind: float, int or categorical, ...}"),
        ({"low": 1, "high": 2}, "write it as {kind: float, int or categorical, ...}"),
    ],
)
def test_ranges_and_choices_that_make_no_sense_are_refused(folder, parameter, why):
    assert why in refused(searching(folder, loss__name=parameter))


def test_what_would_make_trials_incomparable_is_refused(folder):
    assert "trials on other data or folds cannot be compared" in refused(searching(folder, data__folds__k=RATE))
    assert "scores of masks and of presence" in refused(searching(folder, target=RATE))
    assert "does not use it" in refused(searching(folder, tta=RATE))
    assert "does not use it" in refused(searching(folder, image__edges__radius=RATE))
    assert "it is given to each trial" in refused(study_file(folder, trial={"name": "x"}))


def test_conditions_name_keys_and_choices_that_there_are(folder):
    loss = {"kind": "categorical", "choices": ["bce", "bce_dice"]}
    weight = {"kind": "float", "low": 0, "high": 1}
    said = refused(searching(folder, loss__name=loss, loss__options__smooth={**weight, "when": {"loss.nam": "bce"}}))
    assert "'loss.nam' is not searched (did you mean 'loss.name'?)" in said
    said = refused(searching(folder, loss__name=loss, loss__options__smooth={**weight, "when": {"loss.name": "dice"}}))
    assert "'dice' is no choice of loss.name" in said
    circle = {"loss.name": {**loss, "when": {"image.normalization": "unit"}}}
    circle["image.normalization"] = {"kind": "categorical", "choices": ["unit"], "when": {"loss.name": "bce"}}
    assert "depend on each other in a circle" in refused(study_file(folder, search=circle))
    said = refused(
        searching(folder, loss__options__smooth=weight, loss__name={**loss, "when": {"loss.options.smooth": 1}})
    )
    assert "a condition needs an int or a categorical" in said


def test_a_conditional_key_is_there_only_where_its_condition_holds(folder):
    search = load_study(study_file(folder))[0].search
    for params in combinations(search):
        assert ("model.options.pyramid_block_filters" in params) == (params["model.options.decoder"] == "fpn")


def test_a_key_hangs_on_any_of_several_values_and_on_a_key_that_hangs_itself(folder):
    search = {
        "loss.options.smooth": {"kind": "int", "low": 1, "high": 3, "when": {"loss.options.per_image": True}},
        "loss.options.per_image": {
            "kind": "categorical",
            "choices": [True, False],
            "when": {"loss.name": ["dice", "bce_dice"]},
        },
        "loss.name": {"kind": "categorical", "choices": ["bce", "dice", "bce_dice"]},
    }
    found = combinations(load_study(study_file(folder, search=search))[0].search)
    assert {tuple(params) for params in found if params["loss.name"] == "bce"} == {("loss.name",)}
    assert all(
        ("loss.options.smooth" in params) == (params.get("loss.options.per_image") == "true") for params in found
    )
    assert {params["loss.name"] for params in found if "loss.options.smooth" in params} == {"dice", "bce_dice"}


def test_combinations_hold_every_choice_however_many_there_are(folder):
    encoders = [f"efficientnetb{size}" for size in range(8)]
    search = {
        "model.options.encoder": {"kind": "categorical", "choices": encoders},
        "loss.name": {"kind": "categorical", "choices": ["bce", "dice", "bce_dice", "focal", "lovasz"]},
        "image.normalization": {"kind": "categorical", "choices": ["unit", "none", "torch", "per_image"]},
    }
    found = combinations(load_study(study_file(folder, search=search))[0].search)
    assert len(found) <= 96
    assert {params["model.options.encoder"] for params in found} == set(encoders)
    assert {params["loss.name"] for params in found} == set(search["loss.name"]["choices"])


def test_what_models_losses_and_transforms_refuse_is_refused_before_the_study(folder):
    encoder = {"kind": "categorical", "choices": ["resnet18", "densenet121", "resnet43"]}
    said = space_refused(searching(folder, model__options__encoder=encoder))
    assert "densenet121 cannot be used" in said
    assert "unknown 'resnet43' (did you mean 'resnet34'?)" in said
    assert "(at model.options.encoder = resnet43)" in said
    said = space_refused(searching(folder, loss__options__dice_wait=RATE))
    assert "bce_dice has no option 'dice_wait' (did you mean 'dice_weight'?)" in said
    said = space_refused(searching(folder, augment__Afine__rotate=RATE))
    assert "no transform 'Afine' (did you mean 'Affine'?)" in said
    said = space_refused(searching(folder, augment__Affine__rotat=RATE))
    assert "'rotat' (did you mean 'rotate'?)" in said
    said = space_refused(searching(folder, training__batch_size={"kind": "int", "low": 0, "high": 4}))
    assert "'training.batch_size'" in said
    assert "(at training.batch_size = 0)" in said
    filters = {"kind": "int", "low": 32, "high": 64}
    said = space_refused(searching(folder, model__options__pyramid_block_filters=filters))
    assert "unet has no option 'pyramid_block_filters'" in said
    assert "when" in said


def test_a_family_without_training_is_not_tuned(folder):
    (folder / "small.yaml").write_text(
        "name: small\ndata: {competition: understanding_clouds}\nimage: {size: [64, 96]}\n"
        "model: {family: colour_threshold}\n"
    )
    feature = {"kind": "categorical", "choices": ["brightness", "red_blue_ratio"]}
    assert "is not trained" in space_refused(searching(folder, model__options__feature=feature))


def test_the_config_of_a_trial(folder):
    path = study_file(folder)
    check_space(recipe_of(path))
    params = {
        "optimizer.learning_rate": 0.002,
        "model.options.decoder": "fpn",
        "model.options.pyramid_block_filters": 64,
        "image.size": "small",
        "augment.Affine.rotate": 30.0,
        "augment.Affine.scale": 0.25,
    }
    (folder / "below").mkdir()
    for for_trial, epochs in [(True, 2), (False, 9)]:
        written = folder / "below" / "trial.yaml"
        written.write_text(
            recipe_of(path).text(params, name="one", folder=written.parent, for_trial=for_trial), encoding="utf-8"
        )
        config = load_run(written)
        assert config.name == "one"
        assert config.training.epochs == epochs
        assert config.training.batch_size == 8  # the run's own
        assert config.optimizer.learning_rate == 0.002
        assert config.image.size == (32, 48)
        assert config.model.options == {
            "decoder": "fpn",
            "encoder": "resnet18",
            "encoder_weights": "none",
            "pyramid_block_filters": 64,
        }
        flip, affine = config.augment
        assert flip.arguments == {"p": 0.5}
        assert affine.arguments == {"rotate": [-30.0, 30.0], "scale": [0.75, 1.25], "p": 0.5}


def test_a_choice_may_be_a_whole_list_of_transforms(folder):
    sets = {"none": [], "flips": [{"name": "HorizontalFlip", "p": 0.5}]}
    recipe = recipe_of(searching(folder, augment={"kind": "categorical", "choices": sets}))
    check_space(recipe)
    assert recipe.overlay({"augment": "flips"}, for_trial=False) == {"augment": sets["flips"]}
    assert config_value(recipe.study.search["augment"], "none") == []


def test_set_changes_the_study_the_trials_or_the_run(folder):
    path = study_file(folder)
    overrides = ["folds=[0, 1]", "pruner.name=none", "training.epochs=1", "loss.name=focal"]
    recipe = recipe_of(path, overrides)
    assert recipe.study.folds == (0, 1)
    assert recipe.study.pruner.name == "none"
    assert recipe.study.trial == {"training.epochs": 1}
    assert recipe.common().loss.name == "focal"
    assert recipe.overlay({}, for_trial=False) == {"loss": {"name": "focal"}}
    assert "is changed in its file" in refused(path, ["search=1"])
    assert "also under search" in refused(path, ["image.size=[64, 96]"])
    assert "write it as key=value" in refused(path, ["folds"])


def test_the_first_trial_is_the_run_itself_where_the_space_holds_it(folder):
    assert recipe_of(study_file(folder)).of_run() == {
        "optimizer.learning_rate": 1e-3,
        "model.options.decoder": "unet",
        "image.size": "large",
        "augment.Affine.rotate": 15.0,
        "augment.Affine.scale": 0.2,
    }
    weight = {"kind": "float", "low": 0.2, "high": 0.8, "step": 0.1}
    assert recipe_of(searching(folder, loss__options__dice_weight=weight)).of_run() == {"loss.options.dice_weight": 0.5}
    weight["high"] = 0.4
    assert recipe_of(searching(folder, loss__options__dice_weight=weight)).of_run() is None
    batch = {"kind": "int", "low": 4, "high": 12, "step": 8}
    assert recipe_of(searching(folder, training__batch_size=batch)).of_run() is None


@pytest.mark.parametrize("name", ["tune.yaml", "tune_demo.yaml"])
def test_shipped_studies_are_sound(name):
    path = CONFIGS / "understanding_clouds" / name
    recipe = recipe_of(path)
    check_space(recipe)
    assert recipe.study.name == path.stem
    assert recipe.of_run() is not None


def opened(folder, path=None, **changes):
    study, _ = load_study(path or study_file(folder))
    options = {"storage": None, "greater_is_better": True, "most_epochs": 4, "setting": {"folds": [0]}}
    return open_study(study, folder / "study", **{**options, **changes})


def by_rate(job):
    job.report(1, 0.4)
    job.report(2, 0.5 - abs(job.params["optimizer.learning_rate"] - 0.003))
    return 0.5 - abs(job.params["optimizer.learning_rate"] - 0.003)


def test_the_best_trial_becomes_a_config_that_training_takes(folder):
    path = study_file(folder)
    recipe, study = recipe_of(path), opened(folder)

    def keep_best(trial):
        write_best(recipe, study.folder, trial, score="mean_dice")

    work(study, by_rate, wanted=1, keep_best=keep_best, say=lambda line: None)
    first = (study.folder / "best.yaml").read_text()
    work(study, by_rate, wanted=8, keep_best=keep_best, say=lambda line: None)
    best = best_trial(study)
    assert best.number > 0
    assert (study.folder / "best.yaml").read_text() != first
    config = load_run(study.folder / "best.yaml")
    assert config.name == "search_best"
    assert config.training.epochs == 9
    assert config.optimizer.learning_rate == best.params["optimizer.learning_rate"]
    assert yaml.safe_load((study.folder / "best.yaml").read_text())["base"] == "../small.yaml"
    moved = folder / "moved"
    moved.mkdir()
    shutil.move(folder / "study", moved / "study")
    shutil.move(folder / "small.yaml", moved / "small.yaml")
    assert load_run(moved / "study" / "best.yaml") == config


def test_table_pictures_and_words(folder):
    study = opened(folder, study_file(folder, pruner={"name": "none"}, sampler={"name": "random"}))

    def objective(job):
        if job.number == 2:
            raise ConfigError("no such weights")
        if job.number == 4:
            job.report(1, 0.1)
            raise optuna.TrialPruned
        return by_rate(job)

    assert "no trial is complete yet" in summary(study, score="dice", wanted=6, first_is_run=True)
    for path in write_pictures(study, score="dice"):
        assert cv2.imread(str(path)).size
    assert f"at least {FEWEST}" in importance(study)[1]
    work(study, objective, wanted=16, keep_best=lambda trial: None, say=lambda line: None)
    rows = list(csv.DictReader(write_table(study).read_text().splitlines()))
    assert [row["trial"] for row in rows] == [str(number) for number in range(17)]
    assert (rows[2]["state"], rows[2]["value"], rows[2]["reason"]) == ("fail", "", "no such weights")
    assert (rows[4]["state"], rows[4]["epochs"]) == ("pruned", "1")
    unet = next(row for row in rows if row["model.options.decoder"] == "unet")
    assert unet["model.options.pyramid_block_filters"] == ""
    shares, said = importance(study)
    assert said == ""
    assert set(shares) == set(STUDY["search"]) - {"model.options.pyramid_block_filters"}  # not every trial has it
    assert next(iter(shares)) == "optimizer.learning_rate"  # the one thing that `by_rate` goes by
    assert sum(shares.values()) == pytest.approx(1)
    words = summary(study, score="dice", wanted=16, first_is_run=True)
    assert "15 complete, 1 pruned, 1 failed; 16 wanted" in words
    assert "failed 1x: no such weights" in words
    assert f"best: trial {best_trial(study).number}, dice 0." in words
    assert "the run's own values (trial 0): 0." in words


def test_a_study_of_another_space_or_setting_is_not_gone_on_with(folder):
    opened(folder)
    with pytest.raises(ConfigError, match=r"begun with folds = \[0\]; now it is \[1\]"):
        opened(folder, setting={"folds": [1]})
    path = searching(folder, optimizer__learning_rate=RATE)
    with pytest.raises(ConfigError, match="Give the study another name"):
        opened(folder, path)
    opened(folder, study_file(folder, pruner={"name": "hyperband"}))  # how it is searched may change


def test_a_storage_that_cannot_be_opened_is_refused(folder):
    with pytest.raises(ConfigError, match=r"--storage nosuchdb://x: cannot be opened"):
        opened(folder, storage="nosuchdb://x")


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_end_hopeless_trials_and_never_the_best(folder, pruner):
    path = study_file(folder, pruner={"name": pruner, "startup_trials": 2, "warmup_epochs": 1, "reduction_factor": 2})
    study = opened(folder, path, most_epochs=8)

    def objective(job):
        height = 1.0 if job.number % 4 == 0 else 0.1 / (1 + job.number)
        for epoch in range(1, 9):
            job.report(epoch, height * epoch)
        return height * 8

    work(study, objective, wanted=12, keep_best=lambda trial: None, say=lambda line: None)
    pruned = {trial.number: trial for trial in study.study.trials if trial.state.name == "PRUNED"}
    assert len(pruned) >= 3
    assert not any(number % 4 == 0 for number in pruned)
    assert min(trial.last_step for trial in pruned.values()) == 2


def test_a_seed_gives_the_same_trials_and_another_seed_others(folder):
    def drawn(name, seed):
        path = study_file(folder, name=name, sampler={"seed": seed})
        study, _ = load_study(path)
        again = open_study(
            study, folder / name, storage=None, greater_is_better=True, most_epochs=1, setting={}, first=None
        )
        assert isinstance(again.study.sampler, SeededByTrial)
        work(again, by_rate, wanted=14, keep_best=lambda trial: None, say=lambda line: None)
        return [trial.params for trial in again.study.trials]

    assert drawn("one", 0) == drawn("two", 0) != drawn("three", 1)
