"""Forecast weights: the least error against a linear program over all cells, ratios against a fine grid, and blends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skyfold.errors import ConfigError, OofMismatch
from skyfold.forecasting import forecast_weights
from skyfold.forecasting.baselines.weighted_blend import FittedWeights, WeightedBlend, block_map
from skyfold.forecasting.forecast_weights import fit_forecast_weights
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import RAIN_RATE, ErrorBySkill

ONE_REGION = np.zeros((4, 4), dtype=int)
AT_ONE = ErrorBySkill(RAIN_RATE, threshold=1.0, skill="csi")


def least_error(values, truth):
    """The least mean absolute error by one linear program over all cells: values (M, cells), truth (cells,)."""
    models, cells = values.shape
    found = linprog(
        np.concatenate([np.zeros(models), np.full(cells, 1.0 / cells)]),
        A_ub=np.block([[values.T, -np.eye(cells)], [-values.T, -np.eye(cells)]]),
        b_ub=np.concatenate([truth, -truth]),
        A_eq=np.concatenate([np.ones(models), np.zeros(cells)])[None],
        b_eq=[1.0],
        bounds=[(0, None)] * (models + cells),
    )
    return found.fun


def forecasts(seed, samples=5, leads=2, members=3, unknown=0.0):
    """(M, N, H, W, L) forecasts, each with more noise than the one before, and (N, H, W, L) truth."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(0.5, 2.0, (samples, 4, 4, leads)).astype(np.float32)
    noise = 0.3 + 0.5 * np.arange(members)
    arrays = (truth + noise[:, None, None, None, None] * rng.normal(size=(members, *truth.shape))).astype(np.float32)
    truth[rng.random(truth.shape) < unknown] = np.nan
    return arrays, truth


@given(seed=st.integers(0, 10**6), members=st.sampled_from([1, 2, 3, 10]), unknown=st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=15)
def test_the_error_is_the_least_of_all_weights(seed, members, unknown):
    arrays, truth = forecasts(seed, members=members, unknown=unknown)
    regions = np.random.default_rng(seed).integers(0, 3, (4, 4))
    weights = fit_forecast_weights(arrays, truth, regions)
    assert weights.shape == (2, regions.max() + 1, members)
    np.testing.assert_allclose(weights.sum(axis=2), 1.0)
    assert (weights >= 0).all()
    for lead, region in np.ndindex(weights.shape[:2]):
        own = truth[:, regions == region, lead].ravel()
        known = ~np.isnan(own)
        if not known.any():
            np.testing.assert_array_equal(weights[lead, region], 1 / members)
            continue
        values = arrays[:, :, regions == region, lead].reshape(members, -1)[:, known].astype(float)
        least = least_error(values, own[known].astype(float))
        error = np.abs(weights[lead, region] @ values - own[known]).mean()
        assert error == pytest.approx(least, rel=forecast_weights.GAP, abs=1e-9)


@pytest.mark.parametrize("skill", ["csi", "f1"])
def test_the_ratio_is_that_of_the_best_point_of_a_grid_or_lower(skill):
    """The best of all weights may lie beyond worse ones, since hits jump."""
    arrays, truth = forecasts(0, samples=18, leads=1, members=2)
    metric = ErrorBySkill(RAIN_RATE, threshold=1.0, counted=(0.05, 6.0), skill=skill)

    def ratio(weight):
        pred = np.maximum(weight * arrays[0] + (1 - weight) * arrays[1].astype(float), 0)
        return metric.score(metric.stats(target=truth, pred=pred))

    arrays = np.maximum(arrays, 0)
    weights = fit_forecast_weights(arrays, truth, ONE_REGION, metric)
    assert ratio(weights[0, 0, 0]) <= min(ratio(weight) for weight in np.linspace(0, 1, 65)) * 1.005


def test_chunks_of_samples_change_nothing(monkeypatch):
    arrays, truth = forecasts(1, samples=7, unknown=0.1)
    whole = fit_forecast_weights(arrays, truth, ONE_REGION, AT_ONE)
    monkeypatch.setattr(forecast_weights, "CHUNK_BYTES", 2 * 4 * truth[0].nbytes)
    np.testing.assert_allclose(fit_forecast_weights(arrays, truth, ONE_REGION, AT_ONE), whole)


