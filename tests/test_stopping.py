"""Learning-rate schedules, validated epochs, early stopping, and the weights that a fit keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conftest import assert_arrays_equal
from skyfold.config.run import RunConfig
from skyfold.config.training import TrainingConfig
from skyfold.store.fits import draw_history, read_history, write_history
from skyfold.training.early_stopping import best_epoch, has_ended, is_validated, validated
from skyfold.training.schedules import learning_rate
from skyfold.training.weight_averaging import keep, mean_weights

RUN = {"name": "a", "data": {"competition": "any"}, "image": {"size": [8, 8]}, "model": {"family": "plain_unet"}}


def rates(**schedule):
    """Of 5 epochs of 4 steps each."""
    rest = {"optimizer": {"learning_rate": 2.0}, "schedule": schedule, "training": {"epochs": 5}}
    config = RunConfig.model_validate({**RUN, **rest})
    return [learning_rate(config, step, steps_per_epoch=4) for step in range(20)]


def test_constant_stays_and_cosine_warms_up_then_falls_to_its_floor():
    assert rates(name="constant") == [2.0] * 20
    found = rates(name="cosine", warmup_epochs=1, floor=0.1)
    assert found[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert found[-1] == pytest.approx(0.2)
    assert found[4:] == sorted(found[4:], reverse=True)
    assert sum(found[4:]) / 16 == pytest.approx((2.0 + 0.2) / 2)  # a half cosine wave is symmetric about its middle


def training(**values):
    return TrainingConfig.model_validate({"epochs": 8, **values})


def rows(scores):
    return [{"epoch": i + 1, "val_score": score} for i, score in enumerate(scores)]


def test_every_nth_epoch_and_the_last_are_validated():
    assert [epoch + 1 for epoch in range(8) if is_validated(epoch, training(validation_freq=3))] == [3, 6, 8]
    assert [epoch + 1 for epoch in range(8) if is_validated(epoch, training(validation_freq=20))] == [8]
    assert validated(rows([0.1] * 7), training(validation_freq=3)) == [2, 5]
    assert validated(rows([0.1] * 3), training()) == [0, 1, 2]


def test_the_best_epoch_is_the_first_of_the_best_validated_ones():
    scores = [math.nan, 0.5, math.nan, 0.7, math.nan, 0.7]
    every = training(validation_freq=2)
    assert best_epoch(rows(scores), every, greater_is_better=True) == 3
    assert best_epoch(rows(scores), every, greater_is_better=False) == 1
    assert best_epoch(rows([0.2, math.nan, 0.1]), training(), greater_is_better=True) == 0
    assert best_epoch(rows([math.nan] * 4), every, greater_is_better=True) == 1  # validated, but NaN


@pytest.mark.parametrize(
    ("patience", "scores", "expected"),
    [(None, [5, 4, 3, 2, 1], False), (2, [5, 4], False), (2, [5, 4, 3], True), (2, [5, 4, 6], False)],
)
def test_patience_counts_epochs_behind_the_best(patience, scores, expected):
    assert has_ended(rows(scores), training(patience=patience), greater_is_better=True) == expected


def test_a_fit_ends_with_an_epoch_that_was_validated():
    every = training(epochs=20, validation_freq=3, patience=4)
    scores = [math.nan, math.nan, 0.5, math.nan, math.nan, 0.4, math.nan, math.nan, 0.3]
    ended = [has_ended(rows(scores[:count]), every, greater_is_better=True) for count in range(10)]
    assert ended == [False] * 9 + [True]  # 3 epochs behind the best at the sixth, 6 at the ninth
    assert has_ended(rows([math.nan] * 20), every, greater_is_better=True)


@pytest.mark.parametrize(
    ("kind", "epochs", "expected"), [("best", 5, 2), ("last", 5, 5), ("swa", 3, 4), ("swa", 1, 5), ("swa", 9, 3)]
)
def test_kept_weights_are_those_of_the_best_or_last_epoch_or_a_mean(kind, epochs, expected):
    """Epoch i of 5 ends with weights of value i."""
    scores, kept, config = [0.3, 0.9, 0.5, 0.9, 0.1], [], training(checkpoint=kind, swa_epochs=epochs)
    for epoch, score in enumerate(scores, start=1):
        weights = [np.full(2, epoch, np.float32), np.full((1, 1), 10 * epoch, np.float32)]
        kept = keep(kept, weights, config, is_best=score > max(scores[: epoch - 1], default=-1))
    stored = [value.copy() for value in kept[0]]
    means = mean_weights(kept)
    assert [float(value.mean()) for value in means] == [expected, 10 * expected]
    assert {value.dtype for value in means} == {np.dtype(np.float32)}
    assert_arrays_equal(stored, kept[0])


def test_what_was_not_measured_is_empty_in_the_table_and_not_drawn(tmp_path):
    columns = ("epoch", "loss", "val_loss", "val_score", "lr", "seconds", "images_per_second")
    values = [(1.0, 0.5, math.nan, math.nan, 0.1, 1.0, 8.0), (2.0, 0.25, 0.5, 0.75, 0.1, 1.0, 8.0)]
    history = [dict(zip(columns, row, strict=True)) for row in values]
    write_history(tmp_path / "a.csv", history)
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == ["1,0.5,,,0.1,1,8", "2,0.25,0.5,0.75,0.1,1,8"]
    found = read_history(tmp_path / "a.csv")
    assert math.isnan(found[0].pop("val_loss"))
    assert math.isnan(found[0].pop("val_score"))
    assert found == [{key: value for key, value in row.items() if not math.isnan(value)} for row in history]
    draw_history(tmp_path / "a.png", history, title="a", score="Dice")
    assert (tmp_path / "a.png").stat().st_size > 1000
