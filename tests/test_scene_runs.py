"""A run on big scenes learns from crops, predicts by tiles, and is the same whether it is killed or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from conftest import after
from skyfold import plugins
from skyfold.config.run import RunConfig
from skyfold.data import crops
from skyfold.data import scene_arrays as scenes_of_run
from skyfold.data.images import read_image, resize
from skyfold.data.windows import open_windows
from skyfold.errors import ConfigError
from skyfold.pipeline import train
from skyfold.pipeline.prepare import prepare
from skyfold.store.folds import read_folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_run
from skyfold.tasks.open_run import check
from skyfold.training import checkpoint
from skyfold.training.network import Network
from skyfold.training.predict import sigmoid
from skyfold.tuning.search_space import load_study
from skyfold.workspace import Workspace

pytestmark = pytest.mark.usefixtures("tiny_families")
GRID = (20, 24)
RULE = {"family": "colour_threshold", "options": {"feature": "brightness"}}
DATA = {
    "competition": "cloud_cover",
    "options": {"grid": GRID},
    "folds": {"k": 2, "phash_max_distance": -1},
    "sample": {"train": 5, "validation": 1, "test": 2, "side": 80},
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A workspace with folds; the files of the sample lie in its folder `files`."""
    root = tmp_path_factory.mktemp("scenes")
    prepare(config().data, Workspace(root=root, data_from=root / "files"), sample=True)
    return root


@pytest.fixture(scope="module")
def undisturbed(sample, tiny_families, tmp_path_factory):
    place = workspace(sample, tmp_path_factory.mktemp("undisturbed"))
    assert train.train(config(), place).complete
    return place


def config(**changes):
    values = {
        "name": "tiny",
        "data": DATA,
        "image": {"crop": {"crops_per_image": 3, "scales": [0.7, 1.4]}},
        "model": {"family": "tiny_net", "options": {"filters": 8}},
        "optimizer": {"learning_rate": 0.02},
        "training": {"epochs": 3, "batch_size": 4, "ema": 0.5},
        "augment": [{"name": "HorizontalFlip", "p": 0.5}],
        "tta": ["hflip"],
    }
    values |= changes
    values["image"] = {"size": [32, 32], **values["image"]}
    return RunConfig.model_validate(values)


def workspace(sample, root):
    """One of its own, with the folds of the sample."""
    (root / "oof/cloud_cover").mkdir(parents=True)
    (root / "oof/cloud_cover/folds.csv").write_bytes((sample / "oof/cloud_cover/folds.csv").read_bytes())
    return Workspace(root=root, data_from=sample / "files")


def stored(place):
    run = read_run(place.run("cloud_cover", "tiny"), read_folds(place.folds("cloud_cover")))
    assert run.test is not None
    return {"oof": np.array(run.oof.values), "test": np.array(run.test.values)}


def test_a_run_on_crops_killed_and_gone_on_with_ends_with_the_same_bytes(sample, undisturbed, tmp_path, monkeypatch):
    disturbed = workspace(sample, tmp_path / "disturbed")
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    # While scenes are decoded; in the second epoch of the first fold; between the second and third of its scenes.
    moments = [(scenes_of_run, "open_windows", 1), (Network, "train", 5), (RowStore, "write", 2)]
    for owner, name, calls in moments:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, after(calls, getattr(owner, name)))
            with pytest.raises(KeyboardInterrupt):
                train.train(config(), disturbed)
    train.train(config(), disturbed)
    expected = stored(undisturbed)
    for part, values in stored(disturbed).items():
        np.testing.assert_array_equal(values, expected[part])


def test_what_is_stored_of_a_scene_is_what_its_network_says_of_it_as_a_whole(sample, undisturbed):
    """A network of 3 x 3 pixels differs from itself on the whole scene along the borders of tiles alone."""
    import keras

    folds = read_folds(undisturbed.folds("cloud_cover"))
    values = stored(undisturbed)["oof"] / np.float32(255)
    assert values.shape == (6, *GRID, 4)
    row = int(np.flatnonzero(folds.fold == 1)[0])
    image = read_image(next((sample / "files/images").rglob(f"{folds.ids[row]}.png"))).astype(np.float32) / 255
    network = plugins.load("models", "tiny_net").PLUGIN(filters=8).build(input_shape=image.shape, classes=4)
    network.load_weights(undisturbed.run("cloud_cover", "tiny") / "models" / "fold1_seed0.weights.h5")
    views = [image, image[:, ::-1]]
    first, second = (sigmoid(keras.ops.convert_to_numpy(network(view[np.newaxis]))[0]) for view in views)
    whole = resize((first + second[:, ::-1]) / 2, GRID)
    assert np.abs(values[row] - whole).max() < 0.03
    assert np.abs(values[row] - whole).mean() < 0.004  # half a level is 0.002
    assert whole.std() > 0.1  # the network has more than one thing to say


