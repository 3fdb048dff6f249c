"""Runs that start from another run's weights: which of them, what does not fit, and what would leak."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import competition_of, task_of
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import read_json
from skyfold.store.fits import FitFiles, summary_of_fits
from skyfold.store.folds import Folds
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training import fold_trainer, run_folds
from skyfold.training.init_weights import find_init_weights
from skyfold.training.network import Network

pytestmark = pytest.mark.usefixtures("tiny_families")
SIZE, N, CLASSES = (8, 12), 8, ("bright", "dark")


def config(name, data, init=None, **changes):
    values = {
        "name": name,
        "data": {"competition": "any", "name": data},
        "image": {"size": SIZE},
        # run.json sorts its keys: the run is found although it wrote its options in another order.
        "model": {"family": "tiny_net", "options": {"filters": 3, "dropout": 0.2}, "init_from": init},
        "training": {"epochs": 1, "batch_size": 4, "seeds": [0, 1]},
    }
    return RunConfig.model_validate({**values, **changes})


def images(seed=0, bands=3):
    inputs = np.random.default_rng(seed).integers(0, 256, (N, *SIZE, bands), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] < 60, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    return TrainingArrays(np.array([f"{i}" for i in range(N)]), inputs, targets, checksum=f"images {seed}")


def folds(turned=0):
    return Folds(ids=images().ids, fold=(np.arange(N) + turned) % 2, groups=np.arange(N))


def train(root, config, *, arrays=None, classes=CLASSES, of=None):
    folder = root / config.data.folder / config.name
    competition = competition_of(classes, SIZE)
    run_folds.run_folds(build_task(config, competition), arrays or images(), None, of or folds(), folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_families):
    """A run `first` on the data set `light`, and one on `dark` that started from it."""
    root = tmp_path_factory.mktemp("oof")
    train(root, config("first", "light"))
    train(root, config("second", "dark", {"run": "first", "data": "light"}), arrays=images(1))
    return root


def found_for(config, *arguments):
    return find_init_weights(task_of(config), *arguments)


def stored(network, path):
    network.model.load_weights(path)
    return network.weights()


def test_on_the_same_folds_each_fold_starts_from_its_own_and_elsewhere_from_the_first(root):
    network = Network(task_of(config("any", "light"), classes=CLASSES), input_shape=(*SIZE, 3))
    for data, fold, expected in [("light", 1, "fold1"), ("light", 0, "fold0"), ("grey", 1, "fold0")]:
        start = found_for(config("third", data, {"run": "first", "data": "light"}), root, folds(), f"images of {data}")
        weights = start.load(network, fold=fold, seed=1)
        for found, wanted in zip(
            weights, stored(network, root / f"light/first/models/{expected}_seed1.weights.h5"), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
    more = config("third", "grey", {"run": "first", "data": "light"}, training={"seeds": [1, 7]})
    files = found_for(more, root, folds(), "").files
    assert {at: path.name for at, path in files.items()} == {
        (0, 1): "fold0_seed1.weights.h5",
        (0, 7): "fold0_seed0.weights.h5",
    }


def test_a_run_begins_with_the_weights_and_records_what_they_were(root, tmp_path, monkeypatch):
    seen = []
    fit_fold = fold_trainer.fit_fold

    def watched(network, *, start, **options):
        network.restart(seed=9)
        seen.append(start())
        return fit_fold(network, start=start, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)
    folder = train(root, config("third", "dark", {"run": "first", "data": "light"}), arrays=images(1))
    network = Network(task_of(config("any", "light"), classes=CLASSES), input_shape=(*SIZE, 3))
    paths = [root / f"light/first/models/fold0_seed{seed}.weights.h5" for seed in (0, 1, 0, 1)]
    for path, weights in zip(paths, seen, strict=True):
        for found, wanted in zip(weights, stored(network, path), strict=True):
            np.testing.assert_array_equal(found, wanted)
    recorded = read_info(folder).fingerprint.init_weights
    assert recorded == " ".join(f"{p.name}:{hashlib.sha256(p.read_bytes()).hexdigest()}" for p in paths[:2])


def test_without_an_epoch_a_run_predicts_with_the_weights_it_began_with(root):
    """What a network is worth on data that it has not seen: fold 0's, since the data are others."""
    given = config("untouched", "dark", {"run": "first", "data": "light"}, training={"epochs": 0})
    folder = train(root, given, arrays=images(1))
    network = Network(task_of(config("any", "light"), classes=CLASSES), input_shape=(*SIZE, 3))
    before = stored(network, root / "light/first/models/fold0_seed0.weights.h5")
    for fold in (0, 1):
        about = read_json(folder / f"models/fold{fold}_seed0.json")
        assert (about["epochs"], about["best_epoch"]) == (0, 0)
        assert 0 <= about["score"] <= 1
        after = stored(network, folder / f"models/fold{fold}_seed0.weights.h5")
        for found, wanted in zip(after, before, strict=True):
            np.testing.assert_array_equal(found, wanted)
    fits = summary_of_fits(folder / "models", folds=folds())
    assert fits is not None
    assert (fits.val_loss, fits.fits) == (None, 2)
    with pytest.raises(ValidationError, match="epochs: 0 leaves a network as it began"):
        config("untouched", "dark", training={"epochs": 0})


