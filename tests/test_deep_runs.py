"""Images of four bands of 16 bits, from files to stored rows and scores: limits of training rows are kept with fits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from skyfold.config.run import RunConfig
from skyfold.data.dataset import open_dataset
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.train import train
from skyfold.store.folds import read_folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_run
from skyfold.tasks import task_class
from skyfold.tasks.open_run import check
from skyfold.training import checkpoint
from skyfold.training.network import Network
from skyfold.workspace import Workspace

pytestmark = pytest.mark.usefixtures("made_up_plugins")
COUNT, NODATA = 12, 60000
RESCALE = {"kind": "percentile", "percentiles": [1, 99]}


def config(**changes):
    image = {"size": [16, 16], "rescale": RESCALE, **changes.pop("image", {})}
    values = {
        "name": "deep",
        "data": {"competition": "deep_bands", "options": {"nodata": NODATA}, "folds": {"k": 2}},
        "image": image,
        "model": {"family": "tiny_net", "options": {"filters": 6}},
        "optimizer": {"learning_rate": 0.03},
        "training": {"epochs": 6, "batch_size": 3},
        "augment": [{"name": "HorizontalFlip"}, {"name": "RandomBrightnessContrast", "p": 0.2}],
        "tta": ["hflip"],
    }
    return RunConfig.model_validate(values | changes)


def images(count, seed):
    """Boxes of 1,130 to 1,190 in every band on 1,030 to 1,090, of which the upper byte is 4 everywhere. The last two
    columns of every second image are undefined."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 16, 16, 1), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, 8, 2)
        mask[top : top + 7, left : left + 7] = 1
    values = rng.integers(1030, 1091, (count, 16, 16, 4), dtype=np.uint16) + 100 * masks.astype(np.uint16)
    values[::2, :, -2:] = NODATA
    return values, masks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep_bands") / "files"
    folder.mkdir()
    values, masks = images(COUNT, 0)
    np.save(folder / "train.npy", values)
    np.save(folder / "masks.npy", masks)
    np.save(folder / "test.npy", images(4, 1)[0])
    return folder


def workspace(files, root):
    place = Workspace(root=root, data_from=files)
    prepare(config().data, place)
    return place


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    place = workspace(files, tmp_path_factory.mktemp("trained"))
    assert train(config(), place).complete
    return place


def folder_of(place):
    return place.run("deep_bands", "deep")


def rows(place):
    run = read_run(folder_of(place), read_folds(place.folds("deep_bands")))
    return {"oof": np.array(run.oof.values), "test": np.array(run.test.values)}


def limits(place, fold):
    return json.loads((folder_of(place) / f"models/fold{fold}_seed0.json").read_text())["rescale"]


def score(place):
    return task_class("segmentation").score_run(folder_of(place), open_dataset(config().data, place))["cv_at_0.5"]


def test_a_run_is_trained_and_scored_on_what_eight_bits_would_lose(trained):
    found = score(trained)
    assert found > 0.8, found


def test_prediction_from_stored_fits_gives_the_same_rows_and_score(trained):
    before, scored = rows(trained), score(trained)
    for part in ("oof", "test"):
        for file in (folder_of(trained) / part).iterdir():
            file.unlink()
    train(config(), trained)
    for part, values in rows(trained).items():
        np.testing.assert_array_equal(values, before[part])
    assert score(trained) == scored


def test_limits_are_those_of_the_training_rows_without_undefined_pixels(trained, files):
    values, fold = np.load(files / "train.npy"), read_folds(trained.folds("deep_bands")).fold
    for number in range(2):
        pixels = values[fold != number].reshape(-1, 4)
        pixels = pixels[(pixels != NODATA).all(axis=1)]
        expected = np.percentile(pixels, (1, 99), axis=0, method="inverted_cdf")
        found = limits(trained, number)
        assert [found["low"], found["high"], found["dtype"]] == [*expected.tolist(), "uint16"]


