"""Dice, IoU and pixel accuracy count what they say, and a selection of rows scores as those samples would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import InvalidSubmission
from skyfold.metrics.segmentation import METRICS, GlobalDice, GlobalIoU, MeanDice, PixelAccuracy, dice_score, iou_score


def mask(*rows):
    """Rows of 0 and 1, a sample of one class each: bool (n, 1, W, 1)."""
    return np.array(rows, dtype=bool)[:, None, :, None]


@st.composite
def pairs(draw):
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (4, 9, 9, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target, pred = (rng.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0])) for _ in range(2))
    return target, pred, rng.random(shape[:3]) < 0.7


# Two of four pixels predicted right of three true and two predicted ones: Dice 2*2/(3+2), IoU 2/3, accuracy 3/4.
TARGET, PRED = mask([1, 1, 1, 0]), mask([1, 1, 0, 0])
GOLDEN = {"mean_dice": 0.8, "mean_iou": 2 / 3, "global_dice": 0.8, "global_iou": 2 / 3, "pixel_accuracy": 0.75}


@pytest.mark.parametrize("name", METRICS)
def test_golden_value_undefined_pixels_and_no_samples(name):
    metric = METRICS[name]()
    assert metric.name == name
    assert metric.score(metric.stats(target=TARGET, pred=PRED)) == pytest.approx(GOLDEN[name], abs=1e-15)
    valid = np.array([[[True, True, False, True]]])
    assert metric.score(metric.stats(target=TARGET, pred=PRED, valid=valid)) == 1.0
    with pytest.raises(ValueError, match="no samples"):
        metric.score(metric.stats(target=TARGET, pred=PRED)[:0])


@pytest.mark.parametrize(
    ("metric", "target", "pred", "score"),
    [
        # Together 1 pixel in both, 2 true, 4 predicted: Dice 2/6, IoU 1/5. The mean of the two samples would be 1/2.
        (GlobalDice(), mask([1, 0, 0, 0], [1, 0, 0, 0]), mask([1, 0, 0, 0], [0, 1, 1, 1]), 2 / 6),
        (GlobalIoU(), mask([1, 0, 0, 0], [1, 0, 0, 0]), mask([1, 0, 0, 0], [0, 1, 1, 1]), 1 / 5),
        # A pixel is right only where every class is.
        (PixelAccuracy(), mask([1, 0, 0, 1]).reshape(1, 1, 2, 2), mask([1, 1, 0, 1]).reshape(1, 1, 2, 2), 0.5),
    ],
)
def test_metrics_pool_pixels_of_all_samples_and_classes_before_dividing(metric, target, pred, score):
    assert metric.score(metric.stats(target=target, pred=pred)) == pytest.approx(score)


def test_empty_maps_score_one_where_the_prediction_is_empty_too():
    target, pred = mask([0, 0], [0, 0]), mask([0, 0], [0, 1])
    for score in (dice_score, iou_score):
        assert score(target=target, pred=pred).tolist() == [[1.0], [0.0]]


@given(pair=pairs())
def test_scores_equal_sets_of_pixels(pair):
    target, pred, valid = pair
    dice, iou = (score(target=target, pred=pred, valid=valid) for score in (dice_score, iou_score))
    for i, k in np.ndindex(dice.shape):
        true, found = ({*zip(*np.nonzero(m[i, :, :, k] & valid[i]), strict=True)} for m in (target, pred))
        assert dice[i, k] == (2 * len(true & found) / (len(true) + len(found)) if true | found else 1.0)
        assert iou[i, k] == (len(true & found) / len(true | found) if true | found else 1.0)


@pytest.mark.parametrize("name", METRICS)
@given(pair=pairs())
def test_stats_of_chunks_are_stats_of_the_whole(name, pair):
    target, pred, valid = pair
    metric = METRICS[name]()
    whole = metric.stats(target=target, pred=pred, valid=valid)
    parts = [metric.stats(target=t[None], pred=p[None], valid=v[None]) for t, p, v in zip(*pair, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert metric.per_row(whole).shape == (len(target),)
    if name.startswith("mean"):
        assert metric.score(whole) == metric.per_row(whole).mean()


def test_columns_taller_than_a_byte_are_counted_in_full():
    full = np.ones((1, 700, 3, 2), dtype=bool)
    assert MeanDice().stats(target=full, pred=full).tolist() == [[2100.0] * 6]


NAN = np.array([[0, 0, 0, 0], [0, 0, np.nan, 0]], dtype=np.float32)[:, None, :, None]


@pytest.mark.parametrize(
    ("pred", "valid", "message"),
    [
        (NAN, None, "prediction, sample 1 of this chunk: NaN"),
        (np.full((2, 1, 4, 1), 0.5, dtype=np.float32), None, "Compare with a threshold first"),
        (np.zeros((2, 1, 3, 1), dtype=bool), None, "one shape"),
        (np.zeros((2, 1, 4, 1), dtype=bool), np.ones((2, 1, 4, 1), dtype=bool), "Leave the class axis off"),
    ],
)
def test_what_is_no_mask_is_refused(pred, valid, message):
    with pytest.raises(InvalidSubmission, match=message):
        dice_score(target=mask([0, 0, 0, 0], [0, 0, 0, 0]), pred=pred, valid=valid)


def test_strided_masks_and_zeros_and_ones_of_another_dtype_count_the_same():
    rng = np.random.default_rng(0)
    target, pred = (rng.random((3, 8, 10, 4)) < 0.5 for _ in range(2))
    target, pred = (part[::2, ::-1, 1::3, ::2] for part in (target, pred))
    strided = dice_score(target=target, pred=pred)
    np.testing.assert_array_equal(strided, dice_score(target=target.copy(), pred=pred.copy()))
    np.testing.assert_array_equal(strided, dice_score(target=target.astype(np.uint8), pred=pred.astype(np.float32)))
