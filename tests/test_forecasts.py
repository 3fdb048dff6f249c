"""Baselines: values worked by hand, and the fast neighbours against a slow search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import DataLayoutError
from skyfold.forecasting.baselines import nearest_neighbours
from skyfold.forecasting.baselines.damped_anomaly import DampedAnomaly
from skyfold.forecasting.baselines.linear_trend import LinearTrend
from skyfold.forecasting.baselines.mean_of_years import MeanOfYears
from skyfold.forecasting.baselines.persistence import Persistence
from skyfold.forecasting.past_frames import PastFrames


def history(*values, lead_times=(1,), period=1):
    """One cell."""
    return PastFrames(np.array(values, dtype=np.float32).reshape(-1, 1, 1), np.array(lead_times), period)


# Two seasons a year: wanted are the frames 6 and 7; frames 0, 2, 4 are of the season of 6.
TWO_SEASONS = history(10, 1, 20, 2, 60, 6, lead_times=(1, 2), period=2)


@pytest.mark.parametrize(
    ("baseline", "frames", "expected"),
    [
        (Persistence(), history(1, 2, 3, lead_times=(1, 2)), [3, 3]),
        (MeanOfYears(years=1), TWO_SEASONS, [60, 6]),
        (MeanOfYears(years=2), TWO_SEASONS, [40, 4]),
        (MeanOfYears(), TWO_SEASONS, [30, 3]),
        (LinearTrend(), history(10, 20, 30, 40), [50]),
        (LinearTrend(years=3), history(300, 60, 30, 0), [0]),  # cut off at the ends of the unit
        (LinearTrend(), history(50, 150, 250), [250]),
        # The last frame is 100, of a season with 0 and 100 before 100 and 200: slope 5000 / (5000 + 2500).
        (DampedAnomaly(), history(7, 0, 100, 100, 200, 100, period=2), [150 + 2 / 3 * (100 - 50)]),
        # Without a link between the seasons the mean is forecast.
        (DampedAnomaly(years=8), history(*[100, 50, 120, 50] * 4, 200, period=2), [50]),
    ],
)
def test_values_worked_by_hand(baseline, frames, expected):
    assert baseline.forecast(frames)[0, 0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("baseline", "frames", "message"),
    [
        (MeanOfYears(years=4), history(1, 2, 3), "4 earlier years was asked for, the history holds 3"),
        (MeanOfYears(years=1), history(1, 2, 3, 4, lead_times=(3,), period=2), "more than a year"),
        *((family(), history(*range(40), period=None), "these frames have no season")
          for family in (DampedAnomaly, LinearTrend, MeanOfYears)),
    ],
)  # fmt: skip
def test_frames_that_lack_the_season_are_refused(baseline, frames, message):
    with pytest.raises(DataLayoutError, match=message):
        baseline.forecast(frames)


def test_the_line_is_that_of_least_squares():
    values = np.random.default_rng(0).uniform(100, 150, 17)
    expected = np.polyval(np.polyfit(np.arange(10), values[-10:], 1), 10)
    assert LinearTrend(years=10).forecast(history(*values))[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def slow_neighbours(examples, became, asked, k):
    """All distances, sorted; those as far as the k-th share the places that nearer ones leave."""
    answers = []
    for query in asked.astype(int):
        distance = np.abs(examples.astype(int) - query).sum(axis=1)
        if (distance == 0).any():
            answers.append(became[distance == 0].mean())
            continue
        edge = np.sort(distance)[min(k, len(distance)) - 1]
        share = np.where(distance < edge, 1.0, 0.0)
        at_edge = distance == edge
        share[at_edge] = (min(k, len(distance)) - (distance < edge).sum()) / at_edge.sum()
        answers.append(np.average(became, weights=share / distance))
    return np.array(answers)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    features=st.integers(1, 13),
    most=st.sampled_from([2, 9, 250]),
    count=st.integers(1, 120),
    k=st.integers(1, 60),
)
def test_fast_neighbours_are_those_of_the_slow_search(seed, features, most, count, k):
    rng = np.random.default_rng(seed)
    examples = rng.integers(0, most + 1, (count, features), dtype=np.uint8)
    became = rng.integers(0, 251, count, dtype=np.uint8)
    asked = rng.integers(0, most + 1, (30, features), dtype=np.uint8)
    got = nearest_neighbours.neighbour_means(examples, became, asked, k)
    np.testing.assert_allclose(got, slow_neighbours(examples, became, asked, k), rtol=1e-12)


def test_neighbours_learn_from_the_year_before():
    """Every cell that stood at 100 fell to 40 last year: so do those that stand at 100 now."""
    frames = np.array([[100, 7], [40, 100]], dtype=np.uint8).reshape(2, 1, 2)
    forecast = nearest_neighbours.NearestNeighbours(k=1, lags=1).forecast(PastFrames(frames, np.array([1]), 1))
    assert forecast[0, 1, 0] == 40
