"""Losses of forecasts: values worked by hand, cells that do not count without a say, finite gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.training.losses.forecasting import FORECAST_LOSSES, make_forecast_loss

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("mae", {}),
    ("logcosh", {"scale": 0.5}),
    ("weighted_mae", {}),
    ("share_bce", {}),
    ("mae_csi", {"threshold": 0.7}),
    ("mae_csi", {"threshold": 0.7, "score": "f1", "score_weight": 1.0}),
]


def target_of(truth: list[float], weights: list[float]) -> np.ndarray:
    """(1, 1, W, 2) of one lead time."""
    return np.stack([truth, weights], axis=-1)[np.newaxis, np.newaxis].astype(np.float32)


def output_of(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def value(name: str, target: np.ndarray, output: np.ndarray, **options: Any) -> float:
    loss = make_forecast_loss(name, options)
    return float(loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(output)))


def gradient(name: str, target: np.ndarray, output: np.ndarray, **options: Any) -> np.ndarray:
    import tensorflow as tf

    x = tf.Variable(output)
    with tf.GradientTape() as tape:
        loss = make_forecast_loss(name, options)(tf.constant(target), x)
    return np.asarray(tape.gradient(loss, x))


def test_mae_is_a_mean_by_weight() -> None:
    # Errors 1 and 4, weights 3 and 1: (3 + 4) / 4.
    assert value("mae", target_of([1, 2, 9], [3, 1, 0]), output_of([2, -2, 0])) == pytest.approx(7 / 4)


def test_logcosh_by_hand() -> None:
    # cosh(ln 3) = (3 + 1/3) / 2 = 5/3. With scale 2 the error 2 ln 3 costs twice that logarithm.
    target = target_of([1], [1])
    assert value("logcosh", target, output_of([1 + np.log(3)])) == pytest.approx(np.log(5 / 3), rel=1e-5)
    twice = value("logcosh", target, output_of([1 - 2 * np.log(3)]), scale=2)
    assert twice == pytest.approx(2 * np.log(5 / 3), rel=1e-5)
    assert value("logcosh", target, output_of([1])) == pytest.approx(0, abs=1e-6)
    assert value("logcosh", target, output_of([501])) == pytest.approx(500 - np.log(2), rel=1e-6)


def test_cross_entropy_of_shares_by_hand() -> None:
    # Truth 1/4, forecast 1/2: ln 2. Truth 1/4, forecast 1/4: -(ln(1/4) + 3 ln(3/4)) / 4. Weights 1 and 3.
    expected = (np.log(2) - 3 * (np.log(1 / 4) + 3 * np.log(3 / 4)) / 4) / 4
    assert value("share_bce", target_of([0.25, 0.25], [1, 3]), output_of([0.5, 0.25])) == pytest.approx(expected)
    assert 10 < value("share_bce", target_of([1], [1]), output_of([0])) < 20


def test_weighted_mae_by_hand() -> None:
    # True values 0, 3, 20, -5 with growth 1/2: factors 1, 5/2, 11 clipped to 4, and 1. Errors 1, 2, 1, 1.
    target = target_of([0, 3, 20, -5], [1, 1, 1, 1])
    found = value("weighted_mae", target, output_of([1, 1, 19, -4]), growth=0.5, greatest=4)
    assert found == pytest.approx((1 + 5 + 4 + 1) / 4)


def test_soft_scores_by_hand() -> None:
    # Steepness ln 3 around 2: outputs 3, 2, 1 say the event with 3/4, 1/2, 1/4. It was there in the first two cells:
    # hits 5/4, misses 3/4, false alarms 1/4. With smooth 1/4 CSI = (3/2) / (5/2), F1 = (11/4) / (15/4).
    target = target_of([5, 2, 0], [1, 1, 1])
    output = output_of([3, 2, 1])
    settings = {"threshold": 2, "steepness": float(np.log(3)), "smooth": 0.25, "score_weight": 2}
    assert value("mae_csi", target, output, **settings) == pytest.approx((2 + 0 + 1) / 3 + 2 * 2 / 5, rel=1e-5)
    found = value("mae_csi", target, output, score="f1", **settings)
    assert found == pytest.approx(1 + 2 * 4 / 15, rel=1e-5)


def test_hits_are_counted_over_the_whole_batch() -> None:
    # One image all hit, one all missed: of the batch a half. A mean over images would be worse by its smooth parts.
    target = np.concatenate([target_of([5, 5], [1, 1]), target_of([5, 5], [1, 1])])
    output = np.concatenate([output_of([100, 100]), output_of([-100, -100])])
    score = 1 - (value("mae_csi", target, output, threshold=1, score_weight=1) - value("mae", target, output))
    assert score == pytest.approx((2 + 1) / (4 + 1), rel=1e-4)


def test_no_event_and_none_forecast_costs_nothing() -> None:
    target = target_of([0, 0], [1, 1])
    assert value("mae_csi", target, output_of([0, 0]), threshold=50, score_weight=1) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
@pytest.mark.parametrize("flag", [1e6, np.nan, np.inf, -1e30])
def test_a_cell_of_weight_0_has_no_say_whatever_stands_there(name: str, options: dict[str, Any], flag: float) -> None:
    rng = np.random.default_rng(0)
    truth, output = (rng.normal(1, 1, (2, 6, 5, 3)).astype(np.float32) for _ in range(2))
    if name == "share_bce":
        truth, output = 1 / (1 + np.exp(-truth)), 1 / (1 + np.exp(-output))
    weights = rng.choice([0, 0.5, 2], truth.shape).astype(np.float32)
    own = value(name, np.concatenate([truth, weights], -1), output, **options)
    flagged = np.concatenate([np.where(weights > 0, truth, flag), weights], -1).astype(np.float32)
    assert value(name, flagged, output, **options) == own > 0
    assert value(name, flagged, np.where(weights > 0, output, flag).astype(np.float32), **options) == own
    slope = gradient(name, flagged, output, **options)
    assert np.isfinite(slope).all()
    assert (slope[weights == 0] == 0).all()
    assert (slope[weights > 0] != 0).mean() > 0.9


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_gradients_are_finite_and_nothing_costs_nothing(name: str, options: dict[str, Any]) -> None:
    for size in (0.0, 1.0, 1e4):
        output = size * np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype(np.float32)
        for weight in (0.0, 1.0):
            target = np.concatenate([np.zeros_like(output), np.full_like(output, weight)], -1)
            assert np.isfinite(gradient(name, target, output, **options)).all()
            if not weight:
                assert value(name, target, output, **options) == 0
                assert (gradient(name, target, output, **options) == 0).all()


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_a_better_forecast_costs_less(name: str, options: dict[str, Any]) -> None:
    truth = np.random.default_rng(2).gamma(1, 1, (2, 8, 8, 2)).astype(np.float32)
    if name == "share_bce":
        truth /= truth.max()
    target = np.concatenate([truth, np.ones_like(truth)], -1)
    worse = (0.01, 0.1, 0.5, 0.9) if name == "share_bce" else (-0.5, 0.0, 0.5, 0.9)
    costs = [value(name, target, share * truth, **options) for share in worse]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 4


def test_the_soft_score_asks_for_events_where_the_mean_error_asks_for_none() -> None:
    """Rain in 4 cells of 10, nobody knows in which: dry is best by absolute error, the threshold by the soft score."""
    truth = [1.0] * 4 + [0.0] * 6
    target = target_of(truth, [1.0] * 10)
    said = [0.0, 0.4, 0.6, 1.0]
    by_error = [value("mae", target, output_of([x] * 10)) for x in said]
    options = {"threshold": 0.5, "steepness": 20, "score_weight": 2}
    by_both = [value("mae_csi", target, output_of([x] * 10), **options) for x in said]
    assert np.argmin(by_error) == 0
    assert np.argmin(by_both) == 2


def test_every_loss_takes_a_batch_in_bfloat16() -> None:
    target = np.ones((1, 3, 3, 2), np.float32)
    for name, options in SETTINGS:
        output = keras.ops.cast(keras.ops.zeros((1, 3, 3, 1)), "bfloat16")
        loss = make_forecast_loss(name, options)(keras.ops.convert_to_tensor(target), output)
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("may", {}, r"no loss 'may' for forecasting \(did you mean 'mae'"),
        ("mae", {"scale": 1}, "unknown key 'loss.options.scale'. Known: none"),
        ("mae_csi", {"treshold": 1}, "did you mean 'threshold'"),
        ("mae_csi", {"steepness": 2}, "'loss.options.threshold' is missing"),
        ("mae_csi", {"threshold": "wet"}, "threshold': Input should be a valid number.*; got 'wet'"),
        ("mae_csi", {"threshold": float("nan")}, "threshold': Input should be a finite number; got nan"),
        ("mae_csi", {"threshold": 1, "score": "iou"}, "score': Input should be 'csi' or 'f1'; got 'iou'"),
        ("mae_csi", {"threshold": 1, "steepness": 0}, "steepness': Input should be greater than 0; got 0"),
        (
            "mae_csi",
            {"threshold": 1, "score_weight": -1},
            "score_weight': Input should be greater than or",
        ),
        ("logcosh", {"scale": True}, "scale': true and false are no values of this option; got True"),
        ("weighted_mae", {"greatest": 0.5}, "greatest': Input should be greater than or equal to 1; got 0.5"),
    ],
)
def test_wrong_names_and_values_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_forecast_loss(name, options)


def test_every_loss_is_tested() -> None:
    assert {name for name, _ in SETTINGS} == set(FORECAST_LOSSES)
