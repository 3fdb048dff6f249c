"""Identity of stored artefacts: what it depends on, what is unknown, and what cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from conftest import task_of
from skyfold.config.run import RunConfig
from skyfold.errors import DamagedFile
from skyfold.store.fingerprint import PARTS, VERSION, Fingerprint
from skyfold.store.folds import Folds
from skyfold.training.run_folds import fingerprint_of_run

FULL = replace(Fingerprint(**{part: f"digest of {part}" for part in PARTS}), threads="2")


def run(options: dict[str, object], **changes: object) -> RunConfig:
    values = {"name": "unet", "data": {"competition": "any"}, "image": {"size": [16, 24]}}
    return RunConfig.model_validate({**values, "model": {"family": "plain_unet", "options": options}, **changes})


def of_run(config: RunConfig) -> Fingerprint:
    folds = Folds(ids=np.array(["a", "b"]), fold=np.array([0, 1]), groups=np.arange(2))
    return fingerprint_of_run(task_of(config), folds, "images", "")


def test_the_order_of_keys_does_not_matter() -> None:
    one = of_run(run({"filters": [2, 4], "batchnorm_momentum": 0.8}))
    assert of_run(run({"batchnorm_momentum": 0.8, "filters": [2, 4]})) == one
    assert of_run(run({"filters": [4, 2], "batchnorm_momentum": 0.8})).different(one) == ["fit", "rows"]
    shuffled = dict(reversed(FULL.to_json().items()))
    assert Fingerprint.from_json(shuffled, "run.json").digest() == FULL.digest()
    assert len({FULL.digest(), *(replace(FULL, **{part: "other"}).digest() for part in PARTS)}) == len(PARTS) + 1


def test_a_part_that_is_unknown_is_never_different_and_predictions_change_no_fit() -> None:
    old = FULL.of("folds", "rows")
    assert old.different(Fingerprint(data="d", folds="f", rows="r")) == ["folds", "rows"]
    assert old.different(replace(FULL, data="d", source="s")) == []
    assert FULL.different(replace(FULL, data="d", fit="f"), "fit", "rows") == ["fit"]
    assert of_run(run({}, tta=["hflip"])).different(of_run(run({}))) == ["rows"]
    for given in (FULL, old, Fingerprint(blend="")):
        assert Fingerprint.from_json(json.loads(json.dumps(given.to_json())), "run.json") == given


def test_parts_of_older_rules_are_unknown_beside_newer_ones_and_compared_with_each_other() -> None:
    old = Fingerprint(fit="f", rows="r", init_weights="", folds="x", version=2)
    assert old.different(Fingerprint(fit="g", rows="s", init_weights="imagenet:a1", folds="y")) == ["folds"]
    assert old.different(replace(old, fit="g", rows="s")) == ["fit", "rows"]
    assert replace(old, init_weights="a1").different(Fingerprint(init_weights="b2")) == ["init_weights"]
    one_seed = Fingerprint(init_weights="fold0_seed0.weights.h5:1f")
    assert one_seed.different(Fingerprint(init_weights="fold0_seed0.weights.h5:1f fold0_seed1.weights.h5:2e")) == []
    assert one_seed.different(Fingerprint(init_weights="fold0_seed0.weights.h5:3d")) == ["init_weights"]
    assert one_seed.different(Fingerprint(init_weights="imagenet:1f")) == ["init_weights"]
    assert Fingerprint.from_json(old.to_json(), "run.json") == old


def test_initial_weights_are_known_by_what_they_hold_not_by_where_they_lie() -> None:
    def digests(**model: object) -> tuple[str, str]:
        config = run({}, model={"family": "any", **model})
        return config.fit_hash(), config.hash()

    def options(weights: str) -> tuple[str, str]:
        return digests(options={"encoder": "resnet18", "encoder_weights": weights})

    assert options("here/resnet18.h5") == options("../there/weights")
    assert len({options(weights) for weights in ("a.h5", "imagenet", "none", "ukis_csmask")}) == 4
    moved = {"run": "first"}, {"run": "renamed", "data": "other"}
    assert digests(init_from=moved[0]) == digests(init_from=moved[1]) != digests()


def test_the_code_of_a_plugin_is_unknown_where_an_older_version_recorded_its_file() -> None:
    assert Fingerprint.from_json({**FULL.to_json(), "version": 1}, "run.json").source is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {**FULL.to_json(), "version": VERSION + 1},
            f"run.json: fingerprint version {VERSION + 1} was written by a newer skyfold",
        ),
        ({**FULL.to_json(), "weather": "sunny"}, "run.json: the fingerprint has unknown parts"),
        ({**FULL.to_json(), "folds": 3}, "run.json: the fingerprint has unknown parts"),
        ({"folds": "f"}, "run.json: no fingerprint here"),
        ("4fd1 a8b2", "run.json: no fingerprint here"),
    ],
)
def test_what_cannot_be_read_is_refused(values: object, message: str) -> None:
    with pytest.raises(DamagedFile, match=message):
        Fingerprint.from_json(values, "run.json")
