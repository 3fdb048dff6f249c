"""`train --full`: a fit on all samples, for as many epochs as the fits of the folds kept; it enters no stored row."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from conftest import after, assert_arrays_equal, competition_of
from skyfold.cli.main import main
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.files import read_json
from skyfold.store.fits import FULL, FitFiles, read_history, summary_of_fits
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, read_run
from skyfold.tasks import build_task
from skyfold.training import checkpoint, fold_trainer
from skyfold.training.network import Network
from skyfold.training.run_folds import run_folds
from skyfold.training.schedules import learning_rate

pytestmark = pytest.mark.usefixtures("tiny_families")
SIZE, N = (8, 12), 9
FOLDS = Folds(ids=np.arange(N).astype(str), fold=np.array([0, 1, 0, 1, 0, 1, 0, 1, -1]), groups=np.arange(N))


def config(task="segmentation", **training):
    pooled = {"pooled": True} if task == "classification" else {}
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "task": task,
            "data": {"competition": "any"},
            "image": {"size": SIZE},
            "loss": {"name": "bce"},
            "model": {"family": "tiny_net", "options": {"filters": 3, **pooled}},
            "training": {"epochs": 5, "batch_size": 4, **training},
        }
    )


def images(count=N, seed=0):
    inputs = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    return TrainingArrays(np.arange(count).astype(str), inputs, targets, checksum=f"images {seed}")


def train(folder, config, *, full=True, test=None):
    task = build_task(config, competition_of(("a",), SIZE))
    return run_folds(task, images(), test, FOLDS, folder, full=full)


def files(folder):
    """Bytes of all that is stored besides full fits."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("full_")]
    return {path: path.read_bytes() for path in found}


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_it_learns_from_all_samples_and_enters_neither_rows_nor_scores(tmp_path, monkeypatch, task):
    own, test = config(task, seeds=[0, 1]), images(3, seed=1)
    assert train(tmp_path, own, full=False, test=test).full == []
    before, seen = files(tmp_path), []
    fit_fold = fold_trainer.fit_fold

    def watched(network, *, split, fold, seed, **options):
        seen.append((fold, seed, split.train.tolist(), split.valid.tolist()))
        return fit_fold(network, split=split, fold=fold, seed=seed, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)
    fits = train(tmp_path, own, test=test).full
    assert seen == [(FULL, seed, list(range(N)), []) for seed in (0, 1)]  # those that no fold validates, too
    assert files(tmp_path) == before
    of_folds = [read_json(path) for path in sorted((tmp_path / "models").glob("fold*.json"))]
    assert len(of_folds) == 4
    for seed, fit in enumerate(fits):
        assert fit.weights.name == f"full_seed{seed}.weights.h5"
        assert fit.epochs == fit.best_epoch == round(np.mean([one["best_epoch"] for one in of_folds]))
        assert fit.score == pytest.approx(np.mean([one["score"] for one in of_folds]))
        assert FitFiles(tmp_path / "models", FULL, seed).result(read_info(tmp_path).fingerprint.of("folds")) == fit
    assert summary_of_fits(tmp_path / "models", folds=FOLDS).fits == 4
    seen.clear()
    assert train(tmp_path, own, test=test).full == fits
    assert train(tmp_path, own, full=False, test=test).complete
    assert seen == []
    assert read_run(tmp_path, FOLDS).test is not None


