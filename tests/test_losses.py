"""Losses: values worked by hand, pixels that do not count, finite gradients, refused names and options."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.training.losses.forecasting import FORECAST_LOSSES
from skyfold.training.losses.named import make_loss
from skyfold.training.losses.segmentation import MASK_LOSSES, PRESENCE_LOSSES

LN2, LN3 = float(np.log(2)), float(np.log(3))
TABLES = {"segmentation": MASK_LOSSES, "classification": PRESENCE_LOSSES, "forecasting": FORECAST_LOSSES}
OHEM = [("segmentation", name, {"ohem_fraction": 0.3}) for name in ("bce", "focal", "bce_dice")]
OPTIONS = {"logcosh": {"scale": 0.5}, "mae_csi": {"threshold": 0.7}}
FORECASTS = [("forecasting", name, OPTIONS.get(name, {})) for name in FORECAST_LOSSES]
MASKS = [("segmentation", name, {}) for name in MASK_LOSSES]
SETTINGS = [*MASKS, *OHEM, *FORECASTS]


def row(*values):
    """One image (1, 1, W, planes) of a row of pixels; a number stands for one plane."""
    return np.array(values, np.float32).reshape(1, 1, len(values), -1)


def value(task, name, target, output, **options):
    loss = make_loss(TABLES[task], name, options, task=task)
    return float(loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(output)))


def gradient(task, name, target, output, **options):
    loss = make_loss(TABLES[task], name, options, task=task)
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss(keras.ops.convert_to_tensor(target), x))(output))
    if keras.backend.backend() == "torch":
        import torch

        x = torch.tensor(output, requires_grad=True)
        loss(torch.tensor(target), x).backward()
        return x.grad.numpy()
    import tensorflow as tf

    x = tf.Variable(output)
    with tf.GradientTape() as tape:
        total = loss(tf.constant(target), x)
    return np.asarray(tape.gradient(total, x))


def random_masks(*shape, counting=1.0):
    """Targets of two classes, of whose pixels a part counts, and logits."""
    rng = np.random.default_rng(3)
    target = rng.random((*shape, 3)) < [0.5, 0.5, counting]
    return target.astype(np.float32), rng.normal(size=(*shape, 2)).astype(np.float32)


# Planes of a mask target: mask, counts. Of a forecast: true value, weight.
TRUE_FALSE = row([1, 1], [0, 1])
TWO_IMAGES = np.concatenate([row([1, 1], [1, 1]), row([0, 1], [0, 1])])
CSI = {"threshold": 2, "steepness": LN3, "smooth": 0.25, "score_weight": 2}
# Probabilities 1/2, 1/3, 1/6 have the log-odds 0, -ln 2, -ln 5; pixels of class 1, of class 2, of none, undefined.
CATEGORIES = row([0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0])
LOG_ODDS = np.tile(row([0, -LN2, -np.log(5)]), (1, 1, 4, 1))
# True values 0, 3, 20, -5 with growth 1/2: factors 1, 5/2, 11 clipped to 4, and 1. Errors 1, 2, 1, 1.
GROWING, GROWTH = row([0, 1], [3, 1], [20, 1], [-5, 1]), {"growth": 0.5, "greatest": 4}
# Truth 1/4, forecast 1/2: ln 2. Truth 1/4, forecast 1/4: -(ln(1/4) + 3 ln(3/4)) / 4. Weights 1 and 3.
SHARES, SHARE_COST = row([0.25, 1], [0.25, 3]), (LN2 - 3 * (np.log(1 / 4) + 3 * np.log(3 / 4)) / 4) / 4
# One image all hit, one all missed: of the batch a half. A mean over images would be worse by its smooth parts.
HIT_AND_MISSED = np.concatenate([row([2, 1], [2, 1])] * 2), np.concatenate([row(2, 2), row(0, 0)])


@pytest.mark.parametrize(
    ("task", "name", "target", "output", "options", "expected"),
    [
        # p = 1/2 costs ln 2; a logit of ln 3 is p = 3/4, which costs ln(4/3) where true.
        ("segmentation", "bce", TRUE_FALSE, row(LN3, 0), {}, (np.log(4 / 3) + LN2) / 2),
        ("classification", "bce", np.float32([[1, 0]]), np.float32([[LN3, 0]]), {}, (np.log(4 / 3) + LN2) / 2),
        # p = 1/2 on two pixels, one of them true: overlap 1/2, sizes 1 and 1; (2/2 + 1) / (2 + 1) = 2/3.
        ("segmentation", "dice", TRUE_FALSE, row(0, 0), {}, 1 / 3),
        ("segmentation", "bce_dice", TRUE_FALSE, row(0, 0), {"dice_weight": 0.25}, 0.75 * LN2 + 0.25 / 3),
        # Over both images: overlap 1, sizes 2 and 2: (2 + 1) / (2 + 2 + 1) = 3/5.
        ("segmentation", "dice", TWO_IMAGES, np.zeros((2, 1, 2, 1), np.float32), {}, 2 / 5),
        # p = 1/2: (1 - 1/2)^2 ln 2, times 1/4 where true and 3/4 where not.
        ("segmentation", "focal", TRUE_FALSE, row(0, 0), {}, (0.25 + 0.75) / 2 * 0.25 * LN2),
        ("classification", "focal", np.float32([[1, 0]]), np.float32([[0, 0]]), {}, (0.25 + 0.75) / 2 * 0.25 * LN2),
        # Errors 1 - x(2t - 1): true, x = -1: 2; false, x = 1/2: 3/2; true, x = 3: below 0. In this order the Jaccard
        # loss grows to 1/2 (one missed), then 2/3 (one added): 2 x 1/2 + 3/2 x 1/6 = 5/4.
        ("segmentation", "lovasz", row([1, 1], [0, 1], [1, 1]), row(-1, 0.5, 3), {}, 1.25),
        ("segmentation", "lovasz", row([1, 1], [0, 1], [1, 1]), row(2, -2, 1), {}, 0),  # beyond the margin
        # Both classes at p = 1/2 on one true pixel: each costs ln 2; with factors 3 and 1/2 the mean is 7/4 ln 2.
        ("segmentation", "bce", row([1, 1, 1]), row([0, 0]), {"class_weights": [3, 0.5]}, 1.75 * LN2),
        ("classification", "bce", np.ones((1, 2)), np.zeros((1, 2)), {"class_weights": [3, 0.5]}, 1.75 * LN2),
        # ln 3 where class 1 is true, ln 6 where class 2 is, 0 where none is.
        ("segmentation", "cce", CATEGORIES, LOG_ODDS, {}, (LN3 + np.log(6)) / 3),
        ("segmentation", "cce", CATEGORIES, LOG_ODDS, {"class_weights": [1, 2, 0]}, 2 * LN3 / 3),
        ("segmentation", "cce", CATEGORIES, LOG_ODDS, {"ohem_fraction": 1 / 3}, np.log(6)),
        # Costs of true pixels are ln(1 + e^-x); pixels that tie with the last are all among the hardest.
        ("segmentation", "bce", TWO_IMAGES, np.zeros((2, 1, 2, 1), np.float32), {"ohem_fraction": 0.25}, LN2),
        # Errors 1 and 4, weights 3 and 1: (3 + 4) / 4.
        ("forecasting", "mae", row([1, 3], [2, 1], [9, 0]), row(2, -2, 0), {}, 7 / 4),
        # cosh(ln 3) = (3 + 1/3) / 2 = 5/3. With scale 2 the error 2 ln 3 costs twice that logarithm.
        ("forecasting", "logcosh", row([1, 1]), row(1 + LN3), {}, np.log(5 / 3)),
        ("forecasting", "logcosh", row([1, 1]), row(1 - 2 * LN3), {"scale": 2}, 2 * np.log(5 / 3)),
        ("forecasting", "logcosh", row([1, 1]), row(1), {}, 0),
        ("forecasting", "logcosh", row([1, 1]), row(501), {}, 500 - LN2),
        ("forecasting", "share_bce", SHARES, row(0.5, 0.25), {}, SHARE_COST),
        ("forecasting", "share_bce", row([1, 1]), row(0), {}, -np.log(1e-6)),
        ("forecasting", "weighted_mae", GROWING, row(1, 1, 19, -4), GROWTH, (1 + 5 + 4 + 1) / 4),
        # Steepness ln 3 around 2: outputs 3, 2, 1 announce the event with 3/4, 1/2, 1/4. It came in the first two:
        # hits 5/4, misses 3/4, false alarms 1/4. With smooth 1/4 CSI = (3/2) / (5/2).
        ("forecasting", "mae_csi", row([5, 1], [2, 1], [0, 1]), row(3, 2, 1), CSI, 1 + 2 * 2 / 5),
        ("forecasting", "mae_csi", row([0, 1], [0, 1]), row(0, 0), {"threshold": 50}, 0),  # no event, none announced
        ("forecasting", "mae_csi", *HIT_AND_MISSED, {"threshold": 1, "steepness": 50, "score_weight": 1}, 1 + 2 / 5),
    ],
)
def test_values_by_hand(task, name, target, output, options, expected):
    assert value(task, name, target, output, **options) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_cce_dice_is_the_weighted_sum():
    cce, dice = (value("segmentation", name, CATEGORIES, LOG_ODDS) for name in ("cce", "dice"))
    both = value("segmentation", "cce_dice", CATEGORIES, LOG_ODDS, dice_weight=0.25)
    assert both == pytest.approx(0.75 * cce + 0.25 * dice, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in MASK_LOSSES if "cce" not in name])
def test_a_class_of_weight_0_has_no_effect_and_weights_1_change_nothing(name):
    target, logits = random_masks(2, 4, 5)
    alone = value("segmentation", name, target[..., [0, 2]], logits[..., :1])
    found = value("segmentation", name, target, logits, class_weights=[2, 0])
    assert found == pytest.approx(alone, rel=1e-5)
    plain = value("segmentation", name, target, logits)
    assert value("segmentation", name, target, logits, class_weights=[1, 1]) == pytest.approx(plain, rel=1e-6)


def test_ohem_is_the_mean_of_the_hardest_pixels_that_count():
    target, logits = random_masks(3, 7, 5, counting=0.7)
    costs = (np.log1p(np.exp(logits)) - logits * target[..., :2]).mean(axis=-1)
    costs = np.sort(costs[target[..., 2] > 0])[::-1]
    for fraction in (1e-6, 0.05, 0.25, 0.7, 1.0):
        hardest = costs[: max(1, round(fraction * len(costs)))]
        found = value("segmentation", "bce", target, logits, ohem_fraction=fraction)
        assert found == pytest.approx(hardest.mean(), rel=1e-5)
        slope = gradient("segmentation", "bce", target, logits, ohem_fraction=fraction)
        assert (slope != 0).any(axis=-1).sum() == len(hardest)


@pytest.mark.parametrize(("task", "name", "options"), SETTINGS)
def test_pixels_that_do_not_count_have_no_effect(task, name, options):
    rng = np.random.default_rng(0)
    counts = (rng.random((2, 6, 5, 1)) > 0.4).astype(np.float32)
    if task == "segmentation":
        truth = (rng.random((2, 6, 5, 3)) > 0.5).astype(np.float32)
        output = rng.normal(size=truth.shape).astype(np.float32)
        flags = [(1 - truth, 7 * rng.normal(size=truth.shape).astype(np.float32))]
    else:
        truth, output = rng.random((2, 2, 6, 5, 3), dtype=np.float32)
        flags = [(flag, flag) for flag in (1e6, np.nan, np.inf, -1e30)]
        counts = counts * rng.random((2, 6, 5, 3), dtype=np.float32)
    own = value(task, name, np.concatenate([truth, counts], -1), output, **options)
    assert own > 0
    for other_truth, other_output in flags:
        target = np.concatenate([np.where(counts > 0, truth, other_truth), counts], -1).astype(np.float32)
        other = np.where(counts > 0, output, other_output).astype(np.float32)
        assert value(task, name, target, other, **options) == pytest.approx(own, rel=1e-5)
        slope = gradient(task, name, target, other, **options)
        counting = np.broadcast_to(counts > 0, slope.shape)
        assert np.isfinite(slope).all()
        assert (slope[~counting] == 0).all()
        assert (slope[counting] != 0).mean() > (0.9 if task == "forecasting" else 0)


@pytest.mark.parametrize(("task", "name", "options"), SETTINGS)
@pytest.mark.parametrize("counting", [0, 1, 2])
def test_gradients_are_finite_and_the_loss_is_0_where_no_pixel_counts(task, name, options, counting):
    target = np.zeros((2, 4, 4, 3 if task == "segmentation" else 4), np.float32)
    target[:counting, ..., 2:] = 1
    for size in (0.0, 5.0, 80.0, 1e4 if task == "forecasting" else 1.0):
        output = size * np.random.default_rng(1).normal(size=(2, 4, 4, 2)).astype(np.float32)
        slope = gradient(task, name, target, output, **options)
        assert np.isfinite(slope).all()
        if not counting:
            assert value(task, name, target, output, **options) == 0
            assert (slope == 0).all()


@pytest.mark.parametrize(("task", "name", "options"), SETTINGS)
def test_a_better_prediction_costs_less(task, name, options):
    rng = np.random.default_rng(2)
    if task == "segmentation":
        truth = (rng.random((2, 8, 8, 2)) > 0.6).astype(np.float32)
        outputs = [(2 * truth - 1) * sure for sure in (-2.0, 0.0, 0.5, 0.9)]
    else:
        truth = rng.gamma(1, 1, (2, 8, 8, 2)).astype(np.float32)
        truth = truth / truth.max() if name == "share_bce" else truth
        worst = (0.01, 0.1) if name == "share_bce" else (-0.5, 0.0)
        outputs = [part * truth for part in (*worst, 0.5, 0.9)]
    target = np.concatenate([truth, np.ones_like(truth)[..., : 1 if task == "segmentation" else None]], -1)
    costs = [value(task, name, target, output, **options) for output in outputs]
    assert costs == sorted(set(costs), reverse=True)


@pytest.mark.parametrize(("task", "name", "options"), FORECASTS)
def test_forecast_losses_of_bfloat16_outputs_are_float32(task, name, options):
    output = keras.ops.cast(keras.ops.zeros((1, 3, 3, 1)), "bfloat16")
    loss = make_loss(FORECAST_LOSSES, name, options, task=task)(keras.ops.ones((1, 3, 3, 2)), output)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


@pytest.mark.parametrize(
    ("task", "name", "options", "message"),
    [
        ("segmentation", "bce_dise", {}, "did you mean 'bce_dice'"),
        ("classification", "dice", {}, "no loss 'dice' for classification"),
        ("segmentation", "focal", {"gama": 1}, "did you mean 'gamma'"),
        ("segmentation", "focal", {"gamma": "high"}, "'loss.options.gamma': Input should be a valid number"),
        ("segmentation", "focal", {"gamma": [2.0]}, "Input should be a valid number"),
        ("segmentation", "focal", {"gamma": float("inf")}, "Input should be a finite number; got inf"),
        ("classification", "focal", {"gamma": -2}, "gamma': Input should be greater than or .* got -2"),
        ("segmentation", "focal", {"alpha": 3}, "alpha': Input should be less than or .* got 3"),
        ("segmentation", "bce_dice", {"dice_weight": 7}, "dice_weight': Input should be less than or .* got 7"),
        ("segmentation", "dice", {"smooth": -1}, "smooth': Input should be greater than or .* got -1"),
        ("segmentation", "bce", {"ohem_fraction": 0}, "ohem_fraction': Input should be greater than 0; got 0"),
        ("segmentation", "dice", {"ohem_fraction": 0.5}, "unknown key 'loss.options.ohem_fraction'"),
        ("segmentation", "bce", {"class_weights": 2}, "class_weights': Input should be a list; got 2"),
        ("classification", "bce", {"class_weights": [1, -1]}, "class_weights.1': Input should be greater .* got -1"),
        ("segmentation", "bce", {"class_weights": [0, 0]}, r"give factors that are not all 0; got \[0, 0\]"),
        ("segmentation", "bce", {"class_weights": [1, 2, 3]}, r"each of the 2 classes, not \[1, 2, 3\]"),
        ("forecasting", "may", {}, r"no loss 'may' for forecasting \(did you mean 'mae'"),
        ("forecasting", "mae", {"scale": 1}, "unknown key 'loss.options.scale'. Known: none"),
        ("forecasting", "mae_csi", {"treshold": 1}, "did you mean 'threshold'"),
        ("forecasting", "mae_csi", {"steepness": 2}, "'loss.options.threshold' is missing"),
        ("forecasting", "mae_csi", {"threshold": "wet"}, "threshold': Input should be a valid number.*; got 'wet'"),
        ("forecasting", "mae_csi", {"threshold": float("nan")}, "threshold': Input should be a finite number; got nan"),
        ("forecasting", "mae_csi", {"threshold": 1, "steepness": 0}, "steepness': Input should be greater than 0"),
        ("forecasting", "mae_csi", {"threshold": 1, "score_weight": -1}, "score_weight': Input should be greater than"),
        ("forecasting", "logcosh", {"scale": True}, "scale': true and false are no values of this option; got True"),
        ("forecasting", "weighted_mae", {"greatest": 0.5}, "greatest': Input should be greater than .* to 1; got 0.5"),
    ],
)
def test_wrong_names_and_values_are_refused(task, name, options, message):
    with pytest.raises(ConfigError, match=message):
        make_loss(TABLES[task], name, options, task=task, classes=2)
