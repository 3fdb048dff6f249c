"""Segmentation on JAX and on PyTorch: networks on Keras alone are trained, blended, packed and predict.

`make test-jax` and `make test-torch` run it where TensorFlow is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import yaml

from conftest import assert_arrays_equal, task_of
from skyfold.cli.main import main
from skyfold.config.run import RunConfig
from skyfold.config.training import ModelConfig
from skyfold.files import read_json
from skyfold.models import family_of
from skyfold.store.rows import RowStore
from skyfold.training import backend
from skyfold.training.network import Network

pytestmark = [
    pytest.mark.usefixtures("own_data", "tiny_families"),
    pytest.mark.skipif(
        backend.name() == "tensorflow", reason="the other tests are of TensorFlow; run make test-jax or make test-torch"
    ),
]
SIZE = (32, 48)
VGG = {"encoder": "vgg16", "encoder_weights": "none"}  # has few layers, and is built and traced in no time
FAMILIES = {
    "plain_unet": {"filters": [4, 8]},
    "unet": {**VGG, "decoder_filters": [8, 8, 4, 4, 4]},
    "fpn": {**VGG, "pyramid_filters": 8, "filters": 8},
    "deeplabv3plus": {**VGG, "filters": 8, "outline_filters": 4},
    "hrnet": {"encoder": "hrnet_w4_small", "encoder_weights": "none"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns_and_goes_on_from_its_state_bit_for_bit(family):
    training = {"batch_size": 2, "ema": 0.9, "gradient_accumulation_steps": 2}
    config = {
        "name": "any",
        "data": {"competition": "any"},
        "image": {"size": SIZE},
        "model": {"family": family, "options": FAMILIES[family]},
        "optimizer": {"name": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
        "training": training,
    }
    network = Network(task_of(RunConfig.model_validate(config)), input_shape=(*SIZE, 3))
    images = np.random.default_rng(0).random((2, *SIZE, 3), dtype=np.float32)
    targets = np.ones((2, *SIZE, 3), np.uint8)
    targets[..., :2] = images[..., :2] > 0.5

    def losses(updates):
        network.begin_epoch(0, seed=0)
        return [network.train(images, targets, learning_rate=3e-3) for _ in range(2 * updates)]

    network.restart(seed=0)
    means = losses(8)  # of the batches so far
    of_batches = np.diff(np.arange(17) * [0, *means])
    assert of_batches[-1] < of_batches[0]
    state = network.state()
    straight = losses(1), network.averaged_weights(), network.logits(images)
    network.restart(seed=1)
    network.set_state(state)
    resumed = losses(1), network.averaged_weights(), network.logits(images)
    assert straight[0] == resumed[0]
    assert_arrays_equal(straight[1], resumed[1])
    np.testing.assert_array_equal(straight[2], resumed[2])
    assert np.isfinite(straight[2]).all()


@pytest.mark.parametrize("family", ["segmentation_models", "efficientnet_classifier"])
def test_networks_of_other_packages_are_built(family):
    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    config = ModelConfig(family=family, options={"encoder_weights": "none"})
    model = family_of(config).build(input_shape=(64, 64, 3), classes=2)
    outputs = model.predict_on_batch(np.zeros((1, 64, 64, 3), np.float32))
    assert outputs.shape == ((1, 64, 64, 2) if family == "segmentation_models" else (1, 2))
    assert np.isfinite(outputs).all()


BLEND = yaml.safe_load("""
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 8, test: 3, seed: 0, height: 64}
image: {size: [32, 48]}
name: both
training: {epochs: 1, batch_size: 4, mixed_precision: bfloat16}
runs:
  - {name: plain, tta: [hflip], model: {family: plain_unet, options: {filters: [4, 8]}}}
  - {name: bright, image: {size: [56, 84]}, model: {family: colour_threshold, options: {feature: brightness}}}
classifier_gate:
  name: gate
  task: classification
  model: {family: tiny_net, options: {pooled: true}}
  loss: {name: bce}
postprocess: {thresholds: 9, min_areas: [0, 20]}
bootstrap: 20
""")


def test_a_blend_is_trained_and_packed_and_predicts_bit_for_bit(tmp_path):
    assert find_spec("tensorflow") is None, "installed here: run make test-jax or make test-torch"
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / "both.yaml"
    config.write_text(yaml.safe_dump(BLEND))
    root = ["--root", str(tmp_path)]
    assert main(["run", str(config), *root]) == 0
    assert main(["pack", str(config), "--out", str(tmp_path / "bundle"), *root]) == 0
    manifest = read_json(tmp_path / "bundle" / "manifest.json")
    assert backend.name() in manifest["needs"]
    assert not manifest["needs"].keys() & (set(backend.BACKENDS) - {backend.name()})
    images, out = tmp_path / "data/tiny/test_images", tmp_path / "out"
    sample = ["--sample", str(tmp_path / "data/tiny/sample_submission.csv")]
    assert main(["predict", str(tmp_path / "bundle"), "--images", str(images), "--out", str(out), *sample]) == 0
    for run in ("plain", "bright", "gate"):
        trained, found = RowStore.open(tmp_path / "oof/tiny" / run / "test"), RowStore.open(out / ".work/rows" / run)
        np.testing.assert_array_equal(found.values, trained.values)
    submitted = tmp_path / "submissions/tiny/both.csv"
    assert (out / "submission.csv").read_bytes() == submitted.read_bytes()
    made = read_json(tmp_path / "oof/tiny/plain/models/fold0_seed0.json")["environment"]
    assert (made["backend"], made["deterministic"], made["precision"]) == (backend.name(), True, "bfloat16")
