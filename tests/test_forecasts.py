"""Forecasts without a network: values worked by hand, and the fast neighbours against the obvious slow ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import DataLayoutError
from skyfold.forecasting.baselines import damped_anomaly, linear_trend, mean_of_years, nearest_neighbours, persistence
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import SHRINKAGE


def history(*values: float, lead_times: tuple[int, ...] = (1,), period: int = 1) -> PastFrames:
    """One cell."""
    return PastFrames(np.array(values, dtype=np.float32).reshape(-1, 1, 1), np.array(lead_times), period)


def test_persistence_repeats_the_last_frame():
    assert persistence.Persistence().forecast(history(1, 2, 3, lead_times=(1, 2))).tolist() == [[[3, 3]]]


def test_means_are_over_the_same_season():
    # Two seasons a year: wanted are the frames 6 and 7; frames 0, 2, 4 are of the season of 6.
    two_seasons = history(10, 1, 20, 2, 60, 6, lead_times=(1, 2), period=2)
    assert mean_of_years.MeanOfYears(years=1).forecast(two_seasons).tolist() == [[[60, 6]]]
    assert mean_of_years.MeanOfYears(years=2).forecast(two_seasons).tolist() == [[[40, 4]]]
    assert mean_of_years.MeanOfYears().forecast(two_seasons).tolist() == [[[30, 3]]]


def test_a_mean_of_more_years_than_there_are_is_refused():
    with pytest.raises(DataLayoutError, match="4 earlier years was asked for, the history holds 3"):
        mean_of_years.MeanOfYears(years=4).forecast(history(1, 2, 3))


def test_the_season_a_year_before_needs_to_be_known():
    with pytest.raises(DataLayoutError, match="more than a year"):
        mean_of_years.MeanOfYears(years=1).forecast(history(1, 2, 3, 4, lead_times=(3,), period=2))


def test_a_line_is_carried_on_and_cut_off():
    assert linear_trend.LinearTrend().forecast(history(10, 20, 30, 40))[0, 0, 0] == pytest.approx(50, abs=1e-4)
    assert linear_trend.LinearTrend(years=3).forecast(history(300, 60, 30, 0))[0, 0, 0] == 0
    assert linear_trend.LinearTrend().forecast(history(50, 150, 250))[0, 0, 0] == 250


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    values = rng.uniform(100, 150, 17)
    expected = np.polyval(np.polyfit(np.arange(10), values[-10:], 1), 10)
    assert linear_trend.LinearTrend(years=10).forecast(history(*values))[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_a_departure_is_damped_by_what_was_left_of_it_in_earlier_years():
    # Two seasons; the later one departs from its mean by half of what the earlier one does, in every year.
    earlier, later = np.array([100, 200, 120, 180, 100, 200, 110, 190]), 150
    values = [v for e in earlier for v in (e, later + (e - 150) / 2)]
    departs = earlier.astype(float) - 150
    together, squares = (departs * departs / 2).sum(), (departs**2).sum()
    slope = together / (squares + SHRINKAGE)
    forecast = damped_anomaly.DampedAnomaly(years=8).forecast(history(*values, 230, lead_times=(1,), period=2))
    assert forecast[0, 0, 0] == pytest.approx(150 + slope * (230 - 150), rel=1e-5)


def test_a_damped_anomaly_of_three_years_has_two_pairs_of_seasons():
    """The last frame is 100, of a season with 0 and 100 before 100 and 200: slope 5000 / (5000 + 2500)."""
    forecast = damped_anomaly.DampedAnomaly().forecast(history(7, 0, 100, 100, 200, 100, period=2))
    assert forecast[0, 0, 0] == pytest.approx(150 + 2 / 3 * (100 - 50), rel=1e-5)


def test_without_a_link_between_seasons_the_mean_is_forecast():
    values = [v for year in range(8) for v in (100 + 20 * (year % 2), 50)]
    forecast = damped_anomaly.DampedAnomaly(years=8).forecast(history(*values, 200, lead_times=(1,), period=2))
    assert forecast[0, 0, 0] == pytest.approx(50)


def slow_neighbours(examples: np.ndarray, became: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
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


def test_weights_are_those_of_scikit_learn():
    """Where all examples are neighbours, so that it does not matter which of equally far ones it picks."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(3)
    examples, asked = rng.integers(0, 251, (2, 200, 12), dtype=np.uint8)
    became = rng.integers(0, 251, 200, dtype=np.uint8)
    asked[0] = examples[0]  # exactly alike: it alone counts
    regressor = neighbors.KNeighborsRegressor(n_neighbors=200, weights="distance", p=1).fit(examples, became)
    got = nearest_neighbours.neighbour_means(examples, became, asked, k=200)
    np.testing.assert_allclose(got, regressor.predict(asked), rtol=1e-12)


def test_neighbours_learn_from_the_year_before():
    """Every cell that stood at 100 fell to 40 last year: so do those that stand at 100 now."""
    frames = np.array([[100, 7], [40, 100]], dtype=np.uint8).reshape(2, 1, 2)
    forecast = nearest_neighbours.NearestNeighbours(k=1, lags=1).forecast(PastFrames(frames, np.array([1]), 1))
    assert forecast[0, 1, 0] == 40


@pytest.mark.parametrize("family", [damped_anomaly, linear_trend, mean_of_years])
def test_frames_without_a_season_are_refused(family):
    with pytest.raises(DataLayoutError, match="these frames have no season"):
        family.PLUGIN().forecast(PastFrames(np.zeros((40, 2, 2), np.float32), np.array([1])))
