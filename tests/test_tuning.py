"""Study files, configs of trials, databases that are refused, and the files and plots of a study."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import cv2
import matplotlib
import optuna
import pytest
import yaml

from skyfold.config.files import load_run
from skyfold.errors import ConfigError
from skyfold.tuning.results import summary, write_best, write_plots, write_table
from skyfold.tuning.search_space import load_study
from skyfold.tuning.study import open_study
from skyfold.tuning.trial_config import TrialConfigs, check_search_space, combinations
from skyfold.tuning.worker import run_worker

SHIPPED = Path(__file__).parent.parent / "configs" / "understanding_clouds"
RUN, STUDY = yaml.safe_load_all("""
name: small
data: {competition: understanding_clouds, name: tiny}
image: {size: [64, 96], normalization: per_image}
model: {family: segmentation_models, options: {decoder: unet, encoder: resnet18, encoder_weights: none}}
training: {epochs: 9, batch_size: 8}
augment:
  - {name: HorizontalFlip, p: 0.5}
  - {name: Affine, rotate: [-15, 15], scale: [0.8, 1.2], p: 0.5}
---
name: search
base: small.yaml
trial: {training.epochs: 2}
search:
  optimizer.learning_rate: {kind: float, low: 1e-4, high: 1e-2, log: true}
  model.options.decoder: {kind: categorical, choices: [unet, fpn]}
  model.options.pyramid_block_filters: {kind: int, low: 32, high: 96, step: 32, when: {model.options.decoder: fpn}}
  image.size: {kind: categorical, choices: {small: [32, 48], large: [64, 96]}}
  augment.Affine.rotate: {kind: float, low: 0, high: 45, form: plus_minus}
  augment.Affine.scale: {kind: float, low: 0, high: 0.4, form: around_one}
