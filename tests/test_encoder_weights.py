"""Weights from a file: what a run began with is recorded, and a file that does not fit is explained by its layer."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import skyfold.models
from conftest import assert_arrays_equal, begin_stored, task_of
from skyfold import plugins
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError, MissingWeights, OofMismatch
from skyfold.files import digest
from skyfold.models import _sm_compat, efficientnet_classifier, segmentation_models
from skyfold.models._weight_mismatch import misfit
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.records import write_record
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.training import backend
from skyfold.training.run_folds import run_folds

SIZE = (16, 24)
IDS = np.array(["a", "b", "c", "d"])
FOLDS = Folds(ids=IDS, fold=np.array([0, 1, 0, 1]), groups=np.arange(4))


@pytest.fixture(autouse=True)
def _families(monkeypatch: pytest.MonkeyPatch, float32_backend: None) -> None:
    folder = Path(__file__).parent / "families"
    monkeypatch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__, str(folder)])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the tiny encoder for three bands, in a folder of their own."""
    folder = tmp_path / "weights"
    folder.mkdir()
    backend.seed(7)
    plugins.load("models", "tiny_encoder").encoder(3).save_weights(folder / "tiny.weights.h5")
    return folder


def save_as_keras2(file: Path, network: Any) -> None:
    """The layout in which ImageNet's weights are published."""
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(file, "w") as opened:
        legacy_h5_format.save_weights_to_hdf5_group(opened, network)


def train(run: Path, weights: Path | str, *, restart: bool = False, folds: Folds = FOLDS, **changes: object) -> None:
    config = RunConfig.model_validate(
        {
            "name": "tiny",
            "data": {"competition": "any"},
            "image": {"size": SIZE},
            "model": {"family": "tiny_encoder", "options": {"encoder_weights": str(weights)}},
            "training": {"epochs": 1, "batch_size": 2},
            **changes,
        }
    )
    size = config.images.size
    inputs = np.random.default_rng(0).integers(0, 255, (4, *size, 3), dtype=np.uint8)
    arrays = TrainingArrays(IDS, inputs, np.ones((4, *size, 2), np.uint8))
    test = TrainingArrays(np.array(["e", "f"]), inputs[:2], None)
    task = task_of(config, classes=("cloud",), grid=size)
    run_folds(task, arrays, test, folds, run, restart=restart)


def rows_of(run: Path) -> list[np.ndarray]:
    return [np.array(RowStore.open(run / part).values) for part in ("oof", "test")]


def forget_rows(run: Path) -> None:
    for part in ("oof", "test"):
        shutil.rmtree(run / part)


def test_a_run_records_the_sha256_of_its_file_and_goes_on_with_no_other(tmp_path: Path, weights: Path) -> None:
    run, file = tmp_path / "run", weights / "tiny.weights.h5"
    train(run, weights)
    recorded = json.loads((run / "run.json").read_text())["fingerprint"]["init_weights"]
    assert recorded == hashlib.sha256(file.read_bytes()).hexdigest()
    train(run, weights)
    backend.seed(8)
    plugins.load("models", "tiny_encoder").encoder(3).save_weights(file)
    with pytest.raises(OofMismatch, match=r"begun with other initial weights.*--restart"):
        train(run, weights)
    train(run, weights, restart=True)
    assert read_info(run).fingerprint.init_weights == hashlib.sha256(file.read_bytes()).hexdigest() != recorded


