"""MAE/F1 of sea ice and MAE/CSI of rain: worked by hand, pinned by known figures, closed to two known mistakes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skyfold.competition import build
from skyfold.errors import InvalidSubmission
from skyfold.forecasting.baselines.mean_of_years import MeanOfYears
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1, RAIN_RATE, ErrorBySkill


def sample(*cells: float) -> np.ndarray:
    """One sample of one row and one lead time."""
    return np.array(cells, dtype=np.float32).reshape(1, 1, -1, 1)


# Counted for F1: truth in (12.5, 125), that is cells 2, 3 and 4.
TRUTH = sample(0, 12.5, 30, 40, 100, 125, 200, 250)
FORECAST = sample(50, 12.5, 37.5, 50, 0, 0, 0, 250)


def test_mae_by_f1_worked_by_hand() -> None:
    # errors 50 + 0 + 7.5 + 10 + 100 + 125 + 200 + 0 = 492.5 over 8 cells; hit: cell 3, miss: 4, false alarm: 2
    stats = MAE_BY_F1.stats(target=TRUTH, pred=FORECAST)
    assert stats.tolist() == [[492.5, 8, 1, 1, 1]]
    assert MAE_BY_F1.score(stats) == pytest.approx(492.5 / 8 / (2 / 4))
    # A copy of the contest's code has `(true > 12.5) < 125`, which holds everywhere: cell 6 would be a miss.
    everywhere = replace(MAE_BY_F1, counted=None).stats(target=TRUTH, pred=FORECAST)
    assert everywhere[0, 2:].tolist() == [2, 3, 2]


def test_hidden_cells_are_zero_in_truth_and_forecast_of_sea_ice_and_count_nowhere_in_rain() -> None:
    hidden = np.zeros(TRUTH.shape, dtype=bool)
    hidden[0, 0, [4, 6]] = True
    shown = MAE_BY_F1.stats(target=np.where(hidden, 0, TRUTH), pred=np.where(hidden, 0, FORECAST))
    with_flags = np.where(hidden, 254, TRUTH)
    np.testing.assert_array_equal(MAE_BY_F1.stats(target=with_flags, pred=FORECAST, valid=~hidden), shown)
    # shown: cells 0 and 2; errors 0.1 + 1 over 2 cells; hit: 2, miss: 0
    truth, forecast = sample(0.1, -1, 2), sample(0, 9, 3)
    stats = MAE_BY_CSI.stats(target=truth, pred=forecast, valid=np.array([[[True, False, True]]]))
    np.testing.assert_allclose(stats, [[1.1, 2, 1, 1, 0]], rtol=1e-6)
    assert MAE_BY_CSI.score(stats) == pytest.approx(1.1 / 2 / (1 / 2))


def test_years_are_averaged_and_rain_is_pooled() -> None:
    stats = np.array([[10.0, 10, 1, 0, 0], [40.0, 10, 1, 2, 0]])
    assert MAE_BY_F1.score(stats) == pytest.approx((1 / 1 + 4 / 0.5) / 2)
    assert MAE_BY_CSI.score(stats) == pytest.approx(2.5 / (2 / 4))


def test_lead_times_are_pooled_within_a_sample() -> None:
    rng = np.random.default_rng(0)
    truth, forecast = rng.uniform(0, 250, (2, 3, 9, 7, 4)).astype(np.float32)
    by_lead = MAE_BY_F1.stats(target=truth, pred=forecast)
    side_by_side = MAE_BY_F1.stats(target=truth.reshape(3, 9, 28, 1), pred=forecast.reshape(3, 9, 28, 1))
    np.testing.assert_allclose(MAE_BY_F1.per_row(by_lead), MAE_BY_F1.per_row(side_by_side))
    alone = MAE_BY_CSI.stats(target=truth[..., 2:3], pred=forecast[..., 2:3])
    all_leads = MAE_BY_CSI.stats(target=truth, pred=forecast)
    assert MAE_BY_CSI.per_lead(all_leads)[2] == pytest.approx(MAE_BY_CSI.score(alone))


WET = ErrorBySkill(RAIN_RATE, threshold=0.1, error_from=0.1, part="error")
AT_ONE = ErrorBySkill(RAIN_RATE, threshold=1.0, skill="csi", part="skill")


def test_error_over_wet_cells_and_skill_at_other_thresholds() -> None:
    truth, forecast = sample(0, 0.5, 2, 6), sample(1, 1, 1, 1)
    assert WET.score(WET.stats(target=truth, pred=forecast)) == pytest.approx((0.5 + 1 + 5) / 3)
    assert AT_ONE.score(AT_ONE.stats(target=truth, pred=forecast)) == pytest.approx(2 / 4)
    assert (MAE_BY_CSI.greater_is_better, WET.greater_is_better, AT_ONE.greater_is_better) == (False, False, True)


def test_where_no_cell_counts_nothing_is_known_and_no_rain_forecast_as_such_scores_zero() -> None:
    dry = np.zeros((1, 2, 2, 1), np.float32)
    for metric in (MAE_BY_CSI, AT_ONE, WET):
        assert np.isnan(metric.score(metric.stats(target=dry, pred=dry, valid=np.zeros((1, 2, 2), bool))))
    assert MAE_BY_CSI.score(MAE_BY_CSI.stats(target=dry, pred=dry)) == 0
    with pytest.raises(ValueError, match="no samples"):
        MAE_BY_CSI.score(np.zeros((0, 5)))


@pytest.mark.parametrize(("value", "named"), [(np.nan, "NaN"), (-1.0, "below 0"), (251.0, "a flag")])
def test_values_that_are_no_concentration_are_refused_with_their_sample(value: float, named: str) -> None:
    forecast = np.concatenate([FORECAST, FORECAST])
    forecast[1, 0, 3, 0] = value
    with pytest.raises(InvalidSubmission, match=f"forecast, sample 1, in concentration x 250: .*{named}"):
        MAE_BY_F1.stats(target=np.concatenate([TRUTH, TRUTH]), pred=forecast)


@pytest.mark.parametrize(
    ("metric", "arrays", "named"),
    [
        (MAE_BY_F1, {"pred": FORECAST / 250}, "Multiply the forecast by 250"),
        (MAE_BY_CSI, {"target": sample(2350.0), "pred": sample(1.0)}, "raw radar value"),
        (MAE_BY_F1, {"pred": FORECAST[..., 0]}, "one shape"),
        (MAE_BY_F1, {"valid": np.ones(TRUTH.shape)}, "cells that count"),
    ],
)
def test_other_units_and_shapes_are_refused(metric: ErrorBySkill, arrays: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(InvalidSubmission, match=named):
        metric.stats(**{"target": TRUTH, "pred": FORECAST, **arrays})


def test_known_figures_of_2005_to_2014() -> None:
    """The mean of 1 and of 5 years before, on the real months of NSIDC."""
    folder = Path(os.environ.get("SKYFOLD_DATA", "no folder")) / "seaice"
    if not (folder / "monthly_nsidc0051_197811_201412.npz").is_file():
        pytest.skip("needs the real months: set SKYFOLD_DATA to the folder that holds seaice/")
    samples = build("arctic_sea_ice", {}, folder).load(folder, "train")
    rows = np.flatnonzero((samples.ids >= "2004-12") & (samples.ids <= "2013-12")).tolist()
    assert len(rows) == 10
    truth, valid = (np.stack([arrays[row] for row in rows]) for arrays in (samples.targets, samples.valid))  # type: ignore[index]
    for years, expected in ((1, 5.297), (5, 4.302)):
        mean = MeanOfYears(years=years)
        forecasts = np.stack([mean.forecast(samples.inputs.history(row)) for row in rows])  # type: ignore[attr-defined]
        score = MAE_BY_F1.score(MAE_BY_F1.stats(target=truth, pred=forecasts, valid=valid))
        assert score == pytest.approx(expected, abs=0.0005)
