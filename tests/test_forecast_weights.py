"""Forecast weights: the least error against a linear program over all cells, ratios against a fine grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skyfold.errors import ConfigError, OofMismatch
from skyfold.forecasting import forecast_weights
from skyfold.forecasting.forecast_weights import Event, error_by_skill, fit_forecast_weights


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


ONE_REGION = np.zeros((4, 4), dtype=int)


def forecasts(seed, samples=5, leads=2, members=3, unknown=0.0):
    """(M, N, H, W, L) forecasts, each with more noise than the one before, and (N, H, W, L) truth."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(0.5, 2.0, (samples, 4, 4, leads)).astype(np.float32)
    noise = 0.3 + 0.5 * np.arange(members)
    arrays = (truth + noise[:, None, None, None, None] * rng.normal(size=(members, *truth.shape))).astype(np.float32)
    truth[rng.random(truth.shape) < unknown] = np.nan
    return arrays, truth


@given(seed=st.integers(0, 10**6), members=st.integers(1, 5), unknown=st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=25)
def test_the_error_is_the_least_of_all_weights(seed, members, unknown):
    arrays, truth = forecasts(seed, members=members, unknown=unknown)
    regions = np.random.default_rng(seed).integers(0, 3, (4, 4))
    fitted = fit_forecast_weights(arrays, truth, regions)
    assert fitted.weights.shape == (2, regions.max() + 1, members)
    np.testing.assert_allclose(fitted.weights.sum(axis=2), 1.0)
    assert (fitted.weights >= 0).all()
    for lead, region in np.ndindex(fitted.error.shape):
        own = truth[:, regions == region, lead].ravel()
        known = ~np.isnan(own)
        if not known.any():
            assert np.isnan(fitted.error[lead, region])
            continue
        values = arrays[:, :, regions == region, lead].reshape(members, -1)[:, known].astype(float)
        least = least_error(values, own[known].astype(float))
        assert fitted.error[lead, region] == pytest.approx(least, rel=2e-6, abs=1e-9)
        assert fitted.bound[lead, region] <= least * (1 + 1e-9) + 1e-12
        again = np.abs(fitted.weights[lead, region] @ values - own[known]).mean()
        assert fitted.error[lead, region] == pytest.approx(again)


def test_ten_members_converge_within_the_gap_in_few_passes():
    arrays, truth = forecasts(3, samples=80, leads=1, members=10)
    fitted = fit_forecast_weights(arrays, truth, ONE_REGION, gap=1e-5, max_passes=120)
    assert fitted.error[0, 0] - fitted.bound[0, 0] <= 1e-5 * fitted.error[0, 0]


@pytest.mark.parametrize("skill", ["csi", "f1"])
def test_the_ratio_is_that_of_the_best_point_of_a_grid_or_lower(skill):
    arrays, truth = forecasts(0, samples=18, leads=1, members=2)
    fitted = fit_forecast_weights(arrays, truth, ONE_REGION, event=Event(1.0, skill, counted=(0.05, 6.0)))
    counted = (truth > 0.05) & (truth < 6.0)
    grid = []
    for weight in np.linspace(0, 1, 65):
        blend = weight * arrays[0] + (1 - weight) * arrays[1].astype(float)
        forecast, observed = (blend > 1) & counted, (truth > 1) & counted
        counts = [(a & b).sum() for a, b in ((forecast, observed), (~forecast, observed), (forecast, ~observed))]
        grid.append(error_by_skill(np.abs(blend - truth).mean(), *counts, skill))
    assert fitted.ratio[0, 0] <= min(grid) * 1.005  # hits jump: the best of all weights may lie beyond worse ones
    assert fitted.error[0, 0] >= fit_forecast_weights(arrays, truth, ONE_REGION).error[0, 0] - 1e-9


def test_ratio_by_hand():
    # 3 hits, 1 miss, 2 false alarms: CSI 3 / 6, F1 6 / 9.
    counts = (np.array(3.0), np.array(1.0), np.array(2.0))
    assert error_by_skill(np.array(0.6), *counts, "csi") == pytest.approx(1.2)
    assert error_by_skill(np.array(0.6), *counts, "f1") == pytest.approx(0.9)
    nothing = np.array(0.0)
    assert error_by_skill(np.array(0.6), nothing, nothing, nothing, "csi") == pytest.approx(0.6)
    assert error_by_skill(np.array(0.6), nothing, np.array(1.0), nothing, "csi") == np.inf


def test_chunks_of_samples_change_nothing(monkeypatch):
    arrays, truth = forecasts(1, samples=7, unknown=0.1)
    whole = fit_forecast_weights(arrays, truth, ONE_REGION, event=Event(1.0))
    monkeypatch.setattr(forecast_weights, "CHUNK_BYTES", 2 * 4 * truth[0].nbytes)
    np.testing.assert_allclose(fit_forecast_weights(arrays, truth, ONE_REGION, event=Event(1.0)).ratio, whole.ratio)


def test_identical_and_degenerate_forecasts():
    arrays, truth = forecasts(4, leads=1)
    same = fit_forecast_weights(arrays[[0, 0, 0]], truth, ONE_REGION)
    assert same.error[0, 0] == pytest.approx(np.abs(arrays[0].astype(float) - truth).mean())
    zero = fit_forecast_weights(np.stack([arrays[0], 0 * truth]), truth, ONE_REGION, event=Event(1.0))
    assert np.isfinite(zero.ratio).all()
    perfect = fit_forecast_weights(np.stack([arrays[0], truth]), truth, ONE_REGION)
    np.testing.assert_allclose(perfect.weights, [[[0.0, 1.0]]], atol=1e-6)


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