def test_other_classes_leave_the_last_layer_as_it_is(root):
    network = Network(task_of(config("any", "dark"), classes=("a",)), input_shape=(*SIZE, 3))
    network.restart(seed=5)
    fresh = network.weights()
    start = found_for(config("third", "dark", {"run": "first", "data": "light"}), root, folds(), "")
    found = start.load(network, fold=0, seed=0)
    same = [np.array_equal(one, two) for one, two in zip(found, fresh, strict=True)]
    of_head = [weight.shape[-1] == 1 for weight in found]
    assert same == of_head
    assert sum(of_head) == 2


def test_what_does_not_fit_is_explained(root):
    start = found_for(config("third", "dark", {"run": "first", "data": "light"}), root, folds(), "")
    wide = config("third", "dark", model={"family": "tiny_net", "options": {"filters": 5}})
    with pytest.raises(ConfigError, match=r"kernel is of shape \(3, 3, 3, 3\), this network's of \(3, 3, 3, 5\)"):
        start.load(Network(task_of(wide, classes=CLASSES), input_shape=(*SIZE, 3)), fold=0, seed=0)
    four = Network(task_of(config("third", "dark"), classes=CLASSES), input_shape=(*SIZE, 4))
    with pytest.raises(ConfigError, match="do not fit images of 4 bands"):
        start.load(four, fold=0, seed=0)
    given = config("x", "dark", {"run": "first", "data": "light"}, image={"size": SIZE, "normalization": "tf"})
    with pytest.raises(ConfigError, match=r"normalized as unit, not tf\. Set image.normalization: unit"):
        train(root, given, arrays=images(1))


@pytest.mark.parametrize(
    ("source", "data", "checksum"),
    [
        ({"run": "first"}, "light", "images 0"),  # its networks saw rows that these folds validate
        ({"run": "first", "data": "light"}, "renamed", "images 0"),  # the same images by another name
    ],
)
def test_a_run_of_the_same_data_with_other_folds_is_refused(root, source, data, checksum):
    found_for(config("third", data, source), root, folds(), checksum)
    with pytest.raises(ConfigError, match="with other folds"):
        found_for(config("third", data, source), root, folds(turned=1), checksum)


def test_a_run_that_has_seen_the_data_by_way_of_others_is_refused(root):
    with pytest.raises(ConfigError, match=r"'first' was trained on light .* or by way of other data"):
        found_for(config("third", "light", {"run": "second", "data": "dark"}), root, folds(), "images 0")


def test_what_is_not_there_or_not_finished_is_refused(root):
    with pytest.raises(OofMismatch, match="none"):
        found_for(config("third", "dark", {"run": "none", "data": "light"}), root, folds(), "")
    with pytest.raises(ValidationError, match="cannot start from itself"):
        config("first", "light", {"run": "first"})
    unfinished = FitFiles(root / "light/first/models", 1, 0).weights
    hidden = unfinished.rename(unfinished.with_suffix(".hidden"))
    with pytest.raises(ConfigError, match=r"has not finished fold 1 with seed 0\. Train it first"):
        found_for(config("third", "light", {"run": "first"}), root, folds(), "images 0")
    hidden.rename(unfinished)
