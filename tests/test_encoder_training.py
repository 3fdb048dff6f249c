"""Encoders that learn more slowly than the rest, later, or with BatchNorm as it was when they were pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import assert_arrays_equal, task_of
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError
from skyfold.models import efficientnet_classifier, fpn, segmentation_models
from skyfold.models._encoder_layers import encoder_layers
from skyfold.store.fingerprint import Fingerprint
from skyfold.tasks.open_run import check
from skyfold.training import checkpoint
from skyfold.training.fit_fold import fit_fold
from skyfold.training.network import Network
from skyfold.types import Split

SIZE = (16, 24)
pytestmark = pytest.mark.usefixtures("tiny_families", "float32_backend")
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, *SIZE, 3), dtype=np.float32)
TARGETS = np.concatenate([IMAGES[..., :1] > 0.5, np.ones((4, *SIZE, 1))], axis=-1).astype(np.float32)


def config_of(
    *, model: dict[str, Any] | None = None, optimizer: dict[str, Any] | None = None, **training: Any
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "data": {"competition": "any"},
            "image": {"size": SIZE},
            "model": model or {"family": "tiny_encoder"},
            "loss": {"name": "bce"},
            "optimizer": {"learning_rate": 0.1, **(optimizer or {})},
            "training": {"batch_size": 4, **training},
        }
    )


def trained(config: RunConfig, *, epochs: int = 1, steps: int = 2) -> list[dict[str, np.ndarray]]:
    """Weights by name at first and after each epoch."""
    network = Network(task_of(config, classes=("cloud",), grid=SIZE), input_shape=(*SIZE, 3))
    network.restart(seed=0)

    def weights() -> dict[str, np.ndarray]:
        return {f"{layer.name}.{w.name}": np.array(w) for layer in network.model.layers for w in layer.weights}

    found = [weights()]
    for epoch in range(epochs):
        network.begin_epoch(epoch, seed=epoch)
        for _ in range(steps):
            network.train(IMAGES, TARGETS, learning_rate=config.optimizer.learning_rate)
        found.append(weights())
    return found


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


ENCODER = {"stem.kernel", "stem.bias", "norm.gamma", "norm.beta", "norm.moving_mean", "norm.moving_variance"}
HEAD = {"head.kernel", "head.bias"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "adamw", "weight_decay": 0.1}, "ema": 0.9},
        {"optimizer": {"name": "sgd"}, "gradient_accumulation_steps": 2, "ema": 0.9},
    ],
)
def test_a_frozen_encoder_stands_still_and_then_learns(changes: dict[str, Any]) -> None:
    start, frozen, later = trained(config_of(freeze_encoder_epochs=1, **changes), epochs=2, steps=4)
    assert moved(start, frozen) == HEAD
    assert moved(frozen, later) == ENCODER | HEAD


def test_batchnorm_of_the_encoder_alone_stays_as_it_was() -> None:
    start, end = trained(config_of(freeze_encoder_batchnorm=True))
    assert moved(start, end) == HEAD | {"stem.kernel", "stem.bias"}


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_factor_scales_the_updates_of_the_encoder_and_no_other(name: str, accumulated: int) -> None:
    """Over one update, since later ones see other weights."""
    decay = 0.5 if name == "adamw" else 0.0

    def with_factor(factor: float) -> list[dict[str, np.ndarray]]:
        optimizer = {"name": name, "weight_decay": decay, "encoder_lr_factor": factor}
        return trained(config_of(optimizer=optimizer, gradient_accumulation_steps=accumulated), steps=accumulated)

    (start, whole), (_, scaled) = with_factor(1.0), with_factor(0.25)
    for key in ("stem.kernel", "norm.gamma"):
        np.testing.assert_allclose(scaled[key] - start[key], 0.25 * (whole[key] - start[key]), rtol=1e-5, atol=1e-7)
        assert np.abs(whole[key] - start[key]).max() > 1e-3
    for key in HEAD:
        np.testing.assert_array_equal(scaled[key], whole[key])


class Killed(Exception):
    """In the place of a signal."""


def test_a_fit_that_was_killed_while_frozen_or_later_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    config = config_of(
        optimizer={"name": "adamw", "weight_decay": 0.1, "encoder_lr_factor": 0.3},
        epochs=4,
        freeze_encoder_epochs=2,
        freeze_encoder_batchnorm=True,
        ema=0.8,
        checkpoint="last",
    )
    inputs = np.random.default_rng(0).integers(0, 255, (12, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    arrays = TrainingArrays(np.arange(12).astype(str), inputs, targets)
    network = Network(task_of(config, classes=("cloud",), grid=SIZE), input_shape=(*SIZE, 3))

    def fit(folder: Path, *, until: int = 99) -> list[np.ndarray]:
        def stop(epoch: int, score: float) -> None:
            if epoch == until:
                raise Killed

        split = Split(train=np.arange(8), valid=np.arange(8, 12))
        own = {"folder": folder, "fold": 0, "seed": 0, "fingerprint": Fingerprint(fit="s"), "on_epoch": stop}
        fit_fold(network, arrays=arrays, split=split, **own)
        return network.weights()

    whole = fit(tmp_path / "whole")
    for until in (1, 3):
        with pytest.raises(Killed):
            fit(tmp_path / f"killed{until}", until=until)
        assert_arrays_equal(fit(tmp_path / f"killed{until}"), whole)


@pytest.mark.parametrize(
    ("family", "options", "encoder_parameters"),
    [
        (fpn, {"encoder": "vgg16"}, 14_714_688),
        (fpn, {"encoder": "hrnet_w4_small"}, None),
        (efficientnet_classifier, {}, 4_049_564),
        *[(segmentation_models, {"decoder": d, "encoder": "vgg16"}, 14_714_688) for d in ("unet", "linknet", "fpn")],
    ],
)
def test_the_layers_of_an_encoder_are_known_and_no_others(
    family: Any, options: dict[str, Any], encoder_parameters: int | None, without_values: None
) -> None:
    model = family.PLUGIN(encoder_weights="none", **options).build(input_shape=(32, 32, 3), classes=1)
    layers = encoder_layers(model)
    counted = sum(layer.count_params() for layer in layers if not getattr(layer, "layers", None))
    assert 0 < counted < model.count_params()
    if encoder_parameters is not None:
        assert counted == encoder_parameters


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("optimizer.encoder_lr_factor", {"optimizer": {"encoder_lr_factor": 0.3}}),
        ("training.freeze_encoder_epochs", {"freeze_encoder_epochs": 1}),
        ("training.freeze_encoder_batchnorm", {"freeze_encoder_batchnorm": True}),
    ],
)
def test_a_model_without_an_encoder_is_refused(key: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: model.family tiny_net has no encoder. Remove it"):
        check(config_of(model={"family": "tiny_net"}, **changes))
