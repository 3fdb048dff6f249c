"""Blur, factor and decision threshold of an event: what they do to a map, and which are chosen."""

import numpy as np
import pytest

from skyfold.forecasting.baselines import rain_blend
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI
from skyfold.postprocess.forecasts import DecisionThreshold, Smoothing, best_candidate, smoothing_grid


def showers(rng: np.random.Generator, count: int, side: int = 24) -> np.ndarray:
    """Rain of some showers in dry surroundings: float32 (count, side, side, 1)."""
    rows, columns = np.mgrid[0:side, 0:side]
    maps = np.zeros((count, side, side, 1), np.float32)
    for one in maps:
        for _ in range(3):
            row, column, width = (*rng.uniform(4, side - 4, 2), rng.uniform(1.5, 3))
            one[..., 0] += rng.uniform(1, 8) * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    maps[maps < 0.05] = 0
    return maps


def test_a_decision_threshold_below_the_event_raises_and_one_above_lowers() -> None:
    """Event at 1. Decided at 0.5 all from 0.5 to 1 becomes 1; at 2, all from 1 up to 2 falls just below 1."""
    pred = np.array([0.0, 0.4, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0], np.float32)
    before = pred.copy()
    assert DecisionThreshold(0.5, 1.0).apply(pred).tolist() == pytest.approx([0, 0.4, 1, 1, 1, 1.5, 2, 3])
    lowered = DecisionThreshold(2.0, 1.0).apply(pred)
    np.testing.assert_allclose(lowered, [0, 0.4, 0.5, 0.9, 1, 1, 2, 3], atol=1e-6)
    assert (lowered >= 1.0).tolist() == [False] * 6 + [True] * 2
    np.testing.assert_array_equal(DecisionThreshold(1.0, 1.0).apply(pred), pred)
    np.testing.assert_array_equal(pred, before)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 37.5])
def test_what_is_lifted_is_an_event_for_the_metric(threshold: float) -> None:
    """0.1 has no float32: the nearest one must be on the right side of it, both ways."""
    pred = np.array([threshold * 0.7, threshold * 1.2], np.float32)
    assert (DecisionThreshold(0.5 * threshold, threshold).apply(pred) >= threshold).all()
    assert not (DecisionThreshold(2 * threshold, threshold).apply(pred) >= threshold).any()


def test_a_blur_keeps_the_rain_and_the_edge_of_the_map() -> None:
    """Far from the edge a blur moves rain and loses none; a map of one value stays as it is up to its edge."""
    pred = np.zeros((1, 25, 25, 1), np.float32)
    pred[0, 12, 12, 0] = 8.0
    blurred = Smoothing(1.0, 0.5).apply(pred)
    assert blurred.shape == pred.shape
    assert blurred.sum() == pytest.approx(4.0, rel=1e-3)
    assert blurred[0, 12, 12, 0] == pytest.approx(4.0 / (2 * np.pi), rel=0.1)  # the peak of a Gaussian of sigma 1
    assert pred[0, 12, 12, 0] == 8.0
    flat = np.full((2, 9, 7, 3), 2.0, np.float32)
    np.testing.assert_allclose(Smoothing(1.7, 0.9).apply(flat), 1.8, rtol=1e-5)
    np.testing.assert_array_equal(Smoothing(0.0, 1.0).apply(flat), flat)


def test_leads_are_blurred_apart() -> None:
    pred = np.zeros((1, 15, 15, 2), np.float32)
    pred[0, 7, 7, 1] = 1.0
    blurred = Smoothing(1.0, 1.0).apply(pred)
    assert not blurred[..., 0].any()
    assert blurred[0, 7, 8, 1] > 0


@pytest.mark.parametrize("factor", [0.8, 1.0])
def test_the_candidate_that_was_hidden_is_found(factor: float) -> None:
    """In more rows than are altered at a time."""
    pred = showers(np.random.default_rng(0), 40)
    found = best_candidate(smoothing_grid(), pred, np.float32(factor) * pred, MAE_BY_CSI)
    assert found == Smoothing(0.0, factor)
    np.testing.assert_array_equal(pred, showers(np.random.default_rng(0), 40))


def test_pixels_without_data_decide_nothing() -> None:
    pred = showers(np.random.default_rng(0), 3)
    target, valid = 0.8 * pred, np.ones((3, 24, 24), bool)
    target[:, :5], valid[:, :5] = 50.0, False
    assert best_candidate(smoothing_grid(), pred, target, MAE_BY_CSI, valid=valid) == Smoothing(0.0, 0.8)


def outcomes(members: np.ndarray, truth: np.ndarray) -> list[Hindcast]:
    """members (M, n, H, W, L)."""
    history = PastFrames(np.zeros((4, *truth.shape[1:3]), np.float32), np.array([1]))
    valid = np.ones(truth.shape[1:3], bool)
    return [Hindcast(history, members[:, i], truth[i], valid) for i in range(len(truth))]


def test_a_blend_of_rain_is_as_good_as_it_can_be_on_what_it_was_fitted_on() -> None:
    """Three members: the truth times 1.25 with drizzle of 0.09 around it, twice, and nothing at all. The median is one
    of the first two; its factor is 0.8, and the drizzle is no rain."""
    truth = showers(np.random.default_rng(0), 8)
    near = np.maximum(1.25 * truth, 0.09)
    members = np.stack([near, near, np.zeros_like(near)])
    fitted = rain_blend.RainBlend(stride=1).fit(outcomes(members, truth))
    assert fitted.smoothing == Smoothing(0.0, 0.8)
    assert fitted.edge.decision > 0.8 * 0.09
    said = np.stack([fitted.forecast(one.history, one.members) for one in outcomes(members, truth)])
    plain = rain_blend.RainBlend(smooth=False, edge=False).fit(outcomes(members, truth))
    unfitted = np.stack([plain.forecast(one.history, one.members) for one in outcomes(members, truth)])
    np.testing.assert_array_equal(unfitted, near)
    ours, theirs = (MAE_BY_CSI.score(MAE_BY_CSI.stats(target=truth, pred=pred)) for pred in (said, unfitted))
    assert ours < 0.5 * theirs