def test_identical_and_degenerate_forecasts():
    arrays, truth = forecasts(4, leads=1)
    fit_forecast_weights(arrays[[0, 0, 0]], truth, ONE_REGION)
    zero = fit_forecast_weights(np.stack([0 * truth, arrays[0]]), truth, ONE_REGION, AT_ONE)
    assert zero[0, 0, 1] > 0
    perfect = fit_forecast_weights(np.stack([arrays[0], truth]), truth, ONE_REGION)
    np.testing.assert_allclose(perfect, [[[0.0, 1.0]]], atol=1e-6)


def test_what_cannot_be_weighed_is_refused(monkeypatch):
    arrays, truth = forecasts(5)
    arrays[1, 2, 0, 0, 1] = np.nan
    monkeypatch.setattr(forecast_weights, "CHUNK_BYTES", 2 * 4 * truth[0].nbytes)
    with pytest.raises(OofMismatch, match="forecast 1, row 2, lead 1: NaN where the truth is known"):
        fit_forecast_weights(arrays, truth, ONE_REGION)
    truth[2, 0, 0, 1] = np.nan
    fit_forecast_weights(arrays, truth, ONE_REGION)
    with pytest.raises(OofMismatch, match=r"expected forecasts \(M, N, H, W, L\)"):
        fit_forecast_weights(arrays[..., :1], truth, ONE_REGION)
    for regions in (np.zeros((2, 2), dtype=int), np.zeros((4, 4))):
        with pytest.raises(OofMismatch, match=r"whole numbers \(H, W\) as regions"):
            fit_forecast_weights(arrays, truth, regions)
    with pytest.raises(ConfigError, match="at least one member"):
        fit_forecast_weights(arrays[:0], truth, ONE_REGION)


GRID, LEADS = (8, 12), 2
HISTORY = PastFrames(np.zeros((3, *GRID), np.float32), np.array([1, 2]))


def outcome(seed: int) -> Hindcast:
    """Two members: the first is right at lead 0 and in the left half of lead 1, the second in the right half of it."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, (*GRID, LEADS)).astype(np.float32)
    wrong = rng.uniform(0, 100, (2, *GRID, LEADS)).astype(np.float32)
    members = np.stack([truth, wrong[1]])
    members[0, :, 6:, 1], members[1, :, 6:, 1] = wrong[0, :, 6:, 1], truth[:, 6:, 1]
    valid = rng.random((*GRID, LEADS)) < 0.9
    return Hindcast(HISTORY, members, np.where(valid, truth, np.nan), valid)


@pytest.mark.parametrize("event", [None, "rain", "ice"])
def test_each_region_and_lead_time_goes_by_the_member_that_is_right_there(event):
    fitted = WeightedBlend(blocks=(1, 2), event=event).fit([outcome(seed) for seed in range(4)])
    np.testing.assert_allclose(fitted.weights, [[[1, 0], [1, 0]], [[1, 0], [0, 1]]], atol=1e-3)
    new = outcome(9)
    forecast = fitted.forecast(new.history, new.members)
    assert forecast.dtype == np.float32
    np.testing.assert_allclose(forecast[new.valid], new.truth[new.valid], atol=0.2)


def test_without_regions_a_lead_time_has_one_weight_everywhere():
    fitted = WeightedBlend().fit([outcome(seed) for seed in range(4)])
    assert fitted.weights.shape == (LEADS, 1, 2)
    assert fitted.weights[0, 0, 0] > 0.99
    assert 0.2 < fitted.weights[1, 0, 0] < 0.8


def test_blocks_are_as_equal_as_can_be_and_no_more_than_the_grid_has_rows():
    found = block_map((5, 7), (2, 3))
    assert [int((found == block).sum()) for block in range(6)] == [9, 6, 6, 6, 4, 4]
    with pytest.raises(ConfigError, match=r"blocks: at most 8 x 12, the grid; got \[9, 12\]"):
        WeightedBlend(blocks=[9, 12]).fit([outcome(0)])


def test_a_mean_stays_within_what_it_is_a_mean_of():
    """A weight of 1 / 3 has no exact float: members of full ice, 250, must not give more than full ice."""
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=100)
    full = np.full((5, 10, 10, 1), 250, dtype=np.float32)
    blend = FittedWeights(weights[None], np.arange(100).reshape(10, 10))
    np.testing.assert_array_equal(blend.forecast(HISTORY, full), 250)
