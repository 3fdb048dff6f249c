"""Fitting folds: it learns, stops early, goes on exactly where it was, and stores what it predicts."""

from __future__ import annotations

import csv
import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import assert_arrays_equal, competition_of, task_of
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import read_json
from skyfold.metrics.segmentation import MeanDice, MeanIoU
from skyfold.postprocess.guided_filter import guided_filter
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.tasks import build_task
from skyfold.tasks.open_run import check
from skyfold.tasks.segmentation import MaskScore
from skyfold.training import checkpoint, weight_averaging
from skyfold.training.bagging import bootstrapped
from skyfold.training.checkpoint import Checkpoint, CheckpointFile
from skyfold.training.fit_fold import fit_fold
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.training.input_normalization import normalization_of
from skyfold.training.network import Network
from skyfold.training.run_folds import run_folds
from skyfold.types import Split

SIZE, N = (16, 24), 24
pytestmark = pytest.mark.usefixtures("tiny_families")


@pytest.fixture(autouse=True)
def _checkpoint_after_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)


def make_config(**changes):
    values = {
        "name": "tiny",
        "data": {"competition": "any"},
        "image": {"size": SIZE},
        "model": {"family": "tiny_net"},
        "optimizer": {"learning_rate": 0.01},
        "training": {"epochs": 4, "batch_size": 8},
        "augment": [{"name": "HorizontalFlip", "p": 0.5}],
    }
    return RunConfig.model_validate({**values, **changes})


