"""Losses: values worked by hand, undefined pixels without a say, finite gradients where nothing is there."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.training.losses.segmentation import (
    MASK_LOSSES,
    PRESENCE_LOSSES,
    make_mask_loss,
    make_presence_loss,
    topk_pixels_bce,
)

LN2 = float(np.log(2))


def target_of(mask, valid):
    """(rows of 0/1), (rows of 0/1) -> (1, H, W, 2) for one class."""
    return np.stack([np.array(mask), np.array(valid)], axis=-1)[np.newaxis].astype(np.float32)


def value(name, target, logits, **options):
    loss = (make_mask_loss if target.ndim == 4 else make_presence_loss)(name, options)
    return float(loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(logits)))


def gradient(name, target, logits, **options):
    import tensorflow as tf

    x = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = make_mask_loss(name, options)(tf.constant(target), x)
    return np.asarray(tape.gradient(loss, x))


def test_bce_by_hand():
    # p = 1/2 everywhere costs ln 2 a pixel; a logit of ln 3 is p = 3/4, which costs ln(4/3) where true.
    target = target_of([[1, 0]], [[1, 1]])
    logits = np.array([[[[np.log(3)], [0]]]], np.float32)
    assert value("bce", target, logits) == pytest.approx((np.log(4 / 3) + LN2) / 2, rel=1e-5)


def test_dice_by_hand():
    # p = 1/2 on two pixels, one of them true: overlap 1/2, sizes 1 and 1; (2/2 + 1) / (2 + 1) = 2/3.
    target = target_of([[1, 0]], [[1, 1]])
    assert value("dice", target, np.zeros((1, 1, 2, 1), np.float32)) == pytest.approx(1 / 3, rel=1e-5)


def test_dice_per_image_is_the_mean_over_images():
    target = np.concatenate([target_of([[1, 1]], [[1, 1]]), target_of([[0, 0]], [[1, 1]])])
    logits = np.zeros((2, 1, 2, 1), np.float32)
    # image 1: overlap 1, sizes 1 + 2: 3/4; image 2: overlap 0, sizes 1 + 0: 1/2; together: (2 + 1) / (2 + 2 + 1) = 3/5.
    assert value("dice", target, logits, per_image=True) == pytest.approx((1 / 4 + 1 / 2) / 2, rel=1e-5)
    assert value("dice", target, logits) == pytest.approx(2 / 5, rel=1e-5)


def test_bce_dice_weighs_the_two():
    target = target_of([[1, 0]], [[1, 1]])
    logits = np.zeros((1, 1, 2, 1), np.float32)
    assert value("bce_dice", target, logits, dice_weight=0.25) == pytest.approx(0.75 * LN2 + 0.25 / 3, rel=1e-5)


def test_focal_by_hand():
    # p = 1/2: (1 - 1/2)^2 ln 2, times 1/4 where true and 3/4 where not.
    target = target_of([[1, 0]], [[1, 1]])
    logits = np.zeros((1, 1, 2, 1), np.float32)
    assert value("focal", target, logits) == pytest.approx((0.25 + 0.75) / 2 * 0.25 * LN2, rel=1e-5)


def test_lovasz_by_hand():
    # Errors 1 - x(2t - 1): pixel a (true, x = -1) 2, pixel b (false, x = 1/2) 3/2, pixel c (true, x = 3) below 0.
    # In this order the Jaccard loss grows to 1/2 (a missed), then 2/3 (b added): 2 x 1/2 + 3/2 x 1/6 = 5/4.
    target = target_of([[1, 0, 1]], [[1, 1, 1]])
    logits = np.array([-1, 0.5, 3], np.float32).reshape(1, 1, 3, 1)
    assert value("lovasz", target, logits) == pytest.approx(1.25, rel=1e-5)
    assert value("lovasz", target, logits, per_image=False) == pytest.approx(1.25, rel=1e-5)


def test_lovasz_is_zero_beyond_the_margin():
    target = target_of([[1, 0, 1]], [[1, 1, 1]])
    logits = np.array([2, -2, 1], np.float32).reshape(1, 1, 3, 1)
    assert value("lovasz", target, logits) == 0


def test_class_weights_are_factors_before_the_mean_over_classes():
    # Both classes at p = 1/2 on one true pixel: each costs ln 2; with factors 3 and 1/2 the mean is 7/4 ln 2.
    target = np.ones((1, 1, 1, 3), np.float32)
    logits = np.zeros((1, 1, 1, 2), np.float32)
    assert value("bce", target, logits, class_weights=[3, 0.5]) == pytest.approx(1.75 * LN2, rel=1e-5)
    assert value("bce", target[:, 0, 0, :2], logits[:, 0, 0], class_weights=[3, 0.5]) == pytest.approx(1.75 * LN2)


def test_categorical_cross_entropy_is_that_of_the_class_that_a_pixel_has():
    """Shares 1/2, 1/3, 1/6 have the log-odds 0, -ln 2, -ln 5. The truth is the second class in one pixel, ln 3, the
    third in another, ln 6; a pixel of no class costs nothing, an undefined one does not count: (ln 3 + ln 6) / 3."""
    target = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]], np.float32).reshape(1, 1, 4, 4)
    logits = np.tile(np.array([0, -LN2, -np.log(5)], np.float32), (1, 1, 4, 1))
    assert value("cce", target, logits) == pytest.approx((np.log(3) + np.log(6)) / 3, rel=1e-5)
    weighted = value("cce", target, logits, class_weights=[1, 2, 0])
    assert weighted == pytest.approx(2 * np.log(3) / 3, rel=1e-5)
    assert value("cce", target, logits, ohem_fraction=1 / 3) == pytest.approx(np.log(6), rel=1e-5)
    both = value("cce_dice", target, logits, dice_weight=0.25)
    assert both == pytest.approx(0.75 * value("cce", target, logits) + 0.25 * value("dice", target, logits), rel=1e-5)


SETTINGS = [
    *((name, {}) for name in MASK_LOSSES),
    ("dice", {"per_image": True}),
    ("lovasz", {"per_image": False}),
    ("bce_dice", {"topk_weight": 1.0, "topk_fraction": 0.2}),
    *((name, {"ohem_fraction": 0.3}) for name in ("bce", "focal", "bce_dice")),
]


@pytest.mark.parametrize(("name", "options"), [setting for setting in SETTINGS[:-3] if "cce" not in setting[0]])
def test_a_class_of_factor_0_has_no_say_and_factors_1_change_nothing(name, options):
    rng = np.random.default_rng(3)
    mask = (rng.random((2, 4, 5, 2)) > 0.5).astype(np.float32)
    target = np.concatenate([mask, np.ones((2, 4, 5, 1), np.float32)], -1)
    logits = rng.normal(size=mask.shape).astype(np.float32)
    first_alone = value(name, target[..., [0, 2]], logits[..., :1], **options)
    assert value(name, target, logits, class_weights=[2, 0], **options) == pytest.approx(first_alone, rel=1e-5)
    assert value(name, target, logits, class_weights=[1, 1], **options) == pytest.approx(
        value(name, target, logits, **options), rel=1e-6
    )


def test_hard_share_is_the_mean_of_the_hardest_pixels_that_count():
    # Costs of the true pixels are ln(1 + e^-x): the two highest of the four that count are at x = -2 and x = 0; the
    # undefined one at x = -9 would be the hardest of all.
    target = target_of([[1, 1, 1, 1, 1]], [[1, 1, 0, 1, 1]])
    logits = np.array([0, 3, -9, -2, 1], np.float32).reshape(1, 1, 5, 1)
    hardest = (np.log1p(np.exp(2)) + LN2) / 2
    assert value("bce", target, logits, ohem_fraction=0.5) == pytest.approx(hardest, rel=1e-5)
    assert value("bce", target, logits, ohem_fraction=1e-6) == pytest.approx(np.log1p(np.exp(2)), rel=1e-5)
    slope = gradient("bce", target, logits, ohem_fraction=0.5).ravel()
    assert (slope != 0).tolist() == [True, False, False, True, False]


def test_hard_share_against_sorting():
    rng = np.random.default_rng(4)
    mask = (rng.random((3, 7, 5, 2)) > 0.5).astype(np.float32)
    valid = (rng.random((3, 7, 5, 1)) > 0.3).astype(np.float32)
    logits = rng.normal(size=mask.shape).astype(np.float32)
    costs = (np.log1p(np.exp(logits)) - logits * mask).mean(axis=-1)[valid[..., 0] > 0]
    for share in (0.05, 0.25, 0.7, 1.0):
        hardest = np.sort(costs)[::-1][: round(share * len(costs))]
        found = value("bce", np.concatenate([mask, valid], -1), logits, ohem_fraction=share)
        assert found == pytest.approx(hardest.mean(), rel=1e-5)


def test_ties_are_all_among_the_hardest():
    target = target_of([[1, 0, 1, 0]], [[1, 1, 1, 1]])
    assert value("bce", target, np.zeros((1, 1, 4, 1), np.float32), ohem_fraction=0.25) == pytest.approx(LN2, rel=1e-5)


def test_presence_by_the_surest_pixels_by_hand():
    # Half of four pixels are two; an image that shows the class, surest ln 3 + ln 27 over 2 = ln 9: p = 9/10. One that
    # does not, of which two pixels count, 0 and -2 ln 3: their mean -ln 3 is p = 1/4.
    target = np.concatenate([target_of([[0, 1, 0, 0]], [[1, 1, 1, 1]]), target_of([[0, 0, 0, 1]], [[1, 1, 0, 0]])])
    ln3 = np.log(3)
    logits = np.array([[ln3, -5, 3 * ln3, 0], [0, -2 * ln3, 9, 9]], np.float32).reshape(2, 1, 4, 1)
    expected = (np.log(10 / 9) + np.log(4 / 3)) / 2
    found = topk_pixels_bce(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(logits), share=0.5)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    plain = value("bce_dice", target, logits)
    together = value("bce_dice", target, logits, topk_weight=2, topk_fraction=0.5)
    assert together == pytest.approx(plain + 2 * expected, rel=1e-5)


def test_presence_losses_by_hand():
    labels = np.array([[1, 0]], np.float32)
    logits = np.array([[np.log(3), 0]], np.float32)
    assert value("bce", labels, logits) == pytest.approx((np.log(4 / 3) + LN2) / 2, rel=1e-5)
    assert value("focal", labels, np.zeros((1, 2), np.float32)) == pytest.approx(0.25 * LN2 / 2, rel=1e-5)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_undefined_pixels_count_nowhere(name, options):
    rng = np.random.default_rng(0)
    mask = (rng.random((2, 6, 5, 3)) > 0.5).astype(np.float32)
    valid = (rng.random((2, 6, 5, 1)) > 0.4).astype(np.float32)
    logits = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    other_mask = np.where(valid > 0, mask, 1 - mask)
    other_logits = np.where(valid > 0, logits, 7 * rng.normal(size=logits.shape).astype(np.float32))
    own = value(name, np.concatenate([mask, valid], -1), logits, **options)
    assert own > 0
    other = value(name, np.concatenate([other_mask, valid], -1), other_logits, **options)
    assert other == pytest.approx(own, rel=1e-5)
    slope = gradient(name, np.concatenate([mask, valid], -1), logits, **options)
    assert np.abs(slope[np.broadcast_to(valid, slope.shape) == 0]).max() == 0
    assert np.abs(slope).max() > 0


@pytest.mark.parametrize(("name", "options"), SETTINGS)
@pytest.mark.parametrize("case", ["all empty", "all undefined", "one image undefined"])
def test_gradient_is_finite(name, options, case):
    target = np.zeros((2, 4, 4, 3), np.float32)
    if case != "all undefined":
        target[: 1 if case == "one image undefined" else 2, ..., -1] = 1
    for size in (0.0, 5.0, 80.0):
        logits = size * np.random.default_rng(1).normal(size=(2, 4, 4, 2)).astype(np.float32)
        assert np.isfinite(gradient(name, target, logits, **options)).all()
        if case == "all undefined":
            assert value(name, target, logits, **options) == 0


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_a_better_answer_costs_less(name):
    rng = np.random.default_rng(2)
    mask = (rng.random((2, 8, 8, 2)) > 0.6).astype(np.float32)
    target = np.concatenate([mask, np.ones((2, 8, 8, 1), np.float32)], -1)
    costs = [value(name, target, (2 * mask - 1) * sure) for sure in (-2.0, 0.0, 0.5, 0.9)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 4


@pytest.mark.parametrize(
    ("name", "options", "make", "message"),
    [
        ("bce_dise", {}, make_mask_loss, "did you mean 'bce_dice'"),
        ("dice", {}, make_presence_loss, "no loss 'dice' for classification"),
        ("focal", {"gama": 1}, make_mask_loss, "did you mean 'gamma'"),
        ("focal", {"gamma": "high"}, make_mask_loss, "'loss.options.gamma': Input should be a valid number"),
        ("focal", {"gamma": [2.0]}, make_mask_loss, "Input should be a valid number"),
        ("focal", {"gamma": float("inf")}, make_mask_loss, "Input should be a finite number; got inf"),
        ("focal", {"gamma": -2}, make_presence_loss, "gamma': Input should be greater than or .* got -2"),
        ("focal", {"alpha": 3}, make_mask_loss, "alpha': Input should be less than or .* got 3"),
        (
            "bce_dice",
            {"dice_weight": 7},
            make_mask_loss,
            "dice_weight': Input should be less than or .* got 7",
        ),
        (
            "bce_dice",
            {"topk_weight": -3},
            make_mask_loss,
            "topk_weight': Input should be greater than or .* got -3",
        ),
        ("dice", {"smooth": -1}, make_mask_loss, "smooth': Input should be greater than or .* got -1"),
        ("dice", {"per_image": 1}, make_mask_loss, "per_image': expected true or false; got 1"),
        ("bce", {"ohem_fraction": 0}, make_mask_loss, "ohem_fraction': Input should be greater than 0; got 0"),
        ("dice", {"ohem_fraction": 0.5}, make_mask_loss, "unknown key 'loss.options.ohem_fraction'"),
        ("bce", {"class_weights": 2}, make_mask_loss, "class_weights': Input should be a list; got 2"),
        (
            "bce",
            {"class_weights": [1, -1]},
            make_presence_loss,
            "class_weights.1': Input should be greater than or .* got -1",
        ),
        ("bce", {"class_weights": [0, 0]}, make_mask_loss, r"give factors that are not all 0; got \[0, 0\]"),
        ("bce", {"class_weights": [1, 2, 3]}, make_mask_loss, r"each of the 2 classes, not \[1, 2, 3\]"),
    ],
)
def test_wrong_names_and_values_are_refused(name, options, make, message):
    with pytest.raises(ConfigError, match=message):
        make(name, options, classes=2)


def test_presence_has_losses_of_its_own():
    assert set(PRESENCE_LOSSES) == {"bce", "focal"}
