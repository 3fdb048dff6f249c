"""Blends by least absolute deviation, and the side of the 15 % edge on which a forecast is worth most."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from skyfold.competitions.arctic_sea_ice.ice_frames import known_ice, without_flags
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.errors import DamagedFile, DataLayoutError
from skyfold.forecasting.baselines import _edge_decision, edge_blend, mean_of_years
from skyfold.forecasting.baselines._cell_boosting import PARTS, SETTINGS, LeftOver, LikelySide, fit_left_over, fit_side
from skyfold.forecasting.baselines._cell_features import NAMES, CellFeatures, cell_features
from skyfold.forecasting.baselines._edge_decision import Worth
from skyfold.forecasting.baselines._packed_trees import PackedTrees
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_F1

GRID = (40, 30)
AHEAD = np.arange(1, 13)
NO_MEMBERS = np.empty((0, *GRID, 12), dtype=np.float32)
CODES = procedural_codes(np.datetime64("1995-01") + np.arange(12 * 14), GRID, seed=2)


def outcome(year: int) -> Hindcast:
    """The forecast of `year`, counted from 0, issued at the end of the year before."""
    wanted = CODES[12 * year : 12 * year + 12].transpose(1, 2, 0)
    valid = known_ice(wanted)
    truth = np.where(valid, wanted, 0).astype(np.float32)
    return Hindcast(history(year), NO_MEMBERS, truth, valid)


def history(year: int) -> PastFrames:
    return PastFrames(without_flags(CODES[: 12 * year]), AHEAD, 12)


def score(forecast: np.ndarray, year: int) -> float:
    of = outcome(year)
    return MAE_BY_F1.score(MAE_BY_F1.stats(target=of.truth[None], pred=forecast[None], valid=of.valid[None]))


def test_least_absolute_deviation_predicts_the_median_and_is_not_moved_by_a_few_wild_values():
    target, fit = np.array([1, 2, 3, 10, 200], dtype=np.float32), edge_blend.least_absolute_deviation
    assert fit(np.zeros((5, 1), np.float32), target, 1e-6)[-1] == pytest.approx(3, abs=1)
    features = np.random.default_rng(0).uniform(0, 250, (4000, 2)).astype(np.float32)
    target = features @ np.array([0.7, 0.2], dtype=np.float32) + 5
    target[::10] = 250  # least squares would say 31 in place of 5
    np.testing.assert_allclose(fit(features, target, 1e-6), [0.7, 0.2, 5], atol=0.2)


def test_worth_is_what_one_more_hit_or_false_alarm_changes():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 251, 4000).astype(np.float32)
    forecast = np.clip(truth + rng.normal(scale=30, size=4000), 0, 250).astype(np.float32)
    worth = _edge_decision.worth_of(forecast, truth)
    stats = MAE_BY_F1.stats(target=truth[None, :, None, None], pred=forecast[None, :, None, None])
    same = MAE_BY_F1.score(stats)
    # A hit that costs what it is worth changes nothing, to first order; so does a false alarm that gains so much.
    for change in ([worth.hit, 0, 1, -1, 0], [-worth.alarm, 0, 0, 0, 1]):
        assert MAE_BY_F1.score(stats + np.array(change)) == pytest.approx(same, rel=1e-4)


@pytest.mark.parametrize(
    ("chances", "worth", "ice"),
    [
        # Median 0. At 38 the error is 0.7 x 38 + 0.3 x 22 = 33.2, at 0 it is 18: a hit gains 0.3 x its worth.
        ({0: 0.7, 60: 0.3}, Worth(hit=45, alarm=30), False),
        ({0: 0.7, 60: 0.3}, Worth(hit=75, alarm=30), True),
        # Median 40, so that without regard to F1 it is ice; but 0.45 of the truth lies between 12.5 and 37.5.
        ({36: 0.45, 40: 0.55}, Worth(hit=0, alarm=0), True),
        ({36: 0.45, 40: 0.55}, Worth(hit=10, alarm=30), False),
    ],
)
def test_a_cell_belongs_above_the_edge_where_hits_are_worth_the_error_and_the_false_alarms(chances, worth, ice):
    counts = np.zeros(((len(_edge_decision.FORECAST_STEPS) + 1) * int(np.prod(_edge_decision.KINDS)), 251))
    counts[0, list(chances)] = 1e9 * np.array(list(chances.values()))
    assert _edge_decision.says_ice(counts, worth)[0] == ice


def test_forecasts_are_moved_to_the_edge_and_no_farther():
    moved = _edge_decision.on_the_right_side(np.array([10, 60, 10, 60.0]), np.array([True, True, False, False]))
    np.testing.assert_allclose(moved, [37.5, 60, 10, _edge_decision.BELOW_EDGE], rtol=1e-6)


def test_features_are_finite_and_of_open_cells_alone():
    features = cell_features(history(12), NO_MEMBERS)
    assert np.isfinite(features.values).all()
    assert features.values.shape == (len(features.cells), len(NAMES))
    land = (CODES[0] > 251).ravel()
    assert not land[features.cells].any()


@pytest.fixture
def small_trees(monkeypatch):
    """What is seen and drawn when does not depend on how fine the trees are."""
    monkeypatch.setitem(SETTINGS, "max_leaf_nodes", 6)


@cache
def blend_of_years(boosted: bool) -> edge_blend.FittedEdgeBlend:
    blend = edge_blend.EdgeBlend(boosted=boosted, n_repeats=1 + boosted)
    return blend.fit([outcome(year) for year in range(5, 12)])


@pytest.mark.parametrize("boosted", [False, True])
def test_the_blend_has_learned_from_its_dates_and_beats_last_year_on_a_new_one(boosted):
    fitted = blend_of_years(boosted)
    forecast = fitted.forecast(history(12), NO_MEMBERS)
    assert (forecast.shape, forecast.dtype) == ((*GRID, 12), np.float32)
    assert 0 <= forecast.min() <= forecast.max() <= 250
    assert score(forecast, 12) < score(mean_of_years.MeanOfYears(years=1).forecast(history(12)), 12)
    learned = [score(fitted.forecast(history(year), NO_MEMBERS), year) for year in range(5, 12)]
    simple = [score(mean_of_years.MeanOfYears(years=5).forecast(history(year)), year) for year in range(5, 12)]
    assert np.mean(learned) < np.mean(simple)


@pytest.mark.parametrize("boosted", [False, True])
def test_a_packed_blend_forecasts_the_same_bits(boosted):
    blend, fitted = edge_blend.EdgeBlend(boosted=boosted, n_repeats=1 + boosted), blend_of_years(boosted)
    values = json.loads(json.dumps(blend.to_dict(fitted)))
    expected = fitted.forecast(history(12), NO_MEMBERS)
    np.testing.assert_array_equal(blend.from_dict(values, GRID).forecast(history(12), NO_MEMBERS), expected)


@pytest.mark.parametrize("kinds", [2, 4])
def test_packed_trees_give_the_probabilities_of_the_classifier(kinds):
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(400, 5)).astype(np.float32)
    model = HistGradientBoostingClassifier(max_iter=9).fit(columns, rng.integers(0, kinds, 400) + 1)
    packed = PackedTrees.of(model)
    again = PackedTrees.from_dict(json.loads(json.dumps(packed.to_dict())))
    assert again.classes_.tolist() == model.classes_.tolist()
    np.testing.assert_array_equal(again.predict_proba(columns), model.predict_proba(columns))
    astray = replace(packed, left=np.where(packed.left > 0, 0, packed.left))
    with pytest.raises(DamagedFile, match="lead nowhere"):
        PackedTrees.from_dict(astray.to_dict())


@pytest.mark.parametrize("boosted", [False, True])
def test_the_blend_goes_by_a_member_that_was_right_in_earlier_years(boosted):
    """One member is the truth and some noise, the other noise alone."""
    rng = np.random.default_rng(3)

    def told(year: int) -> Hindcast:
        known = outcome(year)
        right = np.clip(known.truth + rng.normal(scale=8, size=known.truth.shape), 0, 250)
        return replace(known, members=np.stack([right, rng.uniform(0, 250, right.shape)]).astype(np.float32))

    fitted = edge_blend.EdgeBlend(boosted=boosted).fit([told(year) for year in range(6, 12)])
    forecast = fitted.forecast(history(12), told(12).members)
    assert score(forecast, 12) < 0.7 * score(blend_of_years(boosted).forecast(history(12), NO_MEMBERS), 12)


def test_a_date_is_corrected_by_what_has_not_seen_it(small_trees):
    """Its own outcome changes what is said of new dates, and of the other dates, but not what is said of it."""
    rng = np.random.default_rng(4)
    whole = [cell_features(history(year), NO_MEMBERS) for year in range(5, 12)]
    described = [features.of(rng.random(len(features.cells)) < 0.2) for features in whole]
    blended = [features.column("mean_5") for features in described]
    truths = [rng.uniform(0, 250, len(forecast)).astype(np.float32) for forecast in blended]

    def fitted(truths):
        dates = list(zip(described, blended, truths, strict=True))
        return fit_left_over(dates, np.arange(7.0)[::-1], 2, np.random.default_rng(0))

    other = fitted([np.zeros_like(truth) if date == 3 else truth for date, truth in enumerate(truths)])
    same = fitted(truths)
    for date, (features, forecast) in enumerate(zip(described, blended, strict=True)):
        unseen = [model.corrected(features, forecast, seen=date) for model in (same, other)]
        assert (unseen[0].tobytes() == unseen[1].tobytes()) == (date == 3)
        assert not np.array_equal(unseen[0], same.corrected(features, forecast))


def contradicting(forecast: float, usual: float, last: float) -> list[tuple[CellFeatures, np.ndarray, np.ndarray]]:
    """Four dates: the same forecast everywhere, and the same truth, but another one on the last date."""
    described = [cell_features(history(year), NO_MEMBERS) for year in (8, 9, 10, 11)]
    return [
        (cells, *(np.full(len(cells.cells), value, np.float32) for value in (forecast, truth)))
        for cells, truth in zip(described, [usual, usual, usual, last], strict=True)
    ]


@pytest.mark.parametrize("old", [3.0, 90.0])
def test_every_second_time_the_last_years_count_for_more_than_those_of_long_ago(old, small_trees):
    """Residuals of +40 but for -40 on the last date; and open water but for ice on the last date."""
    dates, ages = contradicting(100, 140, 60), np.array([old, old, old, 0.0])
    both = fit_left_over(dates, ages, 2, np.random.default_rng(0))
    first, second = (
        LeftOver(both.models[time * both.parts :][: both.parts], both.parts).corrected(*dates[-1][:2]).mean() - 100
        for time in (0, 1)
    )
    assert first > -10
    assert (second < -10) == (old == 90.0)
    dates, worth = contradicting(30, 0, 75), Worth(hit=1.0, alarm=1.0)
    asked = dates[0][0].of(dates[0][0].column("max_5") > 5)
    first, second = (
        LikelySide((model,), worth).says_ice(asked, np.full(len(asked.cells), 30, np.float32)).mean()
        for model in fit_side(dates, ages, 2, worth, np.random.default_rng(0)).models
    )
    assert first < 0.1
    assert second > 0.5 if old == 90.0 else second < 0.1


def test_boostings_are_averaged():
    """Each part of the dates is left out by two models; the corrections and the chances are the means of theirs."""
    fitted, features = blend_of_years(True), cell_features(history(12), NO_MEMBERS)
    blended = np.full(len(features.cells), 100, np.float32)
    apart = [
        LeftOver(fitted.left_over.models[first : first + PARTS], PARTS).corrected(features, blended)
        for first in (0, PARTS)
    ]
    assert not np.array_equal(*apart)
    np.testing.assert_allclose(fitted.left_over.corrected(features, blended), np.mean(apart, axis=0), rtol=1e-5)
    assert isinstance(fitted.side, LikelySide)
    assert len(fitted.side.models) == 2


def test_the_side_goes_by_the_mean_chance():
    """Models that are sure of one kind of outcome each: a hit must be worth the more, the fewer expect ice."""
    features = cell_features(history(12), NO_MEMBERS)
    forecast = np.full(len(features.cells), 30, np.float32)

    def says(*kinds: int, hit: float) -> bool:
        models = (SimpleNamespace(classes_=np.array([kind]), predict_proba=certain) for kind in kinds)
        side = LikelySide(tuple(models), Worth(hit=hit, alarm=0.0))  # type: ignore[arg-type]
        return bool(side.says_ice(features, forecast).any())

    def certain(columns: np.ndarray) -> np.ndarray:
        return np.ones((len(columns), 1))

    # Moved to 37.5 the error of open water grows by 7.5, that of counted ice shrinks by as much.
    assert says(2, hit=0.0)
    assert not says(0, hit=0.0)
    assert not says(0, 0, 2, hit=7.0)
    assert says(0, 0, 2, hit=8.0)


def test_a_single_date_with_a_past_is_enough_and_fitting_twice_gives_the_same_bytes(small_trees):
    with pytest.raises(DataLayoutError, match="none of 2 earlier dates has 3 years before it"):
        edge_blend.EdgeBlend().fit([outcome(1), outcome(2)])
    blend = edge_blend.EdgeBlend(boosted=True, n_repeats=2)
    forecasts = [blend.fit([outcome(8)]).forecast(history(12), NO_MEMBERS) for _ in range(2)]
    assert np.isfinite(forecasts[0]).all()
    assert forecasts[0].tobytes() == forecasts[1].tobytes()
