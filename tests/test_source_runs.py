"""Runs that use another run: its weights to start from, or its predictions as pseudo-labels; what would leak."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import assert_arrays_equal, begin_stored, competition_of, store_rows, task_of
from skyfold.config.run import RunConfig
from skyfold.config.training import PseudoLabelsConfig
from skyfold.data.cache import TrainingArrays
from skyfold.data.neighbours import NeighbourBands
from skyfold.errors import ConfigError, MissingWeights, OofMismatch
from skyfold.files import read_json
from skyfold.store.fits import FitFiles, summary_of_fits
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training import fold_trainer, run_folds
from skyfold.training.init_weights import find_init_weights
from skyfold.training.network import Network
from skyfold.training.pseudo_labels import PseudoLabels, find_teacher
from skyfold.types import Split

pytestmark = pytest.mark.usefixtures("tiny_families")
SIZE, N, UNLABELLED, CLASSES = (8, 12), 8, 5, ("bright", "dark")
FIRST = {"run": "first", "data": "light"}


def config(name, data="light", *, init_from=None, **changes):
    values = {
        "name": name,
        "data": {"competition": "any", "name": data},
        "image": {"size": SIZE},
        # run.json sorts its keys: a run is found although it wrote its options in another order.
        "model": {"family": "tiny_net", "options": {"filters": 3, "dropout": 0.2}, "init_from": init_from},
        "training": {"epochs": 1, "batch_size": 4, "seeds": [0, 1]},
    }
    return RunConfig.model_validate({**values, **changes})


def images(seed=0, count=N):
    inputs = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] < 60, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    return TrainingArrays(np.array([f"{i}" for i in range(count)]), inputs, targets, checksum=f"images {seed}")


def folds(turned=0):
    return Folds(ids=images().ids, fold=(np.arange(N) + turned) % 2, groups=np.arange(N))


def train(root, config, *, arrays=None, test=None, restart=False):
    folder = root / config.data.folder / config.name
    task = build_task(config, competition_of(CLASSES, SIZE))
    assert run_folds.run_folds(task, arrays or images(), test, folds(), folder, restart=restart).complete
    return folder


def network_of(config, *, classes=CLASSES, bands=3):
    return Network(task_of(config, classes=classes), input_shape=(*SIZE, bands))


def stored(network, path):
    network.model.load_weights(path)
    return network.weights()


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_families):
    """A run `first` on the data set `light`, and one begun on `dark` that starts from it."""
    root = tmp_path_factory.mktemp("oof")
    train(root, config("first"))
    begin_stored(root / "dark/second", folds(), CLASSES, config=config("second", "dark", init_from=FIRST))
    return root


def init_weights(config, root, checksum="", *, turned=0):
    return find_init_weights(task_of(config), root, folds(turned), checksum)


def test_on_the_same_folds_each_fold_starts_from_its_own_and_elsewhere_from_the_first(root):
    network = network_of(config("any"))
    for data, fold, expected in [("light", 1, "fold1"), ("light", 0, "fold0"), ("grey", 1, "fold0")]:
        start = init_weights(config("third", data, init_from=FIRST), root, f"images of {data}")
        expected_weights = stored(network, root / f"light/first/models/{expected}_seed1.weights.h5")
        assert_arrays_equal(start.load(network, fold=fold, seed=1), expected_weights)
    of_all = init_weights(config("third", init_from={"run": "first"}), root).load(network, fold="full", seed=1)
    assert_arrays_equal(of_all, stored(network, root / "light/first/models/fold0_seed1.weights.h5"))
    fits = init_weights(config("third", "grey", init_from=FIRST, training={"seeds": [1, 7]}), root).fits
    names = {(0, 1): "fold0_seed1.weights.h5", (0, 7): "fold0_seed0.weights.h5"}
    assert {at: fit.weights.name for at, fit in fits.items()} == names


def test_a_run_begins_with_the_weights_records_what_they_were_and_without_an_epoch_keeps_them(root):
    """The score of a network on data that it has not seen: fold 0's, since the data are others."""
    given = config("untouched", "dark", init_from=FIRST, training={"epochs": 0, "seeds": [0, 1]})
    folder = train(root, given, arrays=images(1))
    network = network_of(config("any"))
    paths = [root / f"light/first/models/fold0_seed{seed}.weights.h5" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        before = stored(network, path)
        for fold in (0, 1):
            about = read_json(folder / f"models/fold{fold}_seed{seed}.json")
            assert (about["epochs"], about["best_epoch"]) == (0, 0)
            assert 0 <= about["score"] <= 1
            assert_arrays_equal(stored(network, folder / f"models/fold{fold}_seed{seed}.weights.h5"), before)
    recorded = read_info(folder).fingerprint.init_weights
    assert recorded == " ".join(f"{p.name}:{hashlib.sha256(p.read_bytes()).hexdigest()}" for p in paths)
    fits = summary_of_fits(folder / "models", folds=folds())
    assert (fits.val_loss, fits.fits) == (None, 4)


def test_a_finished_run_predicts_without_the_run_it_started_from(tmp_path, capsys):
    one_seed = {"epochs": 1, "batch_size": 4}
    first = train(tmp_path, config("first", training=one_seed))
    tuned = config("tuned", "dark", init_from=FIRST, training=one_seed)
    folder = train(tmp_path, tuned, arrays=images(1))
    before = np.array(RowStore.open(folder / "oof").values)
    first.rename(tmp_path / "moved")
    shutil.rmtree(folder / "oof")
    train(tmp_path, tuned, arrays=images(1))
    np.testing.assert_array_equal(RowStore.open(folder / "oof").values, before)
    assert f"run 'tuned': whether its initial weights changed since is not known. {first}: no run here" in (
        capsys.readouterr().err
    )
    with pytest.raises(OofMismatch, match="first: no run here"):
        train(tmp_path, tuned, arrays=images(1), restart=True)
    (tmp_path / "moved").rename(first)
    (first / "models/fold0_seed0.weights.h5").unlink()
    train(tmp_path, tuned, arrays=images(1))
    (folder / "models/fold1_seed0.weights.h5").unlink()
    with pytest.raises(MissingWeights, match="has not finished fold 0 with seed 0"):
        train(tmp_path, tuned, arrays=images(1))


def test_a_run_whose_source_has_another_name_now_is_the_same_run(tmp_path):
    one_seed = {"epochs": 1, "batch_size": 4}
    train(tmp_path, config("first", training=one_seed))
    folder = train(tmp_path, config("tuned", "dark", init_from=FIRST, training=one_seed), arrays=images(1))
    fit = folder / "models/fold1_seed0.weights.h5"
    before = fit.stat()
    (tmp_path / "light").rename(tmp_path / "renamed")
    renamed = {"run": "first", "data": "renamed"}
    train(tmp_path, config("tuned", "dark", init_from=renamed, training=one_seed), arrays=images(1))
    assert fit.stat() == before
    assert read_info(folder).config["model"]["init_from"] == renamed


def test_other_classes_leave_the_last_layer_as_it_is(root):
    network = network_of(config("any", "dark"), classes=("a",))
    network.restart(seed=5)
    fresh = network.weights()
    found = init_weights(config("third", "dark", init_from=FIRST), root).load(network, fold=0, seed=0)
    of_head = [weight.shape[-1] == 1 for weight in found]
    assert [np.array_equal(one, two) for one, two in zip(found, fresh, strict=True)] == of_head
    assert sum(of_head) == 2


def test_weights_that_do_not_fit_are_refused(root):
    start = init_weights(config("third", "dark", init_from=FIRST), root)
    wide = config("third", "dark", model={"family": "tiny_net", "options": {"filters": 5}})
    with pytest.raises(ConfigError, match=r"kernel is of shape \(3, 3, 3, 3\), this network's of \(3, 3, 3, 5\)"):
        start.load(network_of(wide), fold=0, seed=0)
    with pytest.raises(ConfigError, match="do not fit images of 4 bands"):
        start.load(network_of(config("third", "dark"), bands=4), fold=0, seed=0)
    given = config("x", "dark", init_from=FIRST, image={"size": SIZE, "normalization": "tf"})
    with pytest.raises(ConfigError, match=r"normalized as unit, not tf\. Set image.normalization: unit"):
        init_weights(given, root)
    given = config("x", "dark", init_from=FIRST, image={"size": SIZE, "rescale": {"kind": "minmax", "per": "all"}})
    with pytest.raises(ConfigError, match=r"has image\.rescale None, this run \{'kind': 'minmax', 'per': 'all'\}"):
        init_weights(given, root)


def test_runs_that_saw_the_validated_rows_are_missing_or_not_finished_are_refused(root):
    for data in ("light", "renamed"):  # the same images by another name
        init_weights(config("third", data, init_from=FIRST), root, "images 0")
        with pytest.raises(ConfigError, match="with other folds"):
            init_weights(config("third", data, init_from=FIRST), root, "images 0", turned=1)
    with pytest.raises(ConfigError, match=r"'first' was trained on light .* or by way of other data"):
        init_weights(config("third", init_from={"run": "second", "data": "dark"}), root, "images 0")
    with pytest.raises(OofMismatch, match="none"):
        init_weights(config("third", "dark", init_from={"run": "none", "data": "light"}), root)
    unfinished = FitFiles(root / "light/first/models", 1, 0).weights
    hidden = unfinished.rename(unfinished.with_suffix(".hidden"))
    with pytest.raises(ConfigError, match=r"has not finished fold 1 with seed 0\. Train it first"):
        init_weights(config("third", init_from={"run": "first"}), root, "images 0")
    hidden.rename(unfinished)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epochs": 0}}, "epochs: 0 leaves a network as it began"),
        ({"init_from": {"run": "own"}}, "cannot start from itself"),
        ({"pseudo_labels": {"run": "own"}}, "cannot be its own teacher"),
        ({"pseudo_labels": {"run": "first"}, "task": "classification"}, "pseudo_labels: not supported by task"),
        ({"pseudo_labels": {"run": "first", "low": 0.6, "high": 0.5}}, "low must be below high"),
    ],
)
def test_configs_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config("own", **changes)