def test_finished_fits_predict_without_their_initial_weights_and_nothing_is_added_to_them(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(run, weights)
    before = rows_of(run)
    weights.rename(tmp_path / "moved")
    forget_rows(run)
    train(run, weights)
    assert_arrays_equal(rows_of(run), before)
    said = capsys.readouterr().err
    assert "run 'tiny': whether its initial weights changed since is not known." in said
    assert f"'{weights}' is none of imagenet, none, a path to a Keras weights file" in said
    with pytest.raises(MissingWeights, match="is none of imagenet, none, a path"):
        train(run, weights, restart=True)
    with pytest.raises(MissingWeights, match="is none of imagenet, none, a path"):
        train(tmp_path / "another", weights)
    assert not (tmp_path / "another").exists()
    fit = run / "models" / "fold1_seed0.weights.h5"
    assert fit.is_file()
    fit.unlink()
    with pytest.raises(MissingWeights, match="is none of imagenet, none, a path"):
        train(run, weights)
    (tmp_path / "moved").rename(weights)
    train(run, weights)
    assert_arrays_equal(rows_of(run), before)


@pytest.mark.parametrize("family", ["segmentation_models", "efficientnet_classifier"])
def test_a_run_on_imagenet_weights_predicts_where_there_is_no_network(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, object] = {
        "image": {"size": [32, 32], "normalization": "encoder"},
        "model": {"family": family, "options": {}},
        "training": {"epochs": 1, "batch_size": 2, "freeze_encoder_epochs": 1},  # gradients of the head are soon traced
        **({"task": "classification", "loss": {"name": "bce"}} if family == "efficientnet_classifier" else {}),
    }
    import keras
    import tensorflow

    published = tmp_path / "published.weights.h5"
    (resnet18() if family == "segmentation_models" else efficientnetb0()).save_weights(published)
    downloads = []

    def get_file(*arguments: object, **options: object) -> str:
        if not published.exists():
            raise AssertionError("nothing may be downloaded")
        downloads.append(arguments)
        return str(published)

    for package in (keras.utils, tensorflow.keras.utils):
        monkeypatch.setattr(package, "get_file", get_file)
    run, one_fold = tmp_path / "run", replace(FOLDS, fold=np.array([0, -1, 0, -1]))
    train(run, "imagenet", folds=one_fold, **changes)
    assert downloads
    before = rows_of(run)
    published.unlink()
    forget_rows(run)
    train(run, "imagenet", folds=one_fold, **changes)
    assert_arrays_equal(rows_of(run), before)


def test_a_file_that_was_moved_is_the_same_and_nothing_is_trained_again(tmp_path: Path, weights: Path) -> None:
    run = tmp_path / "run"
    train(run, weights)
    before = states(run)
    moved = tmp_path / "moved" / "by_another_name.h5"
    moved.parent.mkdir()
    (weights / "tiny.weights.h5").rename(moved)
    train(run, moved)
    assert states(run) == before
    assert read_info(run).config["model"]["options"] == {"encoder_weights": str(moved)}


def states(run: Path) -> dict[str, int]:
    """When weights and rows were written."""
    files = [*(run / "models").glob("*.h5"), *(run / part / "rows.json" for part in ("oof", "test"))]
    return {str(file): file.stat().st_mtime_ns for file in files}


def as_version_2(run: Path) -> None:
    """Store `run` as the version before did: it named the file of weights in the parts `fit` and `rows`."""
    about = json.loads((run / "run.json").read_text())
    config = RunConfig.model_validate(about["config"])
    values = config.model_dump(mode="json", exclude={"data": {"sample"}}, exclude_defaults=True)
    key = digest(json.dumps(values, sort_keys=True))
    fits = [json.loads(path.read_text()) for path in sorted((run / "models").glob("*.json"))]
    weights = "" if about["fingerprint"]["init_weights"].startswith("imagenet:") else None
    for record in (about, *fits):
        made = record["fingerprint"]
        made |= {"version": 2, "fit": key} | ({} if weights is None else {"init_weights": weights})
        made |= {"rows": key} if "rows" in made else {}
    write_record(run / "run.json", without_seal(about))
    for path, record in zip(sorted((run / "models").glob("*.json")), fits, strict=True):
        write_record(path, without_seal(record))
    token = Fingerprint.from_json(about["fingerprint"], "").of("rows", "folds", "blend").digest()
    for part in ("oof", "test"):
        rows = json.loads((run / part / "rows.json").read_text())
        write_record(run / part / "rows.json", without_seal({**rows, "fingerprint": token}))


def without_seal(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("format", "checksum")}


def test_a_run_of_an_older_version_goes_on_as_it_is_and_its_config_is_still_compared(
    tmp_path: Path, weights: Path
) -> None:
    run = tmp_path / "run"
    train(run, weights)
    as_version_2(run)
    before, rows = states(run), rows_of(run)
    moved = tmp_path / "moved"
    weights.rename(moved)
    train(run, moved)
    assert states(run) == before
    assert read_info(run).fingerprint.version == 2
    with pytest.raises(OofMismatch, match=r"begun with another config \(changed: optimizer.learning_rate"):
        train(run, moved, optimizer={"learning_rate": 0.5})
    with pytest.raises(OofMismatch, match=r"begun with another config \(changed: model.options.encoder_weights"):
        train(run, "none")
    backend.seed(8)
    plugins.load("models", "tiny_encoder").encoder(3).save_weights(moved / "tiny.weights.h5")
    with pytest.raises(OofMismatch, match="begun with other initial weights"):
        train(run, moved)
    shutil.rmtree(moved)
    train(run, moved, tta=["hflip"])  # only predicted again
    after = states(run)
    assert [name for name in after if after[name] != before[name]] == [
        str(run / part / "rows.json") for part in ("oof", "test")
    ]
    assert (rows_of(run)[0] != rows[0]).any()
    assert read_info(run).fingerprint.version == 3


def test_a_run_stored_before_weights_were_recorded_is_read(tmp_path: Path) -> None:
    begin_stored(tmp_path, FOLDS, ("cloud",))
    assert "init_weights" not in json.loads((tmp_path / "run.json").read_text())["fingerprint"]
    assert read_info(tmp_path).fingerprint.init_weights is None


def test_weights_learned_on_four_bands_serve_four_and_those_of_three_are_adapted(tmp_path: Path, weights: Path) -> None:
    tiny = plugins.load("models", "tiny_encoder")

    def kernel(bands: int, source: Path) -> np.ndarray:
        model = tiny.PLUGIN(encoder_weights=str(source)).build(input_shape=(*SIZE, bands), classes=1)
        return np.asarray(model.get_layer("stem").kernel)

    learned = tiny.encoder(4)
    learned.save_weights(tmp_path / "tiny.weights.h5")
    np.testing.assert_array_equal(kernel(4, tmp_path), learned.get_layer("stem").kernel)
    np.testing.assert_allclose(kernel(5, weights)[:, :, :3], 0.6 * kernel(3, weights), rtol=1e-6)
    with pytest.raises(
        ConfigError, match=r"layer 'stem' expects \(3, 3, 3, 4\) and \(4,\), the file has \(3, 3, 4, 4\)"
    ):
        kernel(3, tmp_path)


def test_a_file_that_holds_no_weights_is_refused_with_what_it_should_be(tmp_path: Path) -> None:
    file = tmp_path / "tiny.weights.h5"
    file.write_bytes(b"a page that says 404")
    with pytest.raises(ConfigError, match=r"tiny.weights.h5 do not fit tiny \(.*\). They must be those of this very"):
        plugins.load("models", "tiny_encoder").PLUGIN(encoder_weights=str(file)).build(
            input_shape=(*SIZE, 3), classes=1
        )


def network(*, filters: int = 4, last: str = "out") -> Any:
    import keras

    image = x = keras.Input((8, 8, 3))
    x = keras.layers.ReLU()(keras.layers.Conv2D(filters, 3, name="in")(x))
    return keras.Model(image, keras.layers.BatchNormalization(name=last)(x))


@pytest.mark.parametrize("keras2", [False, True])
def test_the_first_layer_that_differs_is_named_with_both_shapes(tmp_path: Path, keras2: bool) -> None:
    file = tmp_path / "a.weights.h5"
    if keras2:
        save_as_keras2(file, network())
    else:
        network().save_weights(file)
    wider = "layer 'in' expects (3, 3, 3, 5) and (5,), the file has (3, 3, 3, 4) and (4,)"
    assert misfit(file, network(filters=5)) == wider
    assert misfit(file, network(last="end")) == "the file has no layer 'end'"
    assert misfit(file, network()) == ""


def test_layers_that_the_encoder_has_not_are_named_and_foreign_ones_are_not_compared(tmp_path: Path) -> None:
    import keras

    whole = network()
    whole.save_weights(tmp_path / "a.weights.h5")
    part = keras.Model(whole.input, whole.get_layer("in").output)
    assert misfit(tmp_path / "a.weights.h5", part) == "the file has a layer 'out', which the encoder has not"
    image = keras.Input((4,))
    other = keras.Model(image, keras.layers.Dense(3, name="dense_of_its_own")(image))
    assert misfit(tmp_path / "a.weights.h5", other) == ""


def resnet18() -> Any:
    return _sm_compat.segmentation_models_encoder("resnet18", input_shape=(32, 32, 3), weights=None)


def efficientnetb0() -> Any:
    return _sm_compat.efficientnet().EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))


@pytest.mark.parametrize(
    ("family", "encoder", "layer"),
    [(segmentation_models, resnet18, "conv0"), (efficientnet_classifier, efficientnetb0, "stem_conv")],
)
def test_families_of_the_packages_say_which_layer_of_a_file_does_not_fit(tmp_path, family, encoder, layer):
    file, wide = tmp_path / f"{encoder.__name__}_notop.h5", (9, 9, 3, 7)
    save_as_keras2(file, encoder())
    with h5py.File(file, "a") as opened:
        name = opened[layer].attrs["weight_names"][0]
        own = opened[layer][name].shape
        del opened[layer][name]
        opened[layer][name] = np.zeros(wide, np.float32)
    with pytest.raises(ConfigError) as refusal:
        family.PLUGIN(encoder_weights=str(tmp_path)).build(input_shape=(32, 32, 3), classes=1)
    message = str(refusal.value)
    assert f"{file} do not fit {encoder.__name__} (layer '{layer}' expects {own}, the file has {wide})" in message
    assert "learned on 3 bands" in message
