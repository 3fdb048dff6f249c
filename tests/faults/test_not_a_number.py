"""What is not a number is never stored: networks and families that predict it are refused with run, fold and sample."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from skyfold.files import file_digest
from skyfold.models.colour_threshold import ColourThreshold
from skyfold.store.records import FitRecord, read_record, write_record
from skyfold.store.rows import RowStore
from skyfold.training.predict import NotFinite, mean_predictions, sigmoid
from skyfold.training.predict_scenes import scene_probabilities
from skyfold.training.tiles import Tiling


def spoil(path, value):
    """Make `value` of the bias of the last layer, as training that diverged would have stored it."""
    import h5py

    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        smallest = min((item for item in found if item.ndim == 1), key=lambda item: item.shape[0])
        smallest[...] = value
    record = path.with_name(path.name.replace(".weights.h5", ".json"))
    about = read_record(record, FitRecord, remedy="")
    write_record(record, {**about, "weights_sha256": file_digest(path)})


def forget_rows(folder):
    for part in ("oof", "test"):
        shutil.rmtree(folder / part, ignore_errors=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_that_predicts_no_number_is_refused_with_run_fold_and_sample(tiny, value):
    folder = tiny.oof / "network"
    spoil(folder / "models" / "fold1_seed0.weights.h5", value)
    forget_rows(folder)
    code, _, err = tiny.run("train", "network")
    assert code == 3, err
    assert "run 'network', fold 1: the prediction of fold 1, seed 0 for 'i" in err
    assert "is NaN or infinite, and nothing of it was stored" in err
    assert "Lower optimizer.learning_rate" in err
    stored = RowStore.open(folder / "oof")
    assert stored.complete.sum() == 6  # fold 0
    assert not (folder / "test").exists()
    code, _, err = tiny.run("train", "network", "--set", "tta=[hflip]")
    assert (code, "run 'network', fold 1: the prediction of fold 1, seed 0" in err) == (3, True), err


def test_the_network_of_the_test_part_is_named_and_its_labels_are_not_used(tiny):
    folder = tiny.oof / "network"
    spoil(folder / "models" / "fold1_seed0.weights.h5", np.nan)
    shutil.rmtree(folder / "test")
    code, _, err = tiny.run("train", "network")
    assert (code, "run 'network', test: the prediction of fold 1, seed 0 for 't" in err) == (3, True), err
    assert not RowStore.open(folder / "test").complete.any()
    text = tiny.config("network").read_text().replace("name: network", "name: student")
    student = tiny.write_config("student", text + "pseudo_labels: {run: network}\n")
    code, _, err = tiny.run("train", student)
    assert (code, "labels of network, fold 1: the prediction of fold 1, seed 0 for 't" in err) == (3, True), err
    assert not list((tiny.oof / "student").rglob("*.h5"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_mean_hides_what_is_no_number(value):
    """Of views, of seeds and bags, of tiles."""
    seen, members = [0], [lambda: None, lambda: seen.__setitem__(0, 1)]

    def logits(inputs):
        outputs = np.zeros((*inputs.shape[:3], 1), np.float32)
        outputs[-1, 0, 0] = value if seen[0] else 0  # the second member, in its last sample
        return outputs

    config = SimpleNamespace(tta=["hflip"])
    objective = SimpleNamespace(normalization="unit", activate=sigmoid, config=config)
    network = SimpleNamespace(batch_size=2, predicted_batch_size=2, logits=logits, objective=objective, config=config)
    images = SimpleNamespace(inputs=np.zeros((4, 8, 8, 3), np.uint8), targets=None)
    with pytest.raises(NotFinite) as raised:
        mean_predictions(network, members, objective, images, np.array([3, 2, 1, 0]))
    assert (raised.value.row, raised.value.member) == (2, 1)
    seen[0] = 0
    scene = SimpleNamespace(
        shape=(20, 20, 3), read=lambda top, left, height, width: np.zeros((height, width, 3), np.uint8)
    )
    with pytest.raises(NotFinite) as raised:
        scene_probabilities(network, members, scene, Tiling((8, 8), 2), (20, 20), on_tile=lambda: None, row=5)
    assert (raised.value.row, raised.value.member) == (5, 1)


def test_training_that_ends_without_numbers_is_refused_with_the_fold(tiny, monkeypatch):
    from skyfold.training.network import Network

    monkeypatch.setattr(Network, "logits", lambda self, inputs: np.full((len(inputs), 40, 48, 1), np.nan))
    text = tiny.config("network").read_text().replace("name: network", "name: diverged")
    code, _, err = tiny.run("train", tiny.write_config("diverged", text))
    assert (code, "diverged fold 0: the network predicts NaN or infinity" in err) == (2, True), err
    assert not list((tiny.oof / "diverged").rglob("*.h5"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_family_without_training_is_refused_with_run_fold_and_sample(tiny, monkeypatch, value):
    predict = ColourThreshold.predict

    def spoilt(self, images, *, classes):
        values = predict(self, images, classes=classes)
        values[-1, 0, 0, 0] = value
        return values

    monkeypatch.setattr(ColourThreshold, "predict", spoilt)
    before = tiny.files()
    code, _, err = tiny.run("train", "bright", "--restart")
    assert (code, "run 'bright', fold 0: the prediction for 'i" in err) == (3, True), err
    assert not RowStore.open(tiny.oof / "bright" / "oof").complete.any()
    after = tiny.files()
    assert {name for name in before if before[name] != after.get(name)} <= {n for n in before if "oof/tiny/bright" in n}


def test_rows_refuse_it_whatever_type_they_are_stored_as(tmp_path):
    for dtype in ("uint8", "float32", "int32"):
        store = RowStore.open_or_create(tmp_path / dtype, ids=["a", "b"], shape=(2,), dtype=dtype, fingerprint="")
        for value in (np.nan, np.inf, -np.inf):
            with pytest.raises(Exception, match=r"values for 'b' are NaN or infinite; nothing was written"):
                store.write(np.array([0, 1]), np.array([[1, 2], [value, 0]]))
        assert not store.complete.any()
        assert not store.values.any()