""")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RUN))
    return tmp_path


def study_file(folder, *lines, **changes):
    """The study file, with these lines as its search space and these keys changed."""
    search = {"search": yaml.safe_load("\n".join(lines))} if lines else {}
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, **search, **changes}))
    return folder / "study.yaml"


def configs_of(path, overrides=()):
    study, changes = load_study(path, overrides)
    return TrialConfigs(study, path.parent / study.base, changes)


def refused(path, overrides=()):
    with pytest.raises(ConfigError) as error:
        check_search_space(configs_of(path, overrides))
    return str(error.value)


FEATURE = {"model.options.feature": {"kind": "categorical", "choices": ["brightness", "red_blue_ratio"]}}
LOSS = "loss.name: {kind: categorical, choices: [bce, bce_dice]}"
RATE = "optimizer.learning_rate: {kind: float, low: 1e-4, high: 1e-2}"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"prunner": {"name": "none"}}, "unknown key 'prunner' (did you mean 'pruner'?)"),
        ({"sampler": {"sed": 1}}, "unknown key 'sampler.sed' (did you mean 'seed'?)"),
        ({"trial": {"training.epoch": 2}}, "unknown key 'training.epoch' (did you mean 'epochs'?)"),
        ({"trial": {"name": "x"}}, "it is given to each trial"),
        ({"folds": [0, 0]}, "'folds': give each once"),
        ({"trial": {"model.family": "colour_threshold"}, "search": FEATURE}, "is not trained"),
        # A line of the search space.
        ("optimizer.rate: {kind: float, low: 1, high: 2}", "unknown key 'optimizer.rate'. Known: clip_norm,"),
        ("loss.name: {kind: float, low: 1, hi: 2}", "unknown key 'search.loss.name.hi' (did you mean 'high'?)"),
        ("loss.name: {kind: float, low: 1}", "'search.loss.name.high' is missing"),
        ("loss.name: {kind: float, low: 2, high: 1}", "low 2.0 is above high 1.0"),
        ("loss.name: {kind: float, low: 0, high: 1, log: true}", "log: true needs low above 0"),
        ("loss.name: {kind: float, low: 1, high: 9, log: true, step: 2}", "log or step, not both"),
        ("loss.name: {kind: int, low: 1, high: 4, step: 2}", "high is not low plus a multiple of step 2"),
        ("loss.name: {kind: float, low: 0, high: .nan}", "a finite number"),
        ("loss.name: {kind: categorical, choices: []}", "choices"),
        ("loss.name: {kind: categorical, choices: [bce, bce]}", "duplicate choice"),
        ("loss.name: {kind: normal}", "'search.loss.name': Input tag 'normal' found using 'kind' does not match any"),
        ("loss.name: {low: 1, high: 2}", "'search.loss.name': 'kind' is missing"),
        ("loss.name: {kind: int, low: 1, high: 2, when: {loss.name: 1}}", "(when) of loss.name are circular"),
        ("data.folds.k: {kind: int, low: 2, high: 3}", "trials on other data or folds cannot be compared"),
        ("task: {kind: categorical, choices: [segmentation]}", "scores of different tasks cannot be compared"),
        ("tta: {kind: categorical, choices: [[hflip]]}", "does not use it"),
        ("image.guided_filter.radius: {kind: int, low: 1, high: 2}", "does not use it"),
        ("loss.options.smooth: {kind: int, low: 1, high: 2, when: {loss.nam: bce}}", "did you mean 'loss.name'?"),
        ("loss.options.smooth: {kind: int, low: 1, high: 2, when: {loss.name: dice}}", "'dice' is not a choice of"),
        ("mix: {kind: int, low: 1, high: 2, when: {optimizer.learning_rate: 1}}", "need an int or a categorical"),
        # What models, losses and transforms refuse.
        (
            "model.options.encoder: {kind: categorical, choices: [vgg16, resnet43]}",
            "unknown (did you mean 'resnet34'?)",
        ),
        ("loss.options.dice_wait: {kind: int, low: 0, high: 1}", "'loss.options.dice_wait' (did you mean 'dice_weig"),
        ("augment.Afine.rotate: {kind: int, low: 0, high: 1}", "no transform 'Afine' (did you mean 'Affine'?)"),
        ("augment.Affine.rotat: {kind: int, low: 0, high: 1}", "'rotat' (did you mean 'rotate'?)"),
        ("training.batch_size: {kind: int, low: 0, high: 4}", "training.batch_size = 0)"),
        ("model.options.pyramid_block_filters: {kind: int, low: 32, high: 64}", "conditional with when"),
    ],
)
def test_mistakes_of_a_study_are_refused(folder, mistake, message):
    if isinstance(mistake, str):
        mistake = {"search": yaml.safe_load(LOSS) | yaml.safe_load(RATE) | yaml.safe_load(mistake)}
    assert message in refused(study_file(folder, **mistake))


def test_combinations_contain_every_choice_and_conditional_keys_where_their_conditions_hold(folder):
    conditional = study_file(
        folder,
        "loss.options.smooth: {kind: int, low: 1, high: 3, when: {training.deterministic: true}}",
        "training.deterministic: {kind: categorical, choices: [true, false], when: {loss.name: [dice, bce_dice]}}",
        "loss.name: {kind: categorical, choices: [bce, dice, bce_dice]}",
    )
    found = combinations(load_study(conditional)[0].search)
    assert {tuple(params) for params in found if params["loss.name"] == "bce"} == {("loss.name",)}
    smooth = [params for params in found if "loss.options.smooth" in params]
    assert smooth == [params for params in found if params.get("training.deterministic") == "true"]
    assert {params["loss.name"] for params in smooth} == {"dice", "bce_dice"}
    choices = {"model.options.encoder": "abcdefgh", "loss.name": "ijklm", "image.normalization": "nopq"}
    search = {key: {"kind": "categorical", "choices": list(names)} for key, names in choices.items()}
    found = combinations(load_study(study_file(folder, search=search))[0].search)
    assert len(found) <= 96  # of 160
    assert {key: "".join(sorted({params[key] for params in found})) for key in choices} == choices


def test_the_config_of_a_trial(folder):
    configs = configs_of(study_file(folder))
    check_search_space(configs)
    params = {
        "optimizer.learning_rate": 0.002,
        "model.options.decoder": "fpn",
        "model.options.pyramid_block_filters": 64,
        "image.size": "small",
        "augment.Affine.rotate": 30.0,
        "augment.Affine.scale": 0.25,
    }
    written = folder / "below" / "trial.yaml"
    written.parent.mkdir()
    for for_trial, epochs in [(True, 2), (False, 9)]:
        written.write_text(configs.text(params, name="one", folder=written.parent, for_trial=for_trial))
        config = load_run(written)
        assert (config.name, config.training.epochs, config.training.batch_size) == ("one", epochs, 8)
        assert (config.optimizer.learning_rate, config.image.size) == (0.002, (32, 48))
        changed = {"decoder": "fpn", "pyramid_block_filters": 64}
        assert config.model.options == {"encoder": "resnet18", "encoder_weights": "none", **changed}
        affine = {"rotate": [-30.0, 30.0], "scale": [0.75, 1.25], "p": 0.5}
        assert [transform.arguments for transform in config.augment] == [{"p": 0.5}, affine]
        assert not for_trial or configs.config(params) == config.model_copy(update={"name": "small"})
    flips = [{"name": "HorizontalFlip", "p": 0.5}]  # a choice may be a whole list of transforms
    path = study_file(folder, f"augment: {{kind: categorical, choices: {{none: [], flips: {flips}}}}}")
    check_search_space(configs_of(path))
    assert configs_of(path).overlay({"augment": "flips"}, for_trial=False) == {"augment": flips}
    assert configs_of(path).overlay({"augment": "none"}, for_trial=False) == {"augment": []}


def test_set_changes_the_study_the_trials_or_the_run(folder):
    path = study_file(folder)
    configs = configs_of(path, ["folds=[0, 1]", "pruner.name=none", "training.epochs=1", "loss.name=focal"])
    study = configs.study
    assert (study.folds, study.pruner.name, study.trial) == ((0, 1), "none", {"training.epochs": 1})
    assert configs.config({}).loss.name == "focal"
    assert configs.overlay({}, for_trial=False) == {"loss": {"name": "focal"}}
    assert "change 'search' in the study file instead" in refused(path, ["search=1"])
    assert "also under search" in refused(path, ["image.size=[64, 96]"])
    assert "write it as key=value" in refused(path, ["folds"])


def test_the_first_trial_is_the_run_itself_where_the_space_holds_it(folder):
    assert configs_of(study_file(folder)).params_of_run() == {
        "optimizer.learning_rate": 1e-3,
        "model.options.decoder": "unet",
        "image.size": "large",
        "augment.Affine.rotate": 15.0,
        "augment.Affine.scale": 0.2,
    }
    weight = "loss.options.dice_weight: {kind: float, low: 0.2, high: %s, step: 0.1}"
    assert configs_of(study_file(folder, weight % 0.8)).params_of_run() == {"loss.options.dice_weight": 0.5}
    for line in (weight % 0.4, "training.batch_size: {kind: int, low: 4, high: 12, step: 8}"):
        assert configs_of(study_file(folder, line)).params_of_run() is None


@pytest.mark.parametrize("name", ["tune.yaml", "tune_demo.yaml"])
def test_shipped_studies_are_sound(name):
    configs = configs_of(SHIPPED / name)
    check_search_space(configs)
    assert configs.params_of_run() is not None


def opened(folder, path=None, *, to="search", **changes):
    options = {"storage": None, "greater_is_better": True, "max_epochs": 4, "settings": {"folds": [0]}}
    return open_study(load_study(path or study_file(folder))[0], folder / to, **{**options, **changes})


def by_rate(job):
    value = 0.5 - abs(job.params["optimizer.learning_rate"] - 0.003)
    job.report(1, 0.4)
    job.report(2, value)
    return value


def test_the_best_trial_becomes_a_config_that_training_accepts(folder):
    configs, study = configs_of(study_file(folder)), opened(folder)
    save_best = partial(write_best, configs, study.folder, score="mean_dice")
    run_worker(study, by_rate, n_trials=1, save_best=save_best)
    first = (study.folder / "best.yaml").read_text()
    run_worker(study, by_rate, n_trials=6, save_best=save_best)
    best = study.best_trial()
    assert best.number > 0
    assert (study.folder / "best.yaml").read_text() != first
    config, rate = load_run(study.folder / "best.yaml"), best.params["optimizer.learning_rate"]
    assert (config.name, config.training.epochs, config.optimizer.learning_rate) == ("search_best", 9, rate)
    (folder / "moved").mkdir()
    for name in ("search", "small.yaml"):
        shutil.move(folder / name, folder / "moved" / name)
    assert load_run(folder / "moved" / "search" / "best.yaml") == config


def test_table_plots_and_summary(folder):
    study = opened(folder, study_file(folder, pruner={"name": "none"}, sampler={"startup_trials": 20}))

    def objective(job):
        if job.number == 2:
            raise ConfigError("no such weights")
        if job.number == 4:
            job.report(1, 0.1)
            raise optuna.TrialPruned
        return by_rate(job)

    assert "no trial is complete yet" in summary(study, score="dice", n_trials=6, first_is_run=True)
    for n_trials, plots in ((0, []), (1, ["history"]), (16, ["history", "importance"])):
        run_worker(study, objective, n_trials=n_trials, save_best=print)
        style = dict(matplotlib.rcParams)
        write_plots(study, score="dice")
        assert dict(matplotlib.rcParams) == style
        assert sorted(path.stem for path in study.folder.glob("*.png")) == plots
        assert all(cv2.imread(str(path)).std() > 0 for path in study.folder.glob("*.png"))
    rows = list(csv.DictReader(write_table(study).read_text().splitlines()))
    assert [row["trial"] for row in rows] == [str(number) for number in range(17)]
    assert (rows[2]["state"], rows[2]["value"], rows[2]["reason"]) == ("fail", "", "no such weights")
    assert (rows[4]["state"], rows[4]["epochs"]) == ("pruned", "1")
    unet = next(row for row in rows if row["model.options.decoder"] == "unet")
    assert unet["model.options.pyramid_block_filters"] == ""
    text = summary(study, score="dice", n_trials=16, first_is_run=True)
    assert "15 complete, 1 pruned, 1 failed; 16 requested" in text
    assert "failed 1x: no such weights" in text
    assert f"best: trial {study.best_trial().number}, dice 0." in text
    assert "the run's own values (trial 0): 0." in text


def test_a_study_with_other_settings_or_in_another_database_is_not_resumed(folder):
    """The default database moves with its folder; another one would begin a second study."""
    opened(folder)
    with pytest.raises(ConfigError, match=r"created with folds = \[0\]; now it is \[1\]"):
        opened(folder, settings={"folds": [1]})
    with pytest.raises(ConfigError, match="Rename the study"):
        opened(folder, study_file(folder, RATE))
    opened(folder, study_file(folder, pruner={"name": "hyperband"}))  # the pruner may change
    opened(folder, storage=f"sqlite:///{folder}/search/study.db")
    for storage in (f"sqlite:///{folder}/other.db", "postgresql://user:secret@host/db"):
        with pytest.raises(ConfigError, match=r"is stored in study\.db, not in .*Pass the same --storage") as error:
            opened(folder, storage=storage)
        assert "secret" not in str(error.value)
    assert not (folder / "other.db").exists()
    shutil.move(folder / "search", folder / "{search}?#")
    opened(folder, to="{search}?#")


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("databases")
    (folder / "text.db").write_text("not a database" * 100)
    for name in ("old", "optuna"):
        optuna.create_study(study_name="search", storage=f"sqlite:///{folder}/{name}.db", direction="minimize")
    old = "UPDATE alembic_version SET version_num = 'v2.6.0.a'"
    for name, script in (("foreign", "CREATE TABLE studies (id INTEGER)"), ("old", old)):
        with contextlib.closing(sqlite3.connect(folder / f"{name}.db")) as database:
            database.executescript(script)
    return folder


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("x", "not a database URL"),
        ("sqlite://", "a database in memory ends with its process"),
        ("nosuchdb://x", "cannot be used as a study database"),
        ("sqlite:///{}/no/such/folder.db", "unable to open database file"),
        ("sqlite:///{}/text.db", "file is not a database"),
        ("sqlite:///{}/foreign.db", "table studies has no column named study_name"),
        ("sqlite:///{}/old.db", "no longer compatible with the table schema"),
        ("sqlite:///{}/optuna.db", "that skyfold did not create. Rename one of them, or use another database"),
    ],
)
def test_databases_that_are_not_of_this_study_are_refused(folder, databases, storage, message):
    with pytest.raises(ConfigError, match=message) as error:
        opened(folder, storage=storage.format(databases))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_end_hopeless_trials_and_never_the_best(folder, pruner):
    path = study_file(folder, pruner={"name": pruner, "startup_trials": 2, "warmup_epochs": 1, "reduction_factor": 2})
    study = opened(folder, path, max_epochs=8)

    def objective(job):
        height = 1.0 if job.number % 4 == 0 else 0.1 / (1 + job.number)
        for epoch in range(1, 9):
            job.report(epoch, height * epoch)
        return height * 8

    run_worker(study, objective, n_trials=9, save_best=print)
    pruned = study.trials(optuna.trial.TrialState.PRUNED)
    assert len(pruned) >= 3
    assert not any(trial.number % 4 == 0 for trial in pruned)
    assert min(trial.last_step for trial in pruned) == 2


def test_a_seed_gives_the_same_trials_and_another_seed_others(folder):
    drawn = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        study = opened(folder, study_file(folder, sampler={"seed": seed, "startup_trials": 2}), to=name)
        run_worker(study, by_rate, n_trials=4, save_best=print)
        drawn.append([trial.params for trial in study.trials()])
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.skipif(find_spec("optuna_dashboard") is None, reason="needs pip install -e .[trackers]")
def test_optuna_dashboard_shows_a_study(folder):
    study = opened(folder)
    run_worker(study, by_rate, n_trials=3, save_best=lambda _: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("optuna-dashboard"), f"sqlite:///{study.folder / 'study.db'}"]
    dashboard = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        [summary] = answer(dashboard, f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert summary["study_name"] == "search"
        shown = answer(dashboard, f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}")
        assert [trial["values"] for trial in shown["trials"]] == [trial.values for trial in study.trials()]
    finally:
        dashboard.kill()
        dashboard.wait()


def answer(server, address):
    """The JSON at `address`, once `server` has started."""
    for _ in range(300):
        assert server.poll() is None, "the dashboard has ended"
        with contextlib.suppress(URLError), urlopen(address, timeout=60) as found:
            return json.load(found)
        time.sleep(0.2)
    raise AssertionError(f"{address}: no answer in a minute")