def test_a_pixel_counts_where_the_teacher_is_sure_of_every_class():
    # Levels of two classes: (255, 0) and (230, 25) are sure of both (230 / 255 = 0.902, 25 / 255 = 0.098), (229, 0) is
    # not sure of the first (0.898), (0, 26) not of the second (0.102), (0, 0) is sure that there is nothing.
    probabilities = np.array([[[255, 0], [230, 25], [229, 0], [0, 26], [0, 0]]], np.uint8)[np.newaxis]
    inputs = np.full((1, 1, 5, 3), 7, np.uint8)
    defined = np.ones((1, 1, 5), bool)
    images = TrainingArrays(np.array(["t"]), inputs, None, defined=defined)
    labels = PseudoLabels(PseudoLabelsConfig(run="teacher"), images, {1: probabilities})
    own = TrainingArrays(np.arange(4).astype(str), *np.zeros((2, 4, 1, 5, 3), np.uint8))
    rows, split = labels.added_to(own, Split(train=np.array([1, 3]), valid=np.array([0, 2])), fold=1)
    assert (split.train.tolist(), split.valid.tolist()) == ([1, 3, 4], [0, 2])
    assert_arrays_equal((rows.inputs[3], rows.targets[3]), (own.inputs[3], own.targets[3]))
    np.testing.assert_array_equal(rows.inputs[4], inputs[0])
    assert rows.targets[4].dtype == np.uint8
    np.testing.assert_array_equal(rows.targets[4][0], [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert len(rows.inputs) == len(rows.targets) == 5
    other = np.full_like(probabilities, 255)
    both = PseudoLabels(PseudoLabelsConfig(run="teacher"), images, {0: probabilities, 1: other})
    rows, _ = both.added_to(own, split, fold="full")  # the mean of 255 and 255, 0 and 255 and so on
    np.testing.assert_array_equal(rows.targets[4][0, :, 0], [1, 1, 1, 0, 0])
    rows, _ = labels.added_to(own, split, fold=1)
    defined[0, 0, 1] = False  # nothing was measured there, whatever the teacher says
    assert rows.targets[4][0, :, 2].tolist() == [1, 0, 0, 0, 1]


def student(**pseudo_labels):
    return config("student", pseudo_labels={"run": "teacher", **pseudo_labels}, training={"epochs": 1, "batch_size": 4})


def teacher_of(learner, runs, images, *, turned=0):
    return find_teacher(task_of(learner, classes=CLASSES), runs, folds(turned), images)


def begin(runs, *, kind="run", task="segmentation", of=None, turned=0, classes=CLASSES):
    begin_stored(runs / "teacher", folds(turned), classes, config=of or config("teacher"), kind=kind, task=task)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"turned": 1}, "'teacher' on .* was trained with other folds .* rows that 'student' validates"),
        ({"kind": "blend"}, "'teacher' on .* is a blend and has no weights of its own"),
        ({"task": "classification"}, "task: classification, 'student' task: segmentation"),
        ({"of": config("teacher", pseudo_labels={"run": "a"})}, "itself. Name the run that made them, 'a'"),
        (
            {"of": config("teacher", image={"size": SIZE, "neighbours": 1})},
            r"has image.neighbours 1, 'student' 0\. Set both alike",
        ),
        ({"of": config("teacher", image={"size": (8, 16)})}, r"has image.size \(8, 16\), 'student' \(8, 12\)"),
        ({"classes": CLASSES[::-1]}, "learned dark, bright, 'student' learns bright, dark"),
        ({}, "has not finished fold 0 with seed 0"),
    ],
)
def test_a_teacher_that_cannot_be_used_is_refused(tmp_path, teacher, message):
    begin(tmp_path, **teacher)
    with pytest.raises(ConfigError, match=message):
        teacher_of(student(), tmp_path, images(2, UNLABELLED))


