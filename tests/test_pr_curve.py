"""A threshold read off the precision-recall curve gives what was wanted on the same samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from skyfold.metrics.pr_curve import average_precision, threshold_for_precision, threshold_for_recall


@st.composite
def samples(draw):
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = np.round(rng.random(count), draw(st.integers(0, 3)))  # few decimals: many ties
    labels = rng.random(count) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    labels[rng.integers(count)] = True
    return scores, labels


@given(case=samples(), wanted=st.floats(0, 1))
def test_threshold_gives_the_wanted_precision_at_the_greatest_recall(case, wanted):
    scores, labels = case
    point = threshold_for_precision(scores, labels, wanted)
    precision, _, thresholds = precision_recall_curve(labels, scores)
    passing = scores >= point.threshold
    assert point.precision == labels[passing].mean()
    assert point.recall == labels[passing].sum() / labels.sum()
    assert point.reached == (precision[:-1].max() >= wanted)
    if point.reached:
        assert point.precision >= wanted
        assert (precision[:-1][thresholds < point.threshold] < wanted).all()
    else:
        assert point.precision == precision[:-1].max()


@given(case=samples(), wanted=st.floats(0, 1))
def test_threshold_gives_the_wanted_recall_and_is_the_highest_to_do_so(case, wanted):
    scores, labels = case
    point = threshold_for_recall(scores, labels, wanted)
    higher = scores[scores > point.threshold]
    assert labels[scores >= point.threshold].sum() / labels.sum() >= wanted
    assert not len(higher) or labels[scores >= higher.min()].sum() / labels.sum() < wanted


def test_golden_points():
    # From the top: 0.9 is right (1/1), 0.8 wrong (1/2), both at 0.4 come together with one right (2/4).
    scores, labels = np.array([0.4, 0.9, 0.4, 0.8]), np.array([True, True, False, False])
    assert average_precision(scores, labels) == 0.5 * 1.0 + 0.5 * 0.5
    point = threshold_for_precision(scores, labels, 0.6)
    assert (point.threshold, point.precision, point.recall, point.reached) == (0.9, 1.0, 0.5, True)
    point = threshold_for_recall(scores, labels, 0.6)
    assert (point.threshold, point.precision, point.recall, point.reached) == (0.4, 0.5, 1.0, True)
    point = threshold_for_precision(scores, ~labels, 0.95)  # out of reach: the best there is, 2/4
    assert (point.threshold, point.precision, point.reached) == (0.4, 0.5, False)


@pytest.mark.parametrize("read_off", [threshold_for_precision, threshold_for_recall])
def test_without_a_positive_sample_nothing_passes(read_off):
    scores = np.array([0.2, 1.0], dtype=np.float32)
    labels = np.zeros(2, dtype=bool)
    assert not (scores.astype(np.float64) >= read_off(scores, labels, 0.5).threshold).any()
    assert average_precision(scores, labels) == 0.0


@pytest.mark.parametrize("read_off", [threshold_for_precision, threshold_for_recall])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.array([0.1, np.nan]), np.array([True, False]), "NaN"),
        (np.array([True, False]), np.array([0.1, 0.2]), "continuous"),
        (np.array([0.1]), np.array([True, False]), "inconsistent numbers of samples"),
    ],
)
def test_nan_swapped_and_missing_samples_are_refused(read_off, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        read_off(scores, labels, 0.5)