def test_tiles_are_predicted_without_the_initial_weights_of_the_network(sample, tmp_path):
    place, file = workspace(sample, tmp_path / "place"), tmp_path / "tiny.weights.h5"
    plugins.load("models", "tiny_encoder").encoder(3).save_weights(file)
    model = {"family": "tiny_encoder", "options": {"encoder_weights": str(file)}}
    training = {"epochs": 1, "batch_size": 4}
    of_file = config(model=model, training=training, image={"size": [16, 24], "crop": {"crops_per_image": 2}})
    train.train(of_file, place)
    before = stored(place)
    file.unlink()
    for part in ("oof", "test"):
        (place.run("cloud_cover", "tiny") / part / "rows.json").unlink()
    train.train(of_file, place)
    for part, values in stored(place).items():
        np.testing.assert_array_equal(values, before[part])


def test_limits_of_deep_scenes_are_those_of_the_training_scenes_and_serve_their_tiles(sample, tmp_path, monkeypatch):
    """The scenes in 16 bits, as 257 times their bytes in tiled TIFFs, are predicted as their bytes are."""
    folds = read_folds(workspace(sample, tmp_path / "bytes").folds("cloud_cover"))
    stored = {}
    for kind in ("bytes", "words"):
        place = Workspace(root=tmp_path / kind, data_from=sample / "files")
        if kind == "words":
            workspace(sample, place.root)
            monkeypatch.setattr(scenes_of_run, "open_windows", as_words)
            monkeypatch.setattr(crops, "open_windows", as_words)
        image = {"crop": {"crops_per_image": 3}, "rescale": {"kind": "minmax", "per": "all"}}
        training = {"epochs": 1, "batch_size": 4}
        train.train(config(image=image, training=training), place, only_folds=[0])
        folder = place.run("cloud_cover", "tiny")
        limits = json.loads((folder / "models/fold0_seed0.json").read_text())["rescale"]
        names = folds.ids[folds.fold != 0]
        pixels = [read_image(next((sample / "files/images").rglob(f"{name}.png"))) for name in names]
        scale = 257 if kind == "words" else 1
        expected = [scale * int(min(map(np.min, pixels))), scale * int(max(map(np.max, pixels)))]
        assert [*limits["low"], *limits["high"]] == expected
        assert limits["dtype"] == ("uint16" if kind == "words" else "uint8")
        stored[kind] = np.array(RowStore.open(folder / "oof").values[folds.fold == 0]).astype(int)
    assert np.abs(stored["words"] - stored["bytes"]).max() <= 1
    assert stored["bytes"].std() > 1


def as_words(path, *, cache, bands=3):
    """A scene as a tiled TIFF of 16 bits."""
    deep = cache / f"{path.stem}.tif"
    deep.parent.mkdir(parents=True, exist_ok=True)
    image = read_image(path).astype(np.uint16) * 257
    tifffile.imwrite(deep, image, photometric="rgb", tile=(32, 32), compression="zlib")
    return open_windows(deep, cache=cache, bands=bands)


def test_another_overlap_predicts_anew_with_the_same_weights():
    half, quarter, more = (
        config(image={"crop": crop}) for crop in ({"overlap": 0.5}, {"overlap": 0.25}, {"crops_per_image": 5})
    )
    assert half.fit_hash() == quarter.fit_hash() != more.fit_hash()
    assert half.hash() != quarter.hash()
    whole = config(image={})
    assert config(image={"crop": None}).hash() == whole.hash()
    assert config(image={"crop": {}}).fit_hash() != whole.fit_hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"crop": {"scales": [2, 1]}}}, "scales"),
        ({"image": {"crop": {"scales": [0, 1]}}}, "scales.*\n.*greater than 0"),
        ({"image": {"crop": {"overlap": 0.6}}}, "less than or equal to 0.5"),
        ({"image": {"crop": {}, "guided_filter": {"guide": "brightness"}}}, "guided_filter: not supported with crop"),
        ({"task": "classification"}, r"image\.crop: not supported by task: classification"),
        ({"pseudo_labels": {"run": "other"}}, r"remove pseudo_labels or image\.crop"),
        ({"model": RULE}, r"image\.crop: not supported by model\.family colour_threshold"),
    ],
)
def test_wrong_crops_and_what_does_not_read_crops_are_refused(changes, message):
    with pytest.raises((ValueError, ConfigError), match=message):
        check(config(**changes))


def test_how_crops_are_drawn_can_be_searched_and_how_tiles_overlap_cannot(tmp_path):
    """Trials are compared by validation on crops, which do not overlap."""

    for key in ("class_balanced_fraction", "overlap"):
        study = f"name: crops\nbase: run.yaml\nsearch:\n  image.crop.{key}: {{kind: float, low: 0, high: 0.5}}\n"
        (tmp_path / f"{key}.yaml").write_text(study)
    load_study(tmp_path / "class_balanced_fraction.yaml")
    with pytest.raises(ConfigError, match=r"'image\.crop\.overlap' cannot be set here: validation"):
        load_study(tmp_path / "overlap.yaml")
