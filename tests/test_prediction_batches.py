"""Prediction takes little memory and starts fast: small batches, no optimizer, no package that it does not need."""

import subprocess
import sys

import numpy as np
import pytest

from conftest import task_of
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.training import backend, network
from skyfold.training.network import Network
from skyfold.training.predict import mean_predictions

SIZE = (16, 24)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
pytestmark = pytest.mark.usefixtures("tiny_families")


def network_of(batch_size=4):
    config = {
        "name": "tiny",
        "data": {"competition": "any"},
        "image": {"size": SIZE},
        "model": {"family": "tiny_net"},
        "training": {"batch_size": batch_size},
    }
    return Network(task_of(RunConfig.model_validate(config)), input_shape=(*SIZE, 3))


@pytest.mark.parametrize(
    ("images", "trained", "expected"), [(0.5, 4, 2), (2, 4, 2), (3.5, 4, 3), (9, 4, 4), (0.5, 1, 1)]
)
def test_a_batch_holds_what_fits_two_images_at_least_and_no_more_than_in_training(
    monkeypatch, images, trained, expected
):
    monkeypatch.setattr(network, "PREDICTED_PIXELS", int(images * SIZE[0] * SIZE[1]))
    assert network_of(trained).predicted_batch_size == expected


@pytest.mark.parametrize("changed", ["on_cpu", "compiles_whole_steps"])
def test_accelerators_and_backends_that_compile_each_size_predict_the_batches_of_training(monkeypatch, changed):
    monkeypatch.setattr(network, "PREDICTED_PIXELS", 1)
    tiny = network_of()
    monkeypatch.setattr(backend, changed, lambda: changed != "on_cpu")
    assert tiny.predicted_batch_size == 4


def test_an_image_is_predicted_alike_whichever_others_are(monkeypatch):
    monkeypatch.setattr(network, "PREDICTED_PIXELS", 3 * SIZE[0] * SIZE[1])
    tiny, arrays = network_of(), TrainingArrays(np.arange(5).astype(str), IMAGES, None)

    def predicted(*rows):
        return mean_predictions(tiny, [lambda: None], tiny.objective, arrays, np.array(rows))

    np.testing.assert_array_equal(predicted(4, 0, 3), predicted(0, 1, 2, 3, 4)[[4, 0, 3]])


def test_an_optimizer_is_made_when_something_is_trained():
    tiny = network_of()
    before = tiny.logits(IMAGES[:4].astype(np.float32))
    assert "_trained" not in vars(tiny)
    tiny.restart(seed=1)
    tiny.train(IMAGES[:4].astype(np.float32), np.ones((4, *SIZE, 3), np.uint8), learning_rate=0.1)
    assert "_trained" in vars(tiny)
    assert (tiny.logits(IMAGES[:4].astype(np.float32)) != before).any()


def test_what_keras_does_not_need_is_not_loaded_and_can_be_loaded_later():
    code = (
        "import gc, sys\n"
        "from skyfold.training import backend\n"
        "backend.start(deterministic=True)\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000\n"  # what is loaded is not collected again and again
        "loaded = {'sklearn', 'matplotlib', 'jax'} & set(sys.modules)\n"
        "assert backend.name() == 'jax' or not loaded, loaded\n"
        "import matplotlib, sklearn.linear_model\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