IMPORTED = config("teacher", model={"family": "imported"}, image=None)


def begin_imported(runs, maps=()):
    info = begin_stored(runs / "teacher", folds(), CLASSES, config=IMPORTED, kind="imported")
    for fold, values in enumerate(maps):
        store_rows(runs / "teacher", info, f"test_folds/fold{fold}", images(2, UNLABELLED).ids, values)


def test_an_imported_run_labels_images_but_gives_no_weights(tmp_path):
    begin_imported(tmp_path)
    with pytest.raises(ConfigError, match=r"'teacher' on .* was imported and has no weights of its own"):
        init_weights(config("x", tmp_path.name, init_from={"run": "teacher"}), tmp_path.parent)
    with pytest.raises(ConfigError, match=r"imported without its folds, or with one file .* that 'student' validates"):
        teacher_of(student(), tmp_path, images(2, UNLABELLED))
    begin_imported(tmp_path, np.zeros((2, UNLABELLED, *SIZE, 2), np.uint8))
    teacher_of(student(), tmp_path, images(2, UNLABELLED))
    with pytest.raises(OofMismatch, match=r"'5' is not in run 'teacher'\. Import the run again"):
        teacher_of(student(), tmp_path, images(2, UNLABELLED + 1))
    with pytest.raises(ConfigError, match=r"was trained with other folds .*\. Import it again"):
        teacher_of(student(), tmp_path, images(2, UNLABELLED), turned=1)
    with pytest.raises(ConfigError, match="learned bright, dark, 'student' learns dark"):
        teacher_of(student().model_copy(update={"classes": ("dark",)}), tmp_path, images(2, UNLABELLED))


