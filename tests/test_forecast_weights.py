"""Forecast weights: the least error against a linear program over all cells, ratios against a fine grid, streaming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skyfold.blending import forecast_weights
from skyfold.blending.forecast_weights import Event, combine_forecasts, error_by_skill, fit_forecast_weights
from skyfold.errors import ConfigError, OofMismatch


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


def forecasts(seed, samples=5, leads=2, models=3, side=4, unknown=0.0):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(0.5, 2.0, (samples, leads, side, side)).astype(np.float32)
    noise = [0.3 + 0.5 * m for m in range(models)]
    arrays = [(truth + rng.normal(0, s, truth.shape)).astype(np.float32) for s in noise]
    truth[rng.random(truth.shape) < unknown] = np.nan
    return arrays, truth, rng.integers(-1, 2, (side, side))


@given(seed=st.integers(0, 10**6), models=st.integers(1, 5), unknown=st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=25)
def test_the_error_is_the_least_of_all_weights(seed, models, unknown):
    arrays, truth, regions = forecasts(seed, models=models, unknown=unknown)
    fitted = fit_forecast_weights(arrays, truth, regions)
    assert fitted.weights.shape == (2, regions.max() + 1, models)
    np.testing.assert_allclose(fitted.weights.sum(axis=2), 1.0)
    assert (fitted.weights >= 0).all()
    for lead in range(2):
        for region in range(regions.max() + 1):
            own = truth[:, lead, regions == region].ravel()
            known = ~np.isnan(own)
            if not known.any():
                assert np.isnan(fitted.error[lead, region])
                continue
            values = np.stack([a[:, lead, regions == region].ravel()[known] for a in arrays]).astype(float)
            least = least_error(values, own[known].astype(float))
            assert fitted.error[lead, region] == pytest.approx(least, rel=2e-6, abs=1e-9)
            assert fitted.bound[lead, region] <= least * (1 + 1e-9) + 1e-12
            again = np.abs(fitted.weights[lead, region] @ values - own[known]).mean()
            assert fitted.error[lead, region] == pytest.approx(again)


def test_ten_models_end_within_the_gap_in_few_passes(monkeypatch):
    arrays, truth, _ = forecasts(3, samples=20, leads=1, models=10, side=8)
    passes = []
    original = forecast_weights._Data.errors_and_slopes
    monkeypatch.setattr(
        forecast_weights._Data, "errors_and_slopes", lambda self, w: passes.append(1) or original(self, w)
    )
    fitted = fit_forecast_weights(arrays, truth, gap=1e-5)
    assert fitted.error[0, 0] - fitted.bound[0, 0] <= 1e-5 * fitted.error[0, 0]
    assert len(passes) < 120


@pytest.mark.parametrize("skill", ["csi", "f1"])
def test_the_ratio_is_that_of_the_best_point_of_a_grid_or_lower(skill):
    arrays, truth, _ = forecasts(0, samples=8, leads=1, models=2, side=6)
    event = Event(threshold=1.0, skill=skill, counted=(0.05, 6.0))
    fitted = fit_forecast_weights(arrays, truth, event=event)
    counted = (truth > 0.05) & (truth < 6.0)
    grid = []
    for share in np.linspace(0, 1, 65):
        blend = share * arrays[0] + (1 - share) * arrays[1].astype(float)
        said, there = (blend > 1) & counted, (truth > 1) & counted
        hits, misses, alarms = (said & there).sum(), (~said & there).sum(), (said & ~there).sum()
        factor = 2 if skill == "f1" else 1
        grid.append(np.abs(blend - truth).mean() * (factor * hits + misses + alarms) / (factor * hits))
    assert fitted.ratio[0, 0] <= min(grid) * 1.005  # hits jump: the last few parts in a thousand may lie across a hill
    plain = fit_forecast_weights(arrays, truth)
    assert fitted.error[0, 0] >= plain.error[0, 0] - 1e-9


def test_ratio_by_hand():
    # 3 hits, 1 miss, 2 false alarms: CSI 3 / 6, F1 6 / 9.
    counts = (np.array(3.0), np.array(1.0), np.array(2.0))
    assert error_by_skill(np.array(0.6), *counts, "csi") == pytest.approx(1.2)
    assert error_by_skill(np.array(0.6), *counts, "f1") == pytest.approx(0.9)
    nothing = np.array(0.0)
    assert error_by_skill(np.array(0.6), nothing, nothing, nothing, "csi") == pytest.approx(0.6)
    assert error_by_skill(np.array(0.6), nothing, np.array(1.0), nothing, "csi") == np.inf


def test_chunks_of_memory_maps_give_what_arrays_in_memory_give(tmp_path, monkeypatch):
    arrays, truth, regions = forecasts(1, samples=7, unknown=0.1)
    for i, array in enumerate([*arrays, truth]):
        np.save(tmp_path / f"{i}.npy", array)
    maps = [np.load(tmp_path / f"{i}.npy", mmap_mode="r", allow_pickle=False) for i in range(4)]
    event = Event(threshold=1.0)
    whole = fit_forecast_weights(arrays, truth, regions, event=event)
    monkeypatch.setattr(forecast_weights, "CHUNK_BYTES", 2 * 4 * truth[0].nbytes)
    streamed = fit_forecast_weights(maps[:3], maps[3], regions, event=event)
    np.testing.assert_allclose(streamed.ratio, whole.ratio, rtol=1e-6)
    blends = [
        np.concatenate([values for _, values in combine_forecasts(models, whole.weights, regions)])
        for models in (arrays, maps[:3])
    ]
    np.testing.assert_array_equal(*blends)


def test_blend_of_a_cell_uses_the_weights_of_its_region():
    arrays = [np.full((1, 1, 1, 3), value, dtype=np.float32) for value in (1.0, 3.0)]
    weights = np.array([[[1.0, 0.0], [0.25, 0.75]]])
    ((rows, values),) = combine_forecasts(arrays, weights, np.array([[0, 1, -1]]))
    assert rows.tolist() == [0]
    assert values.ravel().tolist() == [1.0, 2.5, 1.75]


def test_only_the_named_rows_are_fitted_on():
    arrays, truth, _ = forecasts(2)
    spoilt = truth.copy()
    spoilt[3:] = 100.0
    one = fit_forecast_weights(arrays, truth, rows=np.arange(3))
    other = fit_forecast_weights(arrays, spoilt, rows=np.arange(3))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_identical_and_degenerate_forecasts():
    arrays, truth, _ = forecasts(4, leads=1)
    same = fit_forecast_weights([arrays[0]] * 3, truth)
    assert same.error[0, 0] == pytest.approx(np.abs(arrays[0].astype(float) - truth).mean())
    zero = fit_forecast_weights([arrays[0], np.zeros_like(truth)], truth, event=Event(threshold=1.0))
    assert np.isfinite(zero.ratio).all()
    perfect = fit_forecast_weights([arrays[0], truth.copy()], truth)
    np.testing.assert_allclose(perfect.weights, [[[0.0, 1.0]]], atol=1e-6)


def test_what_cannot_be_weighed_is_refused():
    arrays, truth, _ = forecasts(5)
    holed = [array.copy() for array in arrays]
    holed[1][2, 1, 0, 0] = np.nan
    with pytest.raises(OofMismatch, match="forecast 1, row 2, lead 1: NaN where the truth is known"):
        fit_forecast_weights(holed, truth)
    unknown = truth.copy()
    unknown[2, 1, 0, 0] = np.nan
    fit_forecast_weights(holed, unknown)
    with pytest.raises(OofMismatch, match=r"one shape \(N, L, H, W\)"):
        fit_forecast_weights([arrays[0][:, :1]], truth)
    with pytest.raises(OofMismatch, match=r"regions: expected whole numbers \(4, 4\)"):
        fit_forecast_weights(arrays, truth, np.zeros((2, 2), dtype=int))
    with pytest.raises(ConfigError, match="at least one run"):
        fit_forecast_weights([], truth)
