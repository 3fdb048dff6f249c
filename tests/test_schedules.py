"""Learning rates: where a schedule begins, where it ends, and when a plateau lowers it."""

from __future__ import annotations

import pytest

from skyfold.config.training import ScheduleConfig
from skyfold.training.schedules import learning_rate, plateaus


def rates(schedule, *, steps=20, per_epoch=4, scores=()):
    epochs = steps // per_epoch
    return [
        learning_rate(schedule, base=2.0, step=i, steps_per_epoch=per_epoch, epochs=epochs, scores=scores)
        for i in range(steps)
    ]


def test_constant_stays():
    assert set(rates(ScheduleConfig(name="constant"))) == {2.0}


def test_cosine_warms_up_then_falls_to_its_floor():
    found = rates(ScheduleConfig(name="cosine", warmup_epochs=1, floor=0.1))
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4] == 2.0
    assert found[-1] == pytest.approx(0.2)
    assert found[4:] == sorted(found[4:], reverse=True)
    assert sum(found[4:]) / 16 == pytest.approx((2.0 + 0.2) / 2)  # a half cosine wave is symmetric about its middle


def test_plateau_counts_anew_after_each_fall():
    # best 0.6 in epoch 2; 3, 4 bring nothing: first fall; 5, 6: second; 7 is better; 8 waits.
    scores = [0.5, 0.6, 0.6, 0.59, 0.58, 0.57, 0.7, 0.1]
    assert [plateaus(scores[:n], patience=2) for n in range(9)] == [0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_plateau_lowers_the_rate_down_to_the_floor():
    schedule = ScheduleConfig(name="plateau", factor=0.5, patience=1, floor=0.2)
    assert rates(schedule, scores=[1.0])[0] == 2.0
    assert rates(schedule, scores=[1.0, 0.9])[0] == 1.0
    assert rates(schedule, scores=[1.0, 0.9, 0.8, 0.7])[0] == pytest.approx(0.4)


def test_plateau_of_an_error_looks_for_less():
    assert plateaus([3.0, 2.0, 1.0], patience=1, greater_is_better=False) == 0
    assert plateaus([1.0, 2.0, 3.0], patience=1, greater_is_better=False) == 2
