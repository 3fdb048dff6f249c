"""What a change of each key of a run costs: new fits, new predictions of the fits that are there, or nothing."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from conftest import assert_arrays_equal, competition_of
from skyfold.competitions.mask_folder.contest import MaskFolder
from skyfold.config.merging import set_key
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.files import read_json
from skyfold.metrics.segmentation import MeanIoU
from skyfold.store.fits import FitFiles, summary_of_fits
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training import fold_trainer
from skyfold.training.run_folds import FIT_PARTS, run_folds

# FOLDS and TEST: by the digests of folds.csv and of the test images. WEIGHTS: by what the weights hold.
REFIT, PREDICT, NEITHER, FOLDS, TEST, WEIGHTS = "refit", "predict", "neither", "folds", "test", "weights"

BASE: dict[str, Any] = {
    "name": "unet",
    "data": {"competition": "mask_folder", "options": {"classes": {"cloud": 255}}, "folds": {"k": 3}},
    "image": {"size": [16, 24]},
    "model": {"family": "unet", "options": {"encoder": "resnet18"}},
}
CROP = {"image": {"size": [16, 24], "crop": {}}}
PERCENTILE = {"image": {"size": [16, 24], "rescale": {"kind": "percentile"}}}
DEVIATIONS = {"image": {"size": [16, 24], "rescale": {"kind": "mean_std"}}}
FIXED = {"image": {"size": [16, 24], "rescale": {"kind": "fixed", "limits": [0, 1]}}}
GUIDED = {"image": {"size": [16, 24], "guided_filter": {"guide": "brightness"}}}
FORECAST = {
    "task": "forecasting",
    "image": None,
    "frame_adapter": {"name": "frames"},
    "training": {"checkpoint": "last"},
}
YEARS = {"data": {**BASE["data"], "folds": {"years": [2000, 2010]}}}
STUDENT = {"pseudo_labels": {"run": "teacher"}}
FINE_TUNED = {"model": {**BASE["model"], "init_from": {"run": "first"}}}

# Key -> what a change of it costs, another value, and what else both configs hold.
KEYS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "name": (NEITHER, "renamed", {}),
    "data.competition": (REFIT, "another", {}),
    "data.name": (NEITHER, "moved", {}),
    "data.options": (REFIT, {"classes": {"cloud": 1}}, {}),
    "data.folds.k": (FOLDS, 4, {}),
    "data.folds.seed": (FOLDS, 1, {}),
    "data.folds.phash_max_distance": (FOLDS, -1, {}),
    "data.folds.years": (FOLDS, [2001, 2010], YEARS),
    "data.folds.years_per_fold": (FOLDS, 2, YEARS),
    "data.sample": (NEITHER, {"train": 9}, {}),
    "data.submissions_per_day": (NEITHER, 5, {}),
    "data.exclude": (NEITHER, "exclude.csv", {}),
    "task": (REFIT, "classification", {}),
    "classes": (REFIT, ["cloud"], {}),
    "activation": (REFIT, "softmax", {}),
    "image.size": (REFIT, [24, 16], {}),
    "image.rescale.kind": (REFIT, "minmax", PERCENTILE),
    "image.rescale.per": (REFIT, "all", PERCENTILE),
    "image.rescale.percentiles": (REFIT, [1, 99], PERCENTILE),
    "image.rescale.deviations": (REFIT, 3, DEVIATIONS),
    "image.rescale.limits": (REFIT, [0, 2], FIXED),
    "image.neighbours": (REFIT, 1, {}),
    "image.normalization": (REFIT, "torch", {}),
    "image.guided_filter.guide": (PREDICT, "whiteness", GUIDED),
    "image.guided_filter.radius": (PREDICT, 9, GUIDED),
    "image.guided_filter.eps": (PREDICT, 1e-4, GUIDED),
    "image.crop.crops_per_image": (REFIT, 2, CROP),
    "image.crop.scales": (REFIT, [0.5, 1], CROP),
    "image.crop.class_balanced_fraction": (REFIT, 0.1, CROP),
    "image.crop.overlap": (PREDICT, 0.5, CROP),
    "frame_adapter.name": (REFIT, "advected", FORECAST),
    "frame_adapter.options": (REFIT, {"known": 3}, FORECAST),
    "frame_adapter.max_train_size": (REFIT, 100, FORECAST),
    "model.family": (REFIT, "fpn", {}),
    "model.options": (REFIT, {"encoder": "resnet34"}, {}),
    "model.options.encoder_weights": (
        WEIGHTS,
        "there.h5",
        {"model": {"family": "unet", "options": {"encoder_weights": "here.h5"}}},
    ),
    "model.init_from.run": (WEIGHTS, "renamed", FINE_TUNED),
    "model.init_from.data": (WEIGHTS, "moved", FINE_TUNED),
    "loss.name": (REFIT, "bce", {}),
    "loss.options": (REFIT, {"dice_weight": 0.2}, {}),
    "optimizer.name": (REFIT, "sgd", {}),
    "optimizer.learning_rate": (REFIT, 0.1, {}),
    "optimizer.weight_decay": (REFIT, 0.1, {}),
    "optimizer.clip_norm": (REFIT, 1.0, {}),
    "optimizer.encoder_lr_factor": (REFIT, 0.1, {}),
    "schedule.name": (REFIT, "constant", {}),
    "schedule.warmup_epochs": (REFIT, 2, {}),
    "schedule.floor": (REFIT, 0.5, {}),
    "training.epochs": (REFIT, 3, {}),
    "training.batch_size": (REFIT, 2, {}),
    "training.gradient_accumulation_steps": (REFIT, 2, {}),
    "training.mixed_precision": (REFIT, "bfloat16", {}),
    "training.ema": (REFIT, 0.9, {}),
    "training.patience": (REFIT, 3, {}),
    "training.validation_freq": (REFIT, 2, {}),
    "training.seeds": (PREDICT, [0, 1], {}),  # once the fits of further seeds are trained
    "training.bagging": (REFIT, True, {}),
    "training.checkpoint": (REFIT, "last", {}),
    "training.swa_epochs": (REFIT, 3, {}),
    "training.devices": (REFIT, 2, {}),
    "training.deterministic": (REFIT, False, {}),
    "training.soft_labels": (REFIT, True, {}),
    "training.freeze_encoder_epochs": (REFIT, 2, {}),
    "training.freeze_encoder_batchnorm": (REFIT, True, {}),
    "augment": (REFIT, [{"name": "HorizontalFlip"}], {}),
    "mix": (REFIT, [{"name": "cutmix"}], {}),
    "aux_losses.classification": (REFIT, 0.3, {"aux_losses": {"deep_supervision": 0.1}}),
    "aux_losses.deep_supervision": (REFIT, 0.3, {"aux_losses": {"deep_supervision": 0.1}}),
    "aux_losses.levels": (REFIT, 3, {"aux_losses": {"deep_supervision": 0.1}}),
    "pseudo_labels.run": (REFIT, "other", STUDENT),
    "pseudo_labels.low": (REFIT, 0.2, STUDENT),
    "pseudo_labels.high": (REFIT, 0.8, STUDENT),
    "tta": (PREDICT, ["hflip"], {}),
    "loggers": (NEITHER, ["csv"], {}),
}
OPTIONS: dict[str, tuple[str, Any]] = {  # of mask_folder
    "classes": (REFIT, {"cloud": 1}),
    "images": (REFIT, {"folder": "pictures"}),
    "masks": (REFIT, {"folder": "labels"}),
    "truth": (REFIT, {"csv": "train.csv"}),
    "background": (REFIT, 7),
    "ignore_value": (REFIT, 9),
    "metric": (NEITHER, "mean_iou"),
    "group": (FOLDS, {"file": "a.csv", "id": "i", "column": "g"}),
    "grid": (REFIT, [8, 8]),
    "test_images": (TEST, "new"),
}


def keys_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        several = typing.get_origin(field.annotation) is tuple
        kinds = () if several else (field.annotation, *typing.get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            yield from keys_of(inner[0], f"{before}{name}.")
        else:
            yield f"{before}{name}"


def cost(before: dict[str, Any], after: dict[str, Any]) -> str:
    one, two = RunConfig.model_validate(before), RunConfig.model_validate(after)
    if one.fit_hash() != two.fit_hash():
        assert one.hash() != two.hash(), "what is trained anew is predicted anew"
        return REFIT
    return PREDICT if one.hash() != two.hash() else NEITHER


def test_each_key_has_a_row() -> None:
    assert set(keys_of(RunConfig)) == set(KEYS) - {"model.options.encoder_weights"}
    assert set(MaskFolder.model_fields) == set(OPTIONS)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_changes_the_part_that_it_should(key: str) -> None:
    expected, value, both = KEYS[key]
    base = {**BASE, **both}
    assert cost(base, set_key(base, key, value, where="test")) == (
        expected if expected in (REFIT, PREDICT) else NEITHER
    )


def test_a_run_that_asks_for_what_a_cpu_does_anyway_is_the_same_run() -> None:
    assert cost(BASE, set_key(BASE, "training.deterministic", True, where="test")) == NEITHER


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_data_counts_where_something_is_trained_on_it(name: str) -> None:
    expected, value = OPTIONS[name]
    changed = set_key(BASE, f"data.options.{name}", value, where="test")
    assert cost(BASE, changed) == (REFIT if expected == REFIT else NEITHER)


SIZE = (8, 12)


def train(folder, *, metric=None, metric_source="", name="tiny", **training):
    config = RunConfig.model_validate(
        {
            "name": name,
            "data": {"competition": "any"},
            "image": {"size": SIZE},
            "model": {"family": "tiny_net", "options": {"filters": 3}},
            "training": {"epochs": 1, "batch_size": 4, **training},
        }
    )
    inputs = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    arrays = TrainingArrays(np.arange(8).astype(str), inputs, targets, checksum="images")
    folds = Folds(ids=arrays.ids, fold=np.arange(8) % 2, groups=np.arange(8))
    task = build_task(config, replace(competition_of(("a",), SIZE, metric), metric_source=metric_source))
    assert run_folds(task, arrays, None, folds, folder).complete
    return folds


def fitted(monkeypatch) -> list[tuple[int, int]]:
    """Folds and seeds that are fitted from now on."""
    found, fit_fold = [], fold_trainer.fit_fold

    def watched(network, *, fold, seed, **options):
        found.append((fold, seed))
        return fit_fold(network, fold=fold, seed=seed, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)
    return found


def rows(folder) -> np.ndarray:
    return np.array(RowStore.open(folder / "oof").values)


def test_further_seeds_are_added_to_the_fits_that_are_there(tmp_path, tiny_families, monkeypatch):
    trained = fitted(monkeypatch)
    train(tmp_path / "both", seeds=[0, 1])
    train(tmp_path / "run")
    of_one = rows(tmp_path / "run")
    trained.clear()
    train(tmp_path / "run", seeds=[0, 1])
    assert trained == [(0, 1), (1, 1)]
    np.testing.assert_array_equal(rows(tmp_path / "run"), rows(tmp_path / "both"))
    folds = train(tmp_path / "run", seeds=[0])
    assert trained == [(0, 1), (1, 1)]
    assert_arrays_equal(rows(tmp_path / "run"), of_one)
    assert summary_of_fits(tmp_path / "run/models", folds=folds, seeds=[0]).fits == 2


def test_a_run_that_was_renamed_with_its_folder_is_the_same_run(tmp_path, tiny_families, monkeypatch):
    train(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "renamed")
    trained = fitted(monkeypatch)
    train(tmp_path / "renamed", name="renamed")
    assert (trained, read_info(tmp_path / "renamed").name) == ([], "renamed")


def test_a_fit_records_its_data_and_the_code_that_read_them_and_is_not_that_of_other_data(tmp_path, tiny_families):
    train(tmp_path)
    whole = read_info(tmp_path).fingerprint
    recorded = read_json(tmp_path / "models/fold0_seed0.json")["fingerprint"]
    assert recorded == whole.of(*FIT_PARTS).to_json()
    assert (recorded["data"], len(recorded["source"])) == ("images", 16)
    fit = FitFiles(tmp_path / "models", 0, 0)
    assert fit.result(whole.of(*FIT_PARTS)) is not None
    assert fit.result(replace(whole.of(*FIT_PARTS), data="other images")) is None


def test_another_metric_trains_and_predicts_nothing_again_and_is_told(tmp_path, tiny_families, monkeypatch, capsys):
    train(tmp_path / "run")
    stored = (tmp_path / "run/oof/rows.json").stat()
    trained = fitted(monkeypatch)
    train(tmp_path / "run", metric=MeanIoU())
    assert (trained, (tmp_path / "run/oof/rows.json").stat()) == ([], stored)
    assert "scores, and the epochs kept by them, are of mean_dice, not of mean_iou as it" in capsys.readouterr().err
    train(tmp_path / "run")
    assert "kept by them" not in capsys.readouterr().err
    train(tmp_path / "run", metric_source="other code")
    assert "are of an earlier mean_dice, not of mean_dice as it is now" in capsys.readouterr().err
    assert trained == []