def test_its_epochs_follow_the_schedule_of_the_config_without_validation(tmp_path, monkeypatch, curves):
    epochs = {0: 2, 1: 5}

    def stop_early(network, *, fold, **options):
        fit = fit_fold(network, fold=fold, **options)
        return fit if fold == FULL else fit.__class__(**{**vars(fit), "best_epoch": epochs[fold]})

    fit_fold = fold_trainer.fit_fold
    monkeypatch.setattr(fold_trainer, "fit_fold", stop_early)
    monkeypatch.setattr(FitFiles, "result", lambda *_: None)  # the folds are fitted once more, and say 2 and 5
    own = config(patience=5)
    [fit] = train(tmp_path, own).full
    assert fit.epochs == 4  # 3.5 rounded to even
    history = read_history(tmp_path / "models/full_seed0.csv")
    steps = 3  # of 9 samples in batches of 4
    assert [row["lr"] for row in history] == pytest.approx(
        [learning_rate(own, steps * epoch - 1, steps_per_epoch=steps) for epoch in range(1, 5)], rel=1e-5
    )
    assert all(np.isnan(row["val_loss"]) and np.isnan(row["val_score"]) for row in history)
    assert (tmp_path / "models/full_seed0.png").is_file()


@pytest.mark.parametrize("kept", ["last", "swa"])
def test_all_epochs_are_trained_where_no_fold_chooses_one(tmp_path, kept):
    own = config(checkpoint=kept, swa_epochs=2)
    [fit] = train(tmp_path, own).full
    assert fit.epochs == own.training.epochs


def test_swa_keeps_the_mean_of_the_last_epochs(tmp_path, monkeypatch):
    kept, averaged = [], Network.averaged_weights
    own = config(checkpoint="swa", swa_epochs=2)
    train(tmp_path, own, full=False)
    monkeypatch.setattr(Network, "averaged_weights", lambda self: kept.append(averaged(self)) or kept[-1])
    [fit] = train(tmp_path, own).full
    assert len(kept) == 5
    network = Network(build_task(own, competition_of(("a",), SIZE)), input_shape=(*SIZE, 3))
    fit.load_into(network.model)
    for found, one, two in zip(network.weights(), *kept[-2:], strict=True):
        np.testing.assert_allclose(found, (one + two) / 2, rtol=1e-5, atol=1e-7)


def test_a_stopped_full_fit_resumes_to_the_same_weights(tmp_path, monkeypatch):
    own, stored = config(), []
    train(tmp_path / "undisturbed", own, full=False)
    shutil.copytree(tmp_path / "undisturbed", tmp_path / "stopped")
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Network, "begin_epoch", after(2, Network.begin_epoch))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", own)
    assert (tmp_path / "stopped/models/full_seed0.checkpoint.npz").is_file()
    fits = [fit for name in ("undisturbed", "stopped") for fit in train(tmp_path / name, own).full]
    assert fits[0].epochs > 2, "or nothing is resumed"
    network = Network(build_task(own, competition_of(("a",), SIZE)), input_shape=(*SIZE, 3))
    for fit in fits:
        fit.load_into(network.model)
        stored.append(network.weights())
    assert_arrays_equal(*stored)


@pytest.mark.parametrize(
    ("config", "option", "message"),
    [("network", "--fold=0", "Remove --fold, or --full"), ("bright", "", "colour_threshold is not trained")],
)
def test_what_cannot_be_fitted_on_all_samples_is_refused(tmp_path, capsys, config, option, message):
    own = {
        "network": "model: {family: plain_unet}",
        "bright": "model: {family: colour_threshold, options: {feature: brightness}}",
    }
    data = "data: {competition: mask_folder, options: {classes: {a: 255}}}\nimage: {size: [16, 24]}\n"
    path = tmp_path / "configs" / f"{config}.yaml"
    path.parent.mkdir()
    path.write_text(f"name: {config}\n{data}{own[config]}\n")
    assert main(["train", str(path), "--full", *([option] if option else []), "--root", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_rows_of_the_folds_are_complete_before_all_samples_are_fitted(tmp_path, monkeypatch):
    def refuse(network, *, fold, **options):
        if fold == FULL:
            raise KeyboardInterrupt
        return fit_fold(network, fold=fold, **options)

    fit_fold = fold_trainer.fit_fold
    monkeypatch.setattr(fold_trainer, "fit_fold", refuse)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config(), test=images(3, seed=1))
    assert RowStore.open(tmp_path / "oof").complete[FOLDS.fold >= 0].all()
    assert RowStore.open(tmp_path / "test").complete.all()
