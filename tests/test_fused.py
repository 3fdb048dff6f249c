"""Kernels in one pass against the formulas of Keras, which they stand for."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from skyfold.config.training import OptimizerConfig, TrainingConfig
from skyfold.training import backend
from skyfold.training.fused import FEWEST_CHANNELS, fuse_batchnorm
from skyfold.training.optimizers import make_optimizer


@pytest.fixture(autouse=True, scope="module")
def _backend():
    backend.start(deterministic=True)


@pytest.mark.parametrize(
    ("name", "kind", "decay"), [("adam", keras.optimizers.Adam, 0.0), ("adamw", keras.optimizers.AdamW, 0.1)]
)
def test_adam_in_one_pass_is_adam(name, kind, decay):
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 5, 7)).astype(np.float32)
    start = rng.standard_normal((5, 7)).astype(np.float32)
    found = []
    plain = kind(learning_rate=0.1, weight_decay=decay or None, global_clipnorm=3.0, use_ema=True, ema_momentum=0.8)
    config = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=decay, clip_norm=3.0)
    fused = make_optimizer(config, TrainingConfig(ema=0.8))
    for optimizer in (plain, fused):
        variable = keras.Variable(start)
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        found.append([variable.numpy(), *(value.numpy() for value in optimizer.variables)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert np.abs(found[1][0] - start).max() > 0.3


@pytest.mark.parametrize("channels", [FEWEST_CHANNELS - 1, FEWEST_CHANNELS])
@pytest.mark.parametrize(("precision", "atol"), [("float32", 2e-5), ("mixed_bfloat16", 0.04)])
def test_batchnorm_in_one_pass_is_batchnorm(tmp_path, precision, atol, channels):
    import tensorflow as tf

    images = np.random.default_rng(0).normal(3.0, 2.0, (2, 5, 6, channels)).astype(np.float32)
    found = []
    for fused in (False, True):
        layers = [
            keras.layers.BatchNormalization(momentum=0.7, scale=False, dtype=precision),
            keras.layers.BatchNormalization(center=False, dtype=precision),
        ]
        model = keras.Sequential([keras.Input((5, 6, channels)), *layers])
        model.set_weights([weight + 0.25 for weight in model.get_weights()])
        if fused:
            model.save_weights(tmp_path / "plain.weights.h5")
            names = [variable.path for variable in model.variables]
            fuse_batchnorm(model)
            assert [variable.path for variable in model.variables] == names
            model.load_weights(tmp_path / "plain.weights.h5")
            assert all(type(layer) is not keras.layers.BatchNormalization for layer in layers)
        x = tf.Variable(images)
        with tf.GradientTape() as tape:
            output = model(x, training=True)
            loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3)
        gradients = tape.gradient(loss, [x, *(variable.value for variable in model.trainable_variables)])
        predicted = model(images, training=False)
        values = [output, predicted, *(gradient / 100 for gradient in gradients), *model.get_weights()]
        found.append([np.asarray(value, np.float32) for value in values])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=atol, atol=atol)