def test_imported_maps_label_images_with_their_neighbours(tmp_path):
    """Of several classes, on another grid: each pixel of the student is the mean of four."""
    rng, classes = np.random.default_rng(1), 6
    small = rng.integers(0, 256, (2, UNLABELLED, *SIZE, classes), dtype=np.uint8)
    info = begin_stored(tmp_path / "teacher", folds(), "abcdef", config=IMPORTED, kind="imported")
    for fold, values in enumerate(small.repeat(2, axis=2).repeat(2, axis=3)):
        store_rows(tmp_path / "teacher", info, f"test_folds/fold{fold}", images(2, UNLABELLED).ids, values)
    unlabelled = images(2, UNLABELLED)
    bands = NeighbourBands(unlabelled.inputs, np.arange(UNLABELLED)[:, None].clip(1, 3) + np.arange(-1, 2))
    unlabelled = replace(unlabelled, inputs=bands, targets=None)
    learner = config("student", pseudo_labels={"run": "teacher"}, image={"size": SIZE, "neighbours": 1})
    task = task_of(learner, classes="abcdef")
    labels = find_teacher(task, tmp_path, folds(), unlabelled).labels(task)
    for fold in (0, 1):
        found = np.stack([labels.probabilities[fold][i] for i in range(UNLABELLED)])
        np.testing.assert_array_equal(found, small[fold])
    own = TrainingArrays(images().ids, np.zeros((N, *SIZE, 9), np.uint8), np.zeros((N, *SIZE, 7), np.uint8))
    rows, split = labels.added_to(own, folds().split(1), fold=1)
    np.testing.assert_array_equal(rows.inputs[split.train[-1]], bands[UNLABELLED - 1])
    np.testing.assert_array_equal(rows.targets[split.train[-1]][..., :-1], small[1][-1] / np.float32(255) >= 0.9)


