"""Intervals are of the right width, the same for the same seed, and narrower for pairs."""

from dataclasses import astuple

import numpy as np
import pytest

from skyfold.metrics import bootstrap
from skyfold.metrics.bootstrap import (
    bootstrap_interval,
    difference_of_draws,
    draw_scores,
    interval_of_draws,
    paired_difference,
)


class Mean:
    """Mean of the first statistic, stats (n, S); without `per_row`, so that every draw is scored anew."""

    name, greater_is_better, stats = "mean", True, None

    def score(self, stats):
        return float(stats[:, 0].mean())


class MeanOfRows(Mean):
    pooled = "each"

    def per_row(self, stats):
        return stats[:, 0]


class Ratio(Mean):
    """Stats (n, 2): the sum of the first over the sum of the second."""

    def score(self, stats):
        return float(stats[:, 0].sum() / stats[:, 1].sum())


class RatioOfRows(Ratio):
    pooled = "samples"

    def per_row(self, stats):
        return stats[:, 0] / stats[:, 1]


@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b", "c", "d"], [1, 2, 3, 34])])
@pytest.mark.parametrize(("fast", "slow"), [(MeanOfRows(), Mean()), (RatioOfRows(), Ratio())])
def test_fast_ways_equal_scoring_every_draw(fast, slow, groups):
    """Small rows have wild ratios of their own, which count for little in the whole."""
    rng = np.random.default_rng(6)
    values = np.column_stack([rng.random(40), rng.random(40) ** 6 + 1e-3])
    found, expected = (bootstrap_interval(m, values, groups=groups, draws=300, seed=5) for m in (fast, slow))
    assert astuple(found) == pytest.approx(astuple(expected), rel=1e-12)
    assert found.low <= found.value <= found.high
    found, expected = (paired_difference(m, values, values[::-1], groups=groups, draws=300) for m in (fast, slow))
    assert astuple(found) == pytest.approx(astuple(expected), rel=1e-9, abs=1e-12)
    same = paired_difference(fast, values, values, groups=groups, draws=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("metric", [Mean(), MeanOfRows(), RatioOfRows()])
def test_draws_depend_on_the_seed_and_not_on_memory_or_the_kind_of_labels(metric, monkeypatch):
    values = np.random.default_rng(1).random((40, 2))
    numbers = np.arange(40) // 2 + 2  # 2 .. 21, sorted otherwise as text
    whole = bootstrap_interval(metric, values, groups=numbers, draws=100, seed=2)
    assert bootstrap_interval(metric, values, groups=numbers.astype(str), draws=100, seed=2) == whole
    assert bootstrap_interval(metric, values, groups=numbers, draws=100, seed=3) != whole
    monkeypatch.setattr(bootstrap, "CHUNK_NUMBERS", 70)  # three draws a chunk
    assert bootstrap_interval(metric, values, groups=numbers, draws=100, seed=2) == whole


def test_interval_of_a_mean_is_what_the_normal_law_says():
    values = np.random.default_rng(0).normal(size=(400, 1))
    interval = bootstrap_interval(MeanOfRows(), values, draws=4000)
    mean, error = values.mean(), values.std() / np.sqrt(len(values))
    assert interval.value == mean
    assert [interval.low, interval.high] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.1 * error)


def test_scores_without_bound_bound_no_interval():
    """Of 40 rows one is infinite: most draws hold it."""
    values = np.ones((40, 1))
    values[3] = np.inf
    up = bootstrap_interval(MeanOfRows(), values, draws=200)
    assert (up.value, up.low, up.high) == (np.inf, 1.0, np.inf)
    down = paired_difference(MeanOfRows(), np.ones((40, 1)), values, draws=200)
    assert (down.value, down.low, down.high) == (-np.inf, -np.inf, 0.0)
    values[4] = np.nan
    unknown = bootstrap_interval(MeanOfRows(), values, draws=200)
    assert np.isnan([unknown.low, unknown.high]).all()


def test_rows_that_repeat_each_other_widen_the_interval_only_when_grouped():
    values = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 8, axis=0)
    repeats = np.repeat(np.arange(50), 8)
    rows, groups = (bootstrap_interval(MeanOfRows(), values, groups=of, draws=2000) for of in (None, repeats))
    # Eight equal rows carry the information of one: the honest interval is sqrt(8) times as wide.
    assert (groups.high - groups.low) / (rows.high - rows.low) == pytest.approx(np.sqrt(8), rel=0.1)


def test_paired_difference_cancels_what_is_hard_for_both():
    rng = np.random.default_rng(0)
    baseline = rng.random((300, 1))
    better = baseline + 0.01 + 0.001 * rng.normal(size=baseline.shape)
    alone = bootstrap_interval(MeanOfRows(), better)
    pair = paired_difference(MeanOfRows(), better, baseline)
    assert 0.0095 < pair.low < pair.high < 0.0105
    assert alone.high - alone.low > 50 * (pair.high - pair.low)


def test_what_cannot_be_drawn_is_refused():
    values = np.ones((3, 1))
    with pytest.raises(ValueError, match="not of the same samples"):
        paired_difference(Mean(), values, values[:2])
    with pytest.raises(ValueError, match="3 rows, 2 groups"):
        bootstrap_interval(Mean(), values, groups=np.array([0, 1]))
    with pytest.raises(ValueError, match="0 rows"):
        bootstrap_interval(Mean(), values[:0])


def test_draws_of_single_tables_give_the_intervals_of_pairs():
    ours, theirs = np.random.default_rng(2).random((2, 30, 2))
    groups, metric = np.arange(30) // 3, MeanOfRows()
    together = draw_scores(metric, [ours, theirs], groups=groups)
    apart = [draw_scores(metric, [table], groups=groups)[0] for table in (ours, theirs)]
    np.testing.assert_array_equal(together, apart)
    values = metric.score(ours), metric.score(theirs)
    assert difference_of_draws(values, (apart[0], apart[1])) == paired_difference(metric, ours, theirs, groups=groups)
    assert interval_of_draws(values[0], apart[0]) == bootstrap_interval(metric, ours, groups=groups)
