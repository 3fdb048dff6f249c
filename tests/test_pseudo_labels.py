"""Pseudo-labels: each fold learns from networks that have not seen what it validates, and from no other teacher."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import begin_stored, competition_of, task_of
from skyfold.config.run import RunConfig
from skyfold.config.training import PseudoLabelsConfig
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError, OofMismatch
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training import fold_trainer, run_folds
from skyfold.training.network import Network
from skyfold.training.pseudo_labels import PseudoLabels, find_teacher
from skyfold.types import Split

pytestmark = pytest.mark.usefixtures("tiny_families")
SIZE, N, UNLABELLED = (8, 12), 8, 5
COMPETITION = competition_of(("bright", "dark"))


def config(**changes):
    values = {
        "name": "teacher",
        "data": {"competition": "any"},
        "image": {"size": SIZE},
        "model": {"family": "tiny_net"},
        "training": {"epochs": 1, "batch_size": 4},
    }
    return RunConfig.model_validate({**values, **changes})


def student(**pseudo_labels):
    return config(name="student", pseudo_labels={"run": "teacher", **pseudo_labels})


def images(count, seed=0):
    inputs = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] < 60, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    return TrainingArrays(np.array([f"{seed}_{i}" for i in range(count)]), inputs, targets, checksum=f"images {seed}")


def folds(turned=0):
    return Folds(ids=images(N).ids, fold=(np.arange(N) + turned) % 2, groups=np.arange(N))


def test_a_pixel_counts_where_the_teacher_is_sure_of_every_class():
    # Levels of two classes: (255, 0) and (230, 25) are sure of both (230 / 255 = 0.902, 25 / 255 = 0.098), (229, 0) is
    # not sure of the first (0.898), (0, 26) not of the second (0.102), (0, 0) is sure that there is nothing.
    probabilities = np.array([[[255, 0], [230, 25], [229, 0], [0, 26], [0, 0]]], np.uint8)[np.newaxis]
    inputs = np.full((1, 1, 5, 3), 7, np.uint8)
    labels = PseudoLabels(PseudoLabelsConfig(run="teacher"), inputs, {1: probabilities})
    own = TrainingArrays(np.arange(4).astype(str), *np.zeros((2, 4, 1, 5, 3), np.uint8))
    rows, split = labels.added_to(own, Split(train=np.array([1, 3]), valid=np.array([0, 2])), fold=1)
    assert split.train.tolist() == [1, 3, 4]
    assert split.valid.tolist() == [0, 2]
    np.testing.assert_array_equal(rows.inputs[3], own.inputs[3])
    np.testing.assert_array_equal(rows.targets[3], own.targets[3])
    np.testing.assert_array_equal(rows.inputs[4], inputs[0])
    assert rows.targets[4].dtype == np.uint8
    np.testing.assert_array_equal(rows.targets[4][0], [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert len(rows.inputs) == len(rows.targets) == 5


def begin(runs, *, kind="run", task="segmentation", of=None, turned=0):
    begin_stored(runs / "teacher", folds(turned), COMPETITION.classes, config=of or config(), kind=kind, task=task)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"turned": 1}, "'teacher' on .* was trained with other folds .* rows that 'student' validates"),
        ({"kind": "blend"}, "'teacher' on .* is a blend and has no weights of its own"),
        ({"task": "classification"}, "task: classification, 'student' task: segmentation"),
        ({"of": config(pseudo_labels={"run": "first"})}, "on pseudo-labels itself. Name .* made them, 'first'"),
        ({"of": config(image={"size": (8, 16)})}, r"has image.size \(8, 16\), 'student' \(8, 12\)"),
        ({"of": config(classes=("ice",))}, "learned ice, 'student' learns all classes"),
        ({}, "has not finished fold 0 with seed 0"),
    ],
)
def test_a_teacher_that_will_not_do_is_refused_by_name(tmp_path, teacher, message):
    begin(tmp_path, **teacher)
    with pytest.raises(ConfigError, match=message):
        find_teacher(student(), tmp_path, folds(), images(UNLABELLED, seed=1))


def test_without_a_teacher_or_images_there_are_no_labels(tmp_path):
    with pytest.raises(OofMismatch, match="no run here"):
        find_teacher(student(), tmp_path, folds(), images(UNLABELLED, seed=1))
    begin(tmp_path)
    with pytest.raises(ConfigError, match="has no test images to label"):
        find_teacher(student(), tmp_path, folds(), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pseudo_labels": {"run": "teacher"}}, "cannot be its own teacher"),
        ({"pseudo_labels": {"run": "first"}, "task": "classification"}, "pseudo_labels: not supported by task"),
        ({"pseudo_labels": {"run": "first", "low": 0.6, "high": 0.5}}, "low must be below high"),
    ],
)
def test_configs_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_each_fold_learns_from_networks_that_have_not_seen_what_it_validates(tmp_path, monkeypatch):
    learned = {}
    fit_fold = fold_trainer.fit_fold

    def watched(network, *, arrays, split, fold, **options):
        learned[network.config.name, fold] = np.array([arrays.targets[row] for row in split.train]), split
        return fit_fold(network, arrays=arrays, split=split, fold=fold, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)

    def run(of, unlabelled=1, **options):
        test = images(UNLABELLED, seed=unlabelled)
        return run_folds.run_folds(build_task(of, COMPETITION), images(N), test, folds(), tmp_path / of.name, **options)

    run(config())
    trainable_rows = student(low=0.4999, high=0.5)  # all pixels count but those in between
    assert run(trainable_rows).complete
    network = Network(task_of(config(training={"epochs": 1, "batch_size": UNLABELLED})), input_shape=(*SIZE, 3))
    for fold in (0, 1):
        network.model.load_weights(tmp_path / f"teacher/models/fold{fold}_seed0.weights.h5")
        logits = network.logits(images(UNLABELLED, seed=1).inputs / np.float32(255))
        targets, split = learned["student", fold]
        own = folds().split(fold)
        assert split.valid.tolist() == own.valid.tolist()
        assert split.train.tolist() == [*own.train.tolist(), *range(N, N + UNLABELLED)]
        np.testing.assert_array_equal(targets[: len(own.train)], images(N).targets[own.train])
        assert (targets[len(own.train) :, ..., :-1] == (logits > 0)).mean() > 0.98  # stored as bytes
    kept = {fold: RowStore.open(tmp_path / f"teacher/pseudo_labels/fold{fold}").values for fold in (0, 1)}
    assert (kept[0] != kept[1]).any()

    teacher = read_info(tmp_path / "teacher").fingerprint.digest()
    assert read_info(tmp_path / "student").fingerprint.pseudo_labels == f"teacher {teacher} images 1"
    learned.clear()
    run(trainable_rows)
    assert not learned  # what is finished is not done again
    with pytest.raises(OofMismatch, match=r"this run was begun with other pseudo-labels.*--restart"):
        run(trainable_rows, unlabelled=2)
    run(trainable_rows, unlabelled=2, restart=True)
    assert set(learned) == {("student", 0), ("student", 1)}
