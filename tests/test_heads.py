"""Heads of training: further losses on maps inside a network, which leave its weights file and predictions alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from conftest import assert_arrays_equal, task_of
from skyfold.config.run import RunConfig
from skyfold.config.training import AuxLossesConfig
from skyfold.errors import ConfigError
from skyfold.models import plain_unet, segmentation_models
from skyfold.training.aux_losses import losses_of_outputs, with_aux_losses
from skyfold.training.losses.segmentation import image_label_bce
from skyfold.training.network import Network

pytestmark = pytest.mark.usefixtures("float32_backend")
BOTH = {"classification": 0.5, "deep_supervision": 0.4, "levels": 2}


def config(**changes):
    values = {
        "name": "a",
        "data": {"competition": "any"},
        "image": {"size": [32, 40]},
        "model": {"family": "plain_unet", "options": {"filters": [4, 6, 8]}},
        "training": {"batch_size": 2, "ema": 0.5},
        "aux_losses": BOTH,
    }
    return RunConfig.model_validate({**values, **changes})


def network_of(aux_losses=BOTH):
    return Network(task_of(config(aux_losses=aux_losses)), input_shape=(32, 40, 3))


def batch():
    rng = np.random.default_rng(0)
    targets = (rng.random((2, 32, 40, 3)) > 0.5).astype(np.uint8)
    return rng.random((2, 32, 40, 3), dtype=np.float32), targets


def head_kernels(trained):
    heads = [layer for layer in trained.layers if layer.name.startswith("head") and layer.weights]
    return {layer.name: layer.kernel.shape for layer in heads}


@pytest.mark.parametrize(
    ("aux_losses", "heads", "weights"),
    [
        (BOTH, {"presence": (10, 2), "deep1": (1, 1, 6, 2), "deep2": (1, 1, 8, 2)}, [1, 0.5, 0.2, 0.2]),
        ({"classification": 0.5}, {"presence": (10, 2)}, [1, 0.5]),
        ({"deep_supervision": 0.4, "levels": 1}, {"deep1": (1, 1, 6, 2)}, [1, 0.4]),
    ],
)
def test_heads_sit_on_the_finest_coarser_maps_and_on_the_deepest(aux_losses, heads, weights):
    # 20 x 30 mirrored to 24 x 32: maps of 24 x 32 (4), 12 x 16 (6), 6 x 8 (8) and 3 x 4 (10 channels).
    model = plain_unet.PlainUnet(filters=[4, 6, 8, 10]).build(input_shape=(20, 30, 3), classes=2)
    trained = with_aux_losses(model, AuxLossesConfig(**aux_losses))
    shapes = [(None, 2) if head == "presence" else (None, 20, 30, 2) for head in ("masks", *heads)]
    assert [output.shape for output in trained.outputs] == shapes
    assert head_kernels(trained) == {f"head_{head}": shape for head, shape in heads.items()}
    assert {id(weight) for weight in trained.weights} > {id(weight) for weight in model.weights}
    losses = ["masks", *(image_label_bce if head == "presence" else "masks" for head in heads)]
    assert losses_of_outputs(AuxLossesConfig(**aux_losses), "masks", len(trained.outputs)) == (losses, weights)
    with pytest.raises(ConfigError, match="maps of 3 sizes below its output's, 4 are needed"):
        with_aux_losses(model, AuxLossesConfig(deep_supervision=1.0, levels=4))


def test_a_network_within_a_network_is_run_once():
    model = segmentation_models.SegmentationModels(decoder="unet", encoder="resnet18", encoder_weights="none").build(
        input_shape=(40, 64, 3), classes=2
    )
    trained = with_aux_losses(model, AuxLossesConfig(classification=1.0, deep_supervision=1.0, levels=1))
    assert len(trained.weights) == len(model.weights) + 4
    # The last maps of ResNet18, and those of the decoder at half the size.
    assert head_kernels(trained) == {"head_presence": (512, 2), "head_deep1": (1, 1, 32, 2)}
    image = np.random.default_rng(0).random((1, 40, 64, 3), dtype=np.float32)
    logits, *_ = trained(image)
    np.testing.assert_allclose(logits, model(image), atol=1e-5)


def test_the_loss_is_the_weighted_sum_and_what_is_stored_is_the_model(tmp_path):
    inputs, targets = batch()
    network, plain = network_of(), network_of(None)
    network.restart(seed=3)
    plain.restart(seed=3)
    assert_arrays_equal(network.weights(), plain.weights())  # heads draw no number that the model draws
    network.begin_epoch(0, seed=1)
    outputs = network._trained(inputs, training=True)
    target = keras.ops.convert_to_tensor(targets, "float32")
    own, presence, *deep = (
        float(loss(target, logits))
        for loss, logits in zip([network._loss, image_label_bce, network._loss, network._loss], outputs, strict=True)
    )
    network.restart(seed=3)
    network.begin_epoch(0, seed=1)
    total = network.train(inputs, targets, learning_rate=1e-3)
    assert total == pytest.approx(own + 0.5 * presence + 0.2 * sum(deep), rel=1e-5)
    network.model.save_weights(tmp_path / "a.weights.h5")
    plain.model.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(plain.logits(inputs), network.logits(inputs), atol=1e-5)


def test_a_network_with_heads_goes_on_bit_for_bit():
    network, ends = network_of(), []
    network.restart(seed=1)
    network.begin_epoch(0, seed=0)
    network.train(*batch(), learning_rate=1e-2)
    state = network.state()
    for _ in range(2):
        network.train(*batch(), learning_rate=1e-2)
        ends.append([*network.state().values(), *network.averaged_weights()])
        network.restart(seed=2)
        network.set_state(state)
        network.begin_epoch(0, seed=0)
    assert_arrays_equal(*ends)


def test_image_label_loss_by_hand():
    # Image 1 shows class 0 in a pixel that counts and class 1 in one that does not; image 2 has no pixel that counts.
    target = np.array([[[1, 0, 1], [0, 1, 0]], [[1, 1, 0], [0, 0, 0]]], np.float32).reshape(2, 1, 2, 3)
    logits = np.array([[np.log(3), 0.0], [5.0, 5.0]], np.float32)
    loss = image_label_bce(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(logits))
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-5)


def test_heads_that_say_nothing_or_have_no_masks_are_refused():
    with pytest.raises(ValidationError, match="give classification or deep_supervision"):
        AuxLossesConfig()
    with pytest.raises(ValidationError, match="aux_losses: not supported by task: classification"):
        config(task="classification")
    assert config(aux_losses=None).hash() != config().hash()
