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


def test_cells_outside_the_range_never_count_for_f1() -> None:
    """A copy of the contest's code has `(true > 12.5) < 125`, which holds everywhere: cell 6 would be a miss."""
    everywhere = replace(MAE_BY_F1, counted=None).stats(target=TRUTH, pred=FORECAST)
    assert everywhere[0, 2:].tolist() == [2, 3, 2]


def test_hidden_cells_are_zero_in_truth_and_forecast_of_sea_ice() -> None:
    hidden = np.zeros(TRUTH.shape, dtype=bool)
    hidden[0, 0, [4, 6]] = True
    shown = MAE_BY_F1.stats(target=np.where(hidden, 0, TRUTH), pred=np.where(hidden, 0, FORECAST))
    with_flags = np.where(hidden, 254, TRUTH)
    np.testing.assert_array_equal(MAE_BY_F1.stats(target=with_flags, pred=FORECAST, valid=~hidden), shown)


def test_hidden_cells_count_nowhere_in_rain() -> None:
    # shown: cells 0 and 2; errors 0.1 + 1 over 2 cells; hit: 2, miss: 0
    truth, forecast = sample(0.1, -1, 2), sample(0, 9, 3)
    stats = MAE_BY_CSI.stats(target=truth, pred=forecast, valid=np.array([[[True, False, True]]]))
    np.testing.assert_allclose(stats, [[1.1, 2, 1, 1, 0]], rtol=1e-6)
    assert MAE_BY_CSI.score(stats) == pytest.approx(1.1 / 2 / (1 / 2))


def test_the_edge_itself_is_an_event() -> None:
    at_edge = MAE_BY_CSI.stats(target=sample(0.1, 0.0999), pred=sample(0.1, 0.1))
    assert at_edge[0, 2:].tolist() == [1, 0, 1]


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


def test_the_same_sums_come_from_cell_by_cell_loops() -> None:
    rng = np.random.default_rng(1)
    truth, forecast = rng.uniform(0, 200, (2, 2, 5, 6, 2)).round()
    valid = rng.random(truth.shape) < 0.8
    expected = np.zeros((2, 5, 2))
    for place in np.ndindex(truth.shape):
        row, lead = place[0], place[3]
        expected[row, 1, lead] += 1
        if not valid[place]:
            continue
        expected[row, 0, lead] += abs(truth[place] - forecast[place])
        if 12.5 < truth[place] < 125:
            observed, predicted = truth[place] >= 37.5, forecast[place] >= 37.5
            expected[row, 2:, lead] += observed and predicted, observed and not predicted, predicted and not observed
    got = MAE_BY_F1.stats(target=truth, pred=forecast, valid=valid)
    np.testing.assert_allclose(got, expected.reshape(2, -1))


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
        (MAE_BY_F1, {"pred": FORECAST / 250}, "Multiply the forecast by 250"),  # copies of the contest's code mix both
        (MAE_BY_CSI, {"target": sample(2350.0), "pred": sample(1.0)}, "raw radar value"),
        (MAE_BY_F1, {"pred": FORECAST[..., 0]}, "one shape"),
        (MAE_BY_F1, {"valid": np.ones(TRUTH.shape)}, "cells that count"),
    ],
)
def test_other_units_and_shapes_are_refused(metric: ErrorBySkill, arrays: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(InvalidSubmission, match=named):
        metric.stats(**{"target": TRUTH, "pred": FORECAST, **arrays})


@pytest.mark.parametrize(("years", "expected"), [(1, 5.297), (5, 4.302)])
def test_known_figures_of_2005_to_2014(years: int, expected: float) -> None:
    """The mean of so many years before, on the real months of NSIDC."""
    folder = Path(os.environ.get("SKYFOLD_DATA", "no folder")) / "seaice"
    if not (folder / "monthly_nsidc0051_197811_201412.npz").is_file():
        pytest.skip("needs the real months: set SKYFOLD_DATA to the folder that holds seaice/")
    samples = build("arctic_sea_ice", {}, folder).load(folder, "train")
    stats = []
    for row in np.flatnonzero((samples.ids >= "2004-12") & (samples.ids <= "2013-12")).tolist():
        forecast = MeanOfYears(years=years).forecast(samples.inputs.history(row))  # type: ignore[attr-defined]
        truth, valid = samples.targets[row], samples.valid[row]  # type: ignore[index]
        stats.append(MAE_BY_F1.stats(target=truth[None], pred=forecast[None], valid=valid[None]))
    assert len(stats) == 10
    assert MAE_BY_F1.score(np.concatenate(stats)) == pytest.approx(expected, abs=0.0005)
