"""Bagging: each fit of a run draws a training set of its own, with replacement, and validates on its whole fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skyfold.competition import build
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.store.folds import make_folds
from skyfold.tasks import build_task
from skyfold.training import fold_trainer, run_folds
from skyfold.training.bagging import bootstrapped
from skyfold.types import Split

SPLIT = Split(train=np.arange(100, 1100), valid=np.arange(100))


def test_as_many_rows_are_drawn_as_there_are_and_the_validation_rows_stay() -> None:
    drawn = bootstrapped(SPLIT, seed=0, fold=0)
    assert len(drawn.train) == 1000
    assert set(drawn.train) < set(SPLIT.train)
    np.testing.assert_array_equal(drawn.valid, SPLIT.valid)


def test_about_a_share_of_one_minus_one_over_e_is_drawn_at_all() -> None:
    shares = [len(np.unique(bootstrapped(SPLIT, seed=seed, fold=0).train)) / 1000 for seed in range(50)]
    # deviation of one share: sqrt((1/e - 2/e^2) / 1000) = 0.0099; of the mean of 50: 0.0014
    assert np.mean(shares) == pytest.approx(1 - np.exp(-1), abs=0.006)


def test_seed_and_fold_each_draw_another_set_and_the_same_ones_the_same() -> None:
    sets = [bootstrapped(SPLIT, seed=seed, fold=fold).train.tolist() for seed in (0, 1) for fold in (0, 1)]
    assert len({tuple(rows) for rows in sets}) == 4
    assert bootstrapped(SPLIT, seed=1, fold=0).train.tolist() == sets[2]


class _Stop(Exception):
    pass


@pytest.mark.parametrize("bootstrap", [False, True])
def test_fits_of_a_run_are_given_their_own_sets(
    bootstrap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = TrainingArrays(
        ids=np.array([f"s{i}" for i in range(20)]),
        inputs=np.zeros((20, 16, 16, 4), np.uint8),
        targets=np.ones((20, 16, 16, 2), np.uint8),
    )
    folds = make_folds(ids=arrays.ids, labels=np.ones((20, 1), bool), groups=np.arange(20), k=2, seed=0)
    config = RunConfig.model_validate(
        {
            "name": "bagged",
            "data": {"competition": "leeds_sea_ice", "folds": {"k": 2}},
            "image": {"size": [16, 16]},
            "model": {"family": "plain_unet", "options": {"filters": [2, 4]}},
            "training": {"bagging": bootstrap, "seeds": [0, 1]},
        }
    )
    seen: dict[int, Split] = {}

    def record(*arguments: object, split: Split, seed: int, **options: object) -> None:
        seen[seed] = split
        if len(seen) == 2:
            raise _Stop

    monkeypatch.setattr(fold_trainer, "fit_fold", record)
    contest = build("leeds_sea_ice", {"grid": [16, 16]})
    with pytest.raises(_Stop):
        run_folds.run_folds(build_task(config, contest), arrays, None, folds, tmp_path / "run")
    own = folds.split(0)
    for seed, split in seen.items():
        wanted = bootstrapped(own, seed=seed, fold=0) if bootstrap else own
        np.testing.assert_array_equal(split.train, wanted.train)
        np.testing.assert_array_equal(split.valid, own.valid)


def test_runs_stored_before_there_was_bagging_stay_valid_and_bagging_is_another_run() -> None:
    given = {
        "name": "unet",
        "data": {"competition": "leeds_sea_ice"},
        "image": {"size": [16, 16]},
        "model": {"family": "plain_unet"},
    }
    plain = RunConfig.model_validate(given)
    assert RunConfig.model_validate({**given, "training": {"bagging": False}}).hash() == plain.hash()
    bagged = RunConfig.model_validate({**given, "training": {"bagging": True}})
    assert bagged.hash() != plain.hash()
    assert bagged.fit_hash() != plain.fit_hash()
