"""The stacked gate: its features from histograms, and its regression."""

import numpy as np
import pytest

from skyfold.blending.stack import LogisticStack
from skyfold.postprocess.gate_stack import MIN_PROBABILITY, TOP_FRACTIONS, features_of, fit_gate_stack


def test_top_means_are_those_of_the_sorted_pixels():
    rng = np.random.default_rng(0)
    prob = rng.integers(0, 256, (3, 20, 25, 2), dtype=np.uint8)
    found = features_of(prob, np.full((3, 2), 0.5))
    for i in range(3):
        for k in range(2):
            highest = np.sort(prob[i, ..., k].ravel())[::-1] / 255.0
            for f, fraction in enumerate(TOP_FRACTIONS):
                mean = np.clip(highest[: max(1, int(500 * fraction))].mean(), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
                assert found[i, k, f] == pytest.approx(np.log(mean / (1 - mean)), abs=1e-5)
    assert (found[..., -1] == 0).all()  # the classifier's one half


def test_only_valid_pixels_count():
    prob = np.zeros((1, 4, 4, 1), dtype=np.uint8)
    prob[0, :2] = 255
    valid = np.ones((1, 4, 4), dtype=bool)
    valid[0, :2] = False
    found = features_of(prob, np.array([[1.0]]), valid)
    floor = np.log(MIN_PROBABILITY / (1 - MIN_PROBABILITY))
    assert found[0, 0, :-1] == pytest.approx([floor] * len(TOP_FRACTIONS), abs=1e-5)
    assert found[0, 0, -1] == pytest.approx(-floor, abs=1e-5)


def test_an_image_without_valid_pixels_has_the_lowest_features():
    prob = np.full((1, 2, 2, 1), 200, dtype=np.uint8)
    found = features_of(prob, np.array([[0.5]]), np.zeros((1, 2, 2), dtype=bool))
    assert (found[0, 0, :-1] < -6).all()


def test_probability_by_hand():
    stack = LogisticStack(coef_=((1.0, -2.0),), intercept_=(0.5,))
    # 1 * 3 - 2 * 1 + 0.5 = 1.5; 1 / (1 + exp(-1.5)) = 0.817574
    assert stack.probability(np.array([[[3.0, 1.0]]]))[0, 0] == pytest.approx(0.817574, abs=1e-6)


def test_the_informative_feature_is_found_and_the_class_is_told_apart():
    rng = np.random.default_rng(1)
    present = rng.random((400, 2)) < 0.5
    given = rng.normal(size=(400, 2, 3))
    given[..., 1] += np.where(present, 2.0, -2.0)
    stack = fit_gate_stack(given, present)
    coef = np.abs(np.array(stack.coef_))
    assert (coef.argmax(axis=1) == 1).all()
    right = (stack.probability(given) > 0.5) == present
    assert right.mean() > 0.95


@pytest.mark.parametrize(("there", "side"), [(True, 1), (False, -1)])
def test_a_class_always_or_never_present_gets_its_frequency(there, side):
    stack = fit_gate_stack(np.random.default_rng(2).normal(size=(9, 1, 2)), np.full((9, 1), there))
    probability = stack.probability(np.zeros((1, 1, 2)))[0, 0]
    assert probability == pytest.approx(0.95 if side == 1 else 0.05)  # (9 + 0.5) / 10 and 0.5 / 10