def test_other_validation_images_leave_the_limits_of_their_fold(trained, files, tmp_path):
    fold = read_folds(trained.folds("deep_bands")).fold
    changed = tmp_path / "files"
    changed.mkdir()
    values = np.load(files / "train.npy")
    values[fold == 0] += 77
    np.save(changed / "train.npy", values)
    for name in ("masks.npy", "test.npy"):
        (changed / name).write_bytes((files / name).read_bytes())
    other = Workspace(root=tmp_path / "root", data_from=changed)
    other.folds("deep_bands").parent.mkdir(parents=True)
    for name in ("folds.csv", "folds.json"):
        other.folds("deep_bands").with_name(name).write_bytes(trained.folds("deep_bands").with_name(name).read_bytes())
    train(config(training={"epochs": 1, "batch_size": 3}), other)
    assert limits(other, 0) == limits(trained, 0)
    assert limits(other, 1) != limits(trained, 1)


def test_a_killed_run_ends_with_the_same_bytes(trained, files, tmp_path, monkeypatch):
    place = workspace(files, tmp_path)
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    for owner, name, calls in ((Network, "train", 3), (RowStore, "write", 1)):
        left, own = [calls], getattr(owner, name)

        def dying(*given, left=left, own=own, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return own(*given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying)
            with pytest.raises(KeyboardInterrupt):
                train(config(), place)
    train(config(), place)
    expected = rows(trained)
    for part, values in rows(place).items():
        np.testing.assert_array_equal(values, expected[part])


def test_undefined_pixels_count_in_no_score(trained):
    """Whatever is predicted there."""
    dataset = open_dataset(config().data, trained)
    valid = np.stack([dataset.train.valid[row] for row in range(COUNT)])
    assert not valid[::2, :, -2:].any()
    assert valid[1::2].all()
    assert valid[::2, :, :-2].all()
    metric, target = dataset.competition.metric, np.asarray(dataset.train.targets)
    pred = rows(trained)["oof"] > 127
    scored = metric.score(metric.stats(target=target, pred=pred, valid=valid))
    assert scored == metric.score(metric.stats(target=target, pred=pred ^ ~valid[..., None], valid=valid))
    assert scored == pytest.approx(score(trained))


def test_deep_images_without_rescale_are_refused_before_anything_is_trained(files, tmp_path):
    place = workspace(files, tmp_path)
    with pytest.raises(ConfigError, match=r"image\.rescale: the images are uint16, not bytes; set it"):
        train(config(image={"rescale": None}), place)
    assert not folder_of(place).exists()
    rule = {"family": "colour_threshold"}
    with pytest.raises(ConfigError, match=r"model\.family: colour_threshold reads bytes, the images are uint16"):
        train(config(image={"rescale": None}, model=rule, tta=[]), place)
    guided = {"guided_filter": {"guide": "brightness"}}
    with pytest.raises(ConfigError, match=r"image\.guided_filter: is guided by bytes, the images are uint16"):
        train(config(image=guided), place)


def test_test_images_of_another_kind_are_refused_before_anything_is_trained(files, tmp_path):
    changed = tmp_path / "files"
    changed.mkdir()
    for name in ("train.npy", "masks.npy"):
        (changed / name).write_bytes((files / name).read_bytes())
    place = Workspace(root=tmp_path / "root", data_from=changed)
    test = np.load(files / "test.npy")
    for other, kind in ((test.astype(np.int16), "int16, 4 bands"), (test[..., :3], "uint16, 3 bands")):
        np.save(changed / "test.npy", other)
        prepare(config().data, place)
        with pytest.raises(DataLayoutError, match=rf"differ \(train: uint16, 4 bands; test: {kind}\)"):
            train(config(), place)
    assert not folder_of(place).exists()


def test_slices_beside_are_further_bands(files, tmp_path):
    place = workspace(files, tmp_path)
    assert train(config(image={"neighbours": 1}, training={"epochs": 1, "batch_size": 3}), place, only_folds=[0]).scores
    assert len(limits(place, 0)["low"]) == 4


def test_keys_at_their_defaults_are_not_in_the_fingerprint():
    plain = config(image={"rescale": None, "neighbours": 0})
    assert plain.hash() == config(image={"rescale": None}).hash()
    hashes = [config(image=image).fit_hash() for image in ({}, {"rescale": None}, {"neighbours": 1})]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"neighbours": 1, "crop": {}}}, "neighbours: not supported with crop"),
        ({"image": {"neighbours": -1}}, "greater than or equal to 0"),
        (
            {"model": {"family": "colour_threshold"}},
            r"image\.rescale is not supported by model family",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises((ValueError, ConfigError), match=message):
        check(config(**changes))
