"""The curve is scikit-learn's, and a threshold read off it gives what was wanted on the same samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from skyfold.metrics.pr_curve import average_precision, precision_recall, threshold_for_precision, threshold_for_recall


@st.composite
def samples(draw):
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = np.round(rng.random(count), draw(st.integers(0, 3)))  # few decimals: many ties
    labels = rng.random(count) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    labels[rng.integers(count)] = True
    return scores, labels


@given(case=samples())
def test_curve_equals_scikit_learn(case):
    scores, labels = case
    curve = precision_recall(scores, labels)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.precision, precision[:-1], rtol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[:-1], rtol=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), rel=1e-12)


@given(case=samples(), wanted=st.floats(0, 1))
def test_threshold_gives_the_wanted_precision_at_the_greatest_recall(case, wanted):
    scores, labels = case
    point = threshold_for_precision(scores, labels, wanted)
    curve = precision_recall(scores, labels)
    passing = scores >= point.threshold
    assert point.precision == labels[passing].mean()
    assert point.recall == labels[passing].sum() / labels.sum()
    assert point.reached == (curve.precision.max() >= wanted)
    if point.reached:
        assert point.precision >= wanted
        assert (curve.precision[curve.thresholds < point.threshold] < wanted).all()
    else:
        assert point.precision == curve.precision.max()


@given(case=samples(), wanted=st.floats(0, 1))
def test_threshold_gives_the_wanted_recall_and_is_the_highest_to_do_so(case, wanted):
    scores, labels = case
    point = threshold_for_recall(scores, labels, wanted)
    higher = scores[scores > point.threshold]
    assert labels[scores >= point.threshold].sum() / labels.sum() >= wanted
    assert not len(higher) or labels[scores >= higher.min()].sum() / labels.sum() < wanted


def test_golden_curve():
    # From the top: 0.9 is right (1/1), 0.8 wrong (1/2), both at 0.4 come together with one right (2/4).
    curve = precision_recall(np.array([0.4, 0.9, 0.4, 0.8]), np.array([True, True, False, False]))
    assert curve.thresholds.tolist() == [0.4, 0.8, 0.9]
    assert curve.precision.tolist() == [0.5, 0.5, 1.0]
    assert curve.recall.tolist() == [1.0, 0.5, 0.5]


def test_precision_out_of_reach_takes_the_best_there_is():
    point = threshold_for_precision(np.array([0.9, 0.8, 0.7]), np.array([False, True, True]), 0.95)
    assert (point.threshold, point.precision, point.reached) == (0.7, pytest.approx(2 / 3), False)


@pytest.mark.parametrize("read_off", [threshold_for_precision, threshold_for_recall])
def test_without_a_positive_sample_nothing_passes(read_off):
    scores = np.array([0.2, 1.0], dtype=np.float32)
    labels = np.zeros(2, dtype=bool)
    assert not (scores.astype(np.float64) >= read_off(scores, labels, 0.5).threshold).any()
    assert average_precision(scores, labels) == 0.0


def test_nan_swapped_and_missing_samples_are_refused():
    labels = np.array([True, False])
    with pytest.raises(ValueError, match="sample 1 is NaN"):
        precision_recall(np.array([0.1, np.nan]), labels)
    with pytest.raises(ValueError, match="bool labels"):
        precision_recall(labels, np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="n > 0"):
        precision_recall(np.array([]), np.array([], dtype=bool))