def test_without_a_teacher_or_images_there_are_no_labels(tmp_path):
    with pytest.raises(OofMismatch, match="no run here"):
        teacher_of(student(), tmp_path, images(2, UNLABELLED))
    begin(tmp_path)
    with pytest.raises(ConfigError, match="has no test images to label"):
        teacher_of(student(), tmp_path, None)


def test_each_fold_learns_from_networks_that_have_not_seen_what_it_validates(tmp_path, monkeypatch):
    learned = {}
    fit_fold = fold_trainer.fit_fold

    def watched(network, *, arrays, split, fold, **options):
        learned[network.config.name, fold] = np.array([arrays.targets[row] for row in split.train]), split
        return fit_fold(network, arrays=arrays, split=split, fold=fold, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)
    unlabelled = images(2, UNLABELLED)
    teacher = train(tmp_path, config("teacher", training={"epochs": 1, "batch_size": UNLABELLED}), test=unlabelled)
    half_sure = student(low=0.4999, high=0.5)  # all pixels count but those in between
    folder = train(tmp_path, half_sure, test=unlabelled)
    network = network_of(config("any", training={"batch_size": UNLABELLED}))
    for fold in (0, 1):
        network.model.load_weights(teacher / f"models/fold{fold}_seed0.weights.h5")
        logits = network.logits(unlabelled.inputs / np.float32(255))
        targets, split = learned["student", fold]
        own = folds().split(fold)
        assert split.valid.tolist() == own.valid.tolist()
        assert split.train.tolist() == [*own.train.tolist(), *range(N, N + UNLABELLED)]
        np.testing.assert_array_equal(targets[: len(own.train)], images().targets[own.train])
        assert (targets[len(own.train) :, ..., :-1] == (logits > 0)).mean() > 0.98  # stored as bytes
    kept = [RowStore.open(teacher / f"pseudo_labels/fold{fold}").values for fold in (0, 1)]
    assert (kept[0] != kept[1]).any()
    digest = read_info(teacher).fingerprint.digest()
    assert read_info(folder).fingerprint.pseudo_labels == f"teacher {digest} images 2"
    learned.clear()
    train(tmp_path, half_sure, test=unlabelled)
    assert not learned  # what is finished is not done again
    with pytest.raises(OofMismatch, match=r"this run was begun with other pseudo-labels.*--restart"):
        train(tmp_path, half_sure, test=images(3, UNLABELLED))
    train(tmp_path, half_sure, test=images(3, UNLABELLED), restart=True)
    assert set(learned) == {("student", 0), ("student", 1)}