def make_arrays(count=N):
    """Bright rectangles on noise are class 0; class 1, dark spots, is there in every second image."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(90, 130, (count, *SIZE, 3), dtype=np.uint8)
    targets = np.zeros((count, *SIZE, 3), np.uint8)
    targets[..., 2] = 1
    for i in range(count):
        top, left = rng.integers(0, 8), rng.integers(0, 12)
        inputs[i, top : top + 8, left : left + 8] += 90
        targets[i, top : top + 8, left : left + 8, 0] = 1
        if i % 2:
            inputs[i, -4:, -6:] -= 80
            targets[i, -4:, -6:, :2] = 0, 1
    return TrainingArrays(np.array([f"{i:02d}.png" for i in range(count)]), inputs, targets)


OWN = Fingerprint(fit="s")
MIXED = Split(train=np.arange(0, 16), valid=np.arange(16, N))


def network_of(config):
    return Network(task_of(config), input_shape=(*SIZE, 3))


def fit(config, folder, *, network=None, fold=0, arrays=None, on_epoch=None):
    network, arrays = network or network_of(config), arrays or make_arrays()
    own = {"folder": folder, "fold": fold, "seed": 0, "fingerprint": OWN}
    return fit_fold(network, arrays=arrays, split=MIXED, on_epoch=on_epoch, **own)


def history(folder, fold=0, seed=0):
    with open(folder / f"fold{fold}_seed{seed}.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in rows]


def assert_same_weights(network, *folders):
    found = []
    for folder in folders:
        network.model.load_weights(folder / "fold0_seed0.weights.h5")
        found.append(network.weights())
    assert_arrays_equal(*found)


def test_it_learns_and_leaves_its_record(tmp_path, curves):
    config = make_config(optimizer={"learning_rate": 0.03}, training={"epochs": 40, "batch_size": 8})
    result = fit(config, tmp_path)
    rows = history(tmp_path)
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert result.score > 0.9
    assert result.score == pytest.approx(max(float(row["val_score"]) for row in rows), abs=1e-5)
    assert rows[result.best_epoch - 1]["val_score"] == max(row["val_score"] for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"fold0_seed0.{kind}" for kind in ("csv", "png", "json", "weights.h5")
    }
    assert FitFiles(tmp_path, 0, 0).result(OWN) == result
    assert FitFiles(tmp_path, 0, 0).result(Fingerprint(fit="other")) is None
    assert (result.metric, result.environment["backend"]) == ("mean_dice", "tensorflow")
    assert datetime.now(UTC) - timedelta(seconds=result.seconds + 60) < datetime.fromisoformat(result.started)
    assert datetime.fromisoformat(result.started) < datetime.now(UTC)
    assert result.images_per_second > 40 * 16 / result.seconds * 0.9  # validation is not counted
    assert 50 < result.peak_memory_mb < 100_000


ALL_STATE = {
    "optimizer": {"name": "adam", "learning_rate": 0.01, "clip_norm": 1.0},
    "training": {"epochs": 5, "batch_size": 8, "ema": 0.7},
}
ACCUMULATED = {"batch_size": 2, "gradient_accumulation_steps": 4, "validation_freq": 2}
ACCUMULATED |= {"checkpoint": "swa", "swa_epochs": 3}
CUTMIX = [{"name": "cutmix", "p": 0.8}]


@pytest.mark.parametrize(
    ("training", "mix", "stops"),
    [
        ({}, [], [3]),
        ({"mixed_precision": "bfloat16"}, [], [1]),
        ({"mixed_precision": "float16"}, [], [2]),
        (ACCUMULATED, CUTMIX, [3, 4]),
    ],
)
def test_a_stopped_fit_resumes_to_the_same_weights(tmp_path, monkeypatch, training, mix, stops):
    config = make_config(**{**ALL_STATE, "training": {**ALL_STATE["training"], **training}, "mix": mix})
    network = network_of(config)  # which each fit begins with new weights and a new optimizer
    fit(config, tmp_path / "undisturbed", network=network)

    def stop(self, saved):
        write(self, dataclasses.replace(saved, started="2001-01-01T00:00:00+00:00"))
        if len(saved.history) in stops:
            raise KeyboardInterrupt

    write = CheckpointFile.write
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "write", stop)
        for _ in stops:
            with pytest.raises(KeyboardInterrupt):
                fit(config, tmp_path / "stopped", network=network)
    assert fit(config, tmp_path / "stopped", network=network).started == "2001-01-01T00:00:00+00:00"
    assert history(tmp_path / "stopped") == history(tmp_path / "undisturbed")
    assert_same_weights(network, tmp_path / "stopped", tmp_path / "undisturbed")


def test_float16_skips_batches_whose_gradients_overflow_and_halves_the_loss_scale():
    training = {"batch_size": 2, "gradient_accumulation_steps": 2, "ema": 0.9, "mixed_precision": "float16"}
    network = network_of(make_config(optimizer={"name": "adamw", "clip_norm": 1.0}, training=training))
    arrays = make_arrays(2)

    def trained():
        for _ in range(4):
            loss = network.train(arrays.inputs / np.float32(255), arrays.targets, learning_rate=0.01)
            assert np.isfinite(loss)
        return network.state()

    network.restart(seed=0)
    begun = trained()
    assert all(np.isfinite(value).all() for value in begun.values())
    (scale,) = (key for key, value in begun.items() if value.shape == () and value == 2.0**15)
    network.set_state({**begun, scale: np.float32(2.0**100)})
    skipped = trained()
    assert skipped[scale] == 2.0**96
    changed = {key for key, value in begun.items() if not np.array_equal(skipped[key], value)} - {scale}
    statistics = {f"weight{i}" for i, weight in enumerate(network.model.weights) if not weight.trainable}
    (since_skipped,) = changed - statistics
    assert (begun[since_skipped], skipped[since_skipped]) == (4, 0)


def test_scores_of_two_metrics_do_not_mix_in_one_history(tmp_path, monkeypatch):
    """The best epoch is chosen among scores of one metric, although a finished fit outlives a change of the metric."""
    config = make_config(training={"epochs": 3, "batch_size": 8})
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)

    def stop(epoch, score):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "stopped", on_epoch=stop)
    by_iou = Network(task_of(config, metric=MeanIoU()), input_shape=(*SIZE, 3))
    fit(config, tmp_path / "stopped", network=by_iou)
    fit(config, tmp_path / "undisturbed", network=by_iou)
    assert history(tmp_path / "stopped") == history(tmp_path / "undisturbed")


def test_damaged_or_foreign_checkpoint_is_ignored(tmp_path):
    path = tmp_path / "a.npz"
    own = CheckpointFile(path, "own")
    assert own.read() is None
    own.write(Checkpoint([], {"weight0": np.ones(3)}, [[np.zeros(2)], [np.ones(1)]], "2020-01-01"))
    found = own.read()
    np.testing.assert_array_equal(found.state["weight0"], np.ones(3))
    assert [[value.tolist() for value in weights] for weights in found.kept] == [[[0, 0]], [[1]]]
    assert CheckpointFile(path, "other").read() is None
    path.write_bytes(path.read_bytes()[:-30])
    assert own.read() is None


@pytest.mark.parametrize("kept", ["best", "swa"])
def test_epochs_between_validations_change_no_weight(tmp_path, kept, curves):
    training = {"epochs": 5, "batch_size": 8, "ema": 0.5, "checkpoint": kept, "swa_epochs": 2}
    every = fit(make_config(training=training), tmp_path / "every")
    reported = []
    rarely = make_config(training={**training, "validation_freq": 2})
    second = fit(rarely, tmp_path / "second", on_epoch=lambda *at: reported.append(at))
    all_rows, rows = history(tmp_path / "every"), history(tmp_path / "second")
    for epoch, (row, full) in enumerate(zip(rows, all_rows, strict=True), start=1):
        assert row == (full if epoch in (2, 4, 5) else {**full, "val_loss": "", "val_score": ""})
    assert [epoch for epoch, _ in reported] == [2, 4, 5]
    assert [f"{score:.6g}" for _, score in reported] == [rows[epoch]["val_score"] for epoch in (1, 3, 4)]
    if kept == "best":
        assert second.score == max(score for _, score in reported)
        assert second.best_epoch in (2, 4, 5)
        return
    assert second.score == every.score
    assert (tmp_path / "every/fold0_seed0.png").is_file()
    assert_same_weights(network_of(rarely), tmp_path / "every", tmp_path / "second")


def test_writing_checkpoints_takes_a_twentieth_of_the_time_at_most(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint, "SECONDS", 10.0)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    for took, wait in ((0.1, 10.0), (2.0, 40.0)):
        monkeypatch.setattr(checkpoint, "write_atomic", lambda *_, took=took: now.__setitem__(0, now[0] + took))
        saved = CheckpointFile(tmp_path / "a.npz", "own")
        saved.write(Checkpoint([], {}, [], ""))
        now[0] += wait - 0.5
        assert not saved.is_due()
        now[0] += 0.5
        assert saved.is_due()


def test_patience_ends_a_fit(tmp_path):
    config = make_config(
        optimizer={"learning_rate": 1e-12},
        schedule={"name": "constant"},
        model={"family": "tiny_net", "options": {"dropout": 0.0, "momentum": 0.0}},
        training={"epochs": 9, "batch_size": 16, "patience": 2, "checkpoint": "last"},
    )
    # One step an epoch on the same 16 images: BatchNorm's statistics are those of the batch, so nothing changes at all.
    last = fit(config, tmp_path)
    scores = [float(row["val_score"]) for row in history(tmp_path)]
    assert len(scores) - 1 - scores.index(max(scores)) == 2
    assert last.best_epoch == last.epochs == len(scores)


SGD = {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 0.1}


@pytest.mark.parametrize("optimizer", [SGD, {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}])
def test_accumulated_gradients_are_those_of_one_big_batch(tmp_path, optimizer):
    batch_sizes = {"big": {"batch_size": 12}, "small": {"batch_size": 4, "gradient_accumulation_steps": 3}}
    found, rates = {}, {}
    for name, batches in batch_sizes.items():
        config = make_config(
            model={"family": "tiny_net", "options": {"dropout": 0.0, "normalized": False}},
            loss={"name": "bce"},
            optimizer=optimizer,
            schedule={"name": "cosine", "warmup_epochs": 1},
            training={**batches, "epochs": 3, "ema": 0.6, "checkpoint": "last"},
            mix=[{"name": "cutmix"}],
        )
        network = network_of(config)
        network.restart(seed=derived_seed("fit", 0, 0))
        start = network.weights()
        fit(config, tmp_path / name, network=network)
        found[name], rates[name] = network.weights(), [row["lr"] for row in history(tmp_path / name)]
    assert rates["big"] == rates["small"]
    for big, small in zip(found["big"], found["small"], strict=True):
        np.testing.assert_allclose(small, big, atol=2e-5)
    assert max(np.abs(one - other).max() for one, other in zip(found["big"], start, strict=True)) > 1e-2


def test_the_mean_of_the_last_weights_is_what_is_stored_and_scored(tmp_path, monkeypatch):
    config = make_config(training={"epochs": 4, "batch_size": 8, "checkpoint": "swa", "swa_epochs": 3})
    seen = []
    keep = weight_averaging.keep

    def watched(kept, weights, training, **options):
        seen.append(weights)
        return keep(kept, weights, training, **options)

    monkeypatch.setattr(weight_averaging, "keep", watched)
    network = network_of(config)
    result = fit(config, tmp_path, network=network)
    network.model.load_weights(result.weights)
    for stored, *last in zip(network.weights(), *seen[1:], strict=True):
        np.testing.assert_allclose(stored, np.mean(last, axis=0), rtol=1e-6, atol=1e-7)
        assert not np.array_equal(stored, last[-1])
    score, arrays = MaskScore(MeanDice()), make_arrays()
    stats = score.stats(arrays.targets[16:], network.logits(arrays.inputs[16:] / np.float32(255)))
    assert result.score == pytest.approx(score.score(stats), abs=1e-9)
    assert (result.best_epoch, result.epochs) == (4, 4)


def test_undefined_pixels_have_no_say(tmp_path):
    arrays = make_arrays()
    arrays.targets[:, :, 12:, 2] = 0
    config = make_config(training={"epochs": 2, "batch_size": 8})
    for name in ("one", "two"):
        fit(config, tmp_path / name, arrays=arrays)
        arrays.targets[:, :, 12:, :2] ^= 1
    assert history(tmp_path / "one") == history(tmp_path / "two")


def make_folds(arrays, k=2):
    return Folds(ids=arrays.ids, fold=np.arange(len(arrays.ids)) // 2 % k, groups=np.arange(len(arrays.ids)))


ONCE = {"epochs": 1, "batch_size": 8}
TEST = make_arrays(7)


def run(config, folder, *, arrays=None, test=TEST, grid=(32, 48), **options):
    arrays, task = arrays or make_arrays(), build_task(config, competition_of(("square", "spot"), grid))
    return run_folds(task, arrays, test, make_folds(arrays), folder, **options)


def test_bagging_draws_as_many_rows_with_replacement_for_each_seed_and_fold():
    split = Split(train=np.arange(100, 1100), valid=np.arange(100))
    drawn = {(seed, fold): bootstrapped(split, seed=seed, fold=fold).train for seed in range(50) for fold in (0, 1)}
    assert len({tuple(rows) for rows in drawn.values()}) == 100
    assert all(len(rows) == 1000 and set(rows) < set(split.train) for rows in drawn.values())
    np.testing.assert_array_equal(bootstrapped(split, seed=1, fold=0).train, drawn[1, 0])
    # A fraction of 1 - 1/e is drawn at all, with a deviation of sqrt((1/e - 2/e^2) / 1000) = 0.0099 for one set.
    fractions = [len(np.unique(rows)) / 1000 for rows in drawn.values()]
    assert np.mean(fractions) == pytest.approx(1 - np.exp(-1), abs=0.004)


@pytest.mark.parametrize("bagging", [False, True])
def test_fits_of_a_run_have_their_own_training_sets_with_bagging_only(tmp_path, bagging):
    config, arrays = make_config(training={"bagging": bagging, "seeds": [0, 1]}), make_arrays()
    trainer, folds = FoldTrainer(task_of(config), arrays, tmp_path, OWN), make_folds(arrays)
    own = folds.split(0)
    for seed in (0, 1):
        found = trainer.split(folds, 0, seed)
        np.testing.assert_array_equal(found.train, (bootstrapped(own, seed=seed, fold=0) if bagging else own).train)
        np.testing.assert_array_equal(found.valid, own.valid)
    plain = make_config(training={"seeds": [0, 1]})
    assert (config.fit_hash() == plain.fit_hash(), config.hash() == plain.hash()) == (not bagging, not bagging)


def test_folds_one_by_one_are_the_same_as_all_at_once(tmp_path):
    training = {**ALL_STATE["training"], "epochs": 2, "seeds": [0, 1]}
    config = make_config(optimizer=ALL_STATE["optimizer"], training=training, tta=["hflip"])
    whole = run(config, tmp_path / "whole")
    first = run(config, tmp_path / "parts", only_folds=[1])
    assert (whole.complete, first.complete) == (True, False)
    assert not (tmp_path / "parts/test").exists()
    second = run(config, tmp_path / "parts", only_folds=[0])
    assert (second.complete, second.scores) == (True, whole.scores)
    for fold in (0, 1):  # no fit depends on those that its network had before
        assert history(tmp_path / "whole/models", fold, 1) == history(tmp_path / "parts/models", fold, 1)
        assert history(tmp_path / "whole/models", fold, 0) != history(tmp_path / "whole/models", 1 - fold, 1)
    for part, count in [("oof", N), ("test", 7)]:
        one, two = (RowStore.open(tmp_path / which / part) for which in ("whole", "parts"))
        one.checked[:]
        assert one.complete.all()
        assert one.values.shape == (count, 32, 48, 2)
        np.testing.assert_array_equal(one.values, two.values)


def test_oof_is_the_rounded_mean_over_seeds_of_models_that_did_not_see_the_row(tmp_path):
    config, arrays = make_config(training={**ONCE, "seeds": [0, 1]}), make_arrays()
    run(config, tmp_path, test=None, grid=SIZE, only_folds=[1])
    network = network_of(config)
    rows = np.flatnonzero(make_folds(arrays).fold == 1)[:8]
    mean = 0.0
    for seed in (0, 1):
        network.model.load_weights(tmp_path / f"models/fold1_seed{seed}.weights.h5")
        mean = mean + 1 / (1 + np.exp(-network.logits(arrays.inputs[rows] / np.float32(255)))) / 2
    np.testing.assert_allclose(RowStore.open(tmp_path / "oof").values[rows], 255 * mean, atol=0.501)


def test_presence_is_learned_from_the_masks(tmp_path):
    config = make_config(
        task="classification",
        loss={"name": "bce"},
        model={"family": "tiny_net", "options": {"pooled": True, "dropout": 0.0}},
        optimizer={"learning_rate": 0.05},
        training={"epochs": 60, "batch_size": 12, "checkpoint": "last"},
    )
    arrays = make_arrays()
    arrays.targets[::3, ..., 0] = 0  # some images without a square, the other class as it is
    result = run(config, tmp_path, arrays=arrays, test=None)
    assert not (tmp_path / "test").exists()
    stored = RowStore.open(tmp_path / "oof").values
    assert (stored.dtype, stored.shape) == (np.float32, (N, 2))
    spot = arrays.targets[..., 1].any(axis=(1, 2))
    for fold in (0, 1):
        of_fold = make_folds(arrays).fold == fold
        assert stored[of_fold & spot, 1].min() > stored[of_fold & ~spot, 1].max()
    assert 0.5 < min(result.scores.values()) <= 1


def test_another_config_needs_restart_unless_no_epoch_was_finished(tmp_path):
    with pytest.raises(ValueError, match="filters"):
        run(make_config(model={"family": "tiny_net", "options": {"filters": -1}}), tmp_path)
    assert (tmp_path / "run.json").is_file()
    config = make_config(training=ONCE)
    run(config, tmp_path)
    assert read_json(tmp_path / "run.json")["fingerprint"]["rows"] == config.hash()
    longer = make_config(training={"epochs": 2, "batch_size": 8})
    with pytest.raises(OofMismatch, match="--restart"):
        run(longer, tmp_path)
    with pytest.raises(ConfigError, match="fold 1 would be lost, which --fold does not train"):
        run(longer, tmp_path, restart=True, only_folds=[0])
    assert len(history(tmp_path / "models")) == 1
    run(longer, tmp_path, restart=True)
    assert len(history(tmp_path / "models")) == 2


def test_how_it_predicts_and_the_order_of_options_may_change_and_the_trained_weights_stay(tmp_path, monkeypatch):
    def written(*options, **changes):
        return make_config(model={"family": "tiny_net", "options": dict(options)}, training=ONCE, **changes)

    options = ("filters", 3), ("dropout", 0.2)
    config = written(*options)
    before = run(config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Network, "__init__", lambda *_, **__: pytest.fail("what is finished is done again"))
        assert run(config, tmp_path) == before
    weights = (tmp_path / "models/fold0_seed0.weights.h5").stat()
    stored = {part: np.array(RowStore.open(tmp_path / part).values) for part in ("oof", "test")}
    assert run(written(*options[::-1], tta=["hflip"]), tmp_path) == before
    assert (tmp_path / "models/fold0_seed0.weights.h5").stat() == weights
    for part, old in stored.items():
        new = RowStore.open(tmp_path / part)
        assert new.complete.all()
        assert (new.values != old).any()
    run(config, tmp_path)
    for part, old in stored.items():
        np.testing.assert_array_equal(RowStore.open(tmp_path / part).values, old)


def test_maps_follow_the_edges_of_the_image_on_the_grid(tmp_path):
    fine = np.random.default_rng(1).integers(0, 255, (N, 32, 48, 3), dtype=np.uint8)
    arrays = dataclasses.replace(make_arrays(), on_grid=fine)
    rows, stored = np.flatnonzero(make_folds(arrays).fold == 0), []
    for edges in ({}, {"guided_filter": {"guide": "brightness", "radius": 3, "eps": 1e-3}}):  # by the same weights
        config = make_config(image={"size": SIZE, **edges}, training=ONCE)
        run(config, tmp_path, arrays=arrays, test=None, only_folds=[0])
        stored.append(RowStore.open(tmp_path / "oof").values[rows])
    for row, plain, filtered in zip(rows, *stored, strict=True):
        guide = fine[row].mean(axis=-1) / 255
        expected = guided_filter(plain / np.float32(255), guide, radius=3, eps=1e-3)
        np.testing.assert_allclose(filtered, 255 * expected, atol=3)  # `plain` was rounded to bytes
    assert (stored[0] != stored[1]).mean() > 0.1


def test_what_does_not_fit_or_diverges_is_refused(tmp_path):
    with pytest.raises(ValidationError, match=r"image.guided_filter: not supported by task: classification"):
        make_config(task="classification", image={"size": SIZE, "guided_filter": {"guide": "brightness"}})
    with pytest.raises(ConfigError, match="needs"):
        Network(task_of(make_config(task="classification", loss={"name": "bce"})), input_shape=(*SIZE, 3))
    with pytest.raises(ConfigError, match="folds 0 to 1"):
        run(make_config(), tmp_path, only_folds=[2])
    steep = make_config(optimizer={"name": "sgd", "learning_rate": 4e9}, schedule={"name": "constant"})
    with pytest.raises(ConfigError, match=r"tiny fold 0: the network predicts NaN .* Lower optimizer.learning_rate"):
        fit(steep, tmp_path)
    unseen = make_config(
        optimizer={"name": "sgd", "learning_rate": 4e9},
        schedule={"name": "constant"},
        training={"epochs": 20, "batch_size": 4, "validation_freq": 20},
    )
    with pytest.raises(ConfigError, match=r"tiny fold 0: the loss is .* Lower optimizer.learning_rate"):
        fit(unseen, tmp_path / "unseen")


def test_normalization_has_to_suit_pretrained_weights():
    model = {"family": "segmentation_models", "options": {"encoder": "resnet18"}}
    with pytest.raises(ConfigError, match=r"trained with none\. Set image.normalization: encoder"):
        check(make_config(model=model))
    assert normalization_of(make_config(model=model, image={"size": SIZE, "normalization": "encoder"})) == "none"
    assert normalization_of(make_config()) == "unit"
    rule = make_config(model={"family": "colour_threshold"}, image={"size": SIZE, "normalization": "per_image"})
    with pytest.raises(ConfigError, match="per_image is not supported by model family colour_threshold"):
        normalization_of(rule)
    with pytest.raises(ConfigError, match="no pretrained weights"):
        check(make_config(image={"size": SIZE, "normalization": "encoder"}))
