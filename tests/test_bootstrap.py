"""Intervals are of the right width, the same for the same seed, and narrower for pairs."""

from dataclasses import dataclass

import numpy as np
import pytest

from skyfold.metrics import bootstrap
from skyfold.metrics.bootstrap import bootstrap_interval, paired_difference
from skyfold.metrics.mean_of_maps import MeanOfMaps
from skyfold.metrics.segmentation import GlobalDice, MeanDice


@dataclass(frozen=True)
class Mean:
    """The plainest metric: stats (n, 1), score their mean; without `per_row`, so that every draw is scored anew."""

    name: str = "mean"
    greater_is_better: bool = True

    def stats(self, *, target, pred, valid=None):
        return np.zeros((len(target), 1))

    def score(self, stats):
        return float(stats.mean())


@dataclass(frozen=True)
class MeanOfRows(Mean):
    pooled: str = "each"

    def per_row(self, stats):
        return stats[:, 0]


def test_interval_of_a_mean_is_what_the_normal_law_says():
    values = np.random.default_rng(0).normal(size=(400, 1))
    interval = bootstrap_interval(MeanOfRows(), values, draws=4000)
    error = values.std() / np.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b", "c", "d"], [1, 2, 3, 34])])
def test_fast_way_for_means_equals_scoring_every_draw(groups):
    values = np.random.default_rng(1).random((40, 1))
    fast = bootstrap_interval(MeanOfRows(), values, groups=groups, draws=300, seed=5)
    slow = bootstrap_interval(Mean(), values, groups=groups, draws=300, seed=5)
    np.testing.assert_allclose([fast.low, fast.high], [slow.low, slow.high], rtol=1e-12)


@dataclass(frozen=True)
class Ratio(Mean):
    """Stats (n, 2): the sum of the first over the sum of the second."""

    def score(self, stats):
        return float(stats[:, 0].sum() / stats[:, 1].sum())


@dataclass(frozen=True)
class RatioOfRows(Ratio):
    pooled: str = "samples"

    def per_row(self, stats):
        return stats[:, 0] / stats[:, 1]


@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b", "c", "d"], [1, 2, 3, 34])])
def test_draws_of_a_pooled_metric_are_pooled_too(groups):
    """Small rows have wild ratios of their own, which count for little in the whole."""
    rng = np.random.default_rng(6)
    values = np.column_stack([rng.random(40), rng.random(40) ** 6 + 1e-3])
    pooled = [bootstrap_interval(m, values, groups=groups, draws=300, seed=5) for m in (RatioOfRows(), Ratio())]
    np.testing.assert_allclose([pooled[0].low, pooled[0].high], [pooled[1].low, pooled[1].high], rtol=1e-12)
    assert pooled[0].low <= pooled[0].value <= pooled[0].high
    paired = [paired_difference(m, values, values[::-1], groups=groups, draws=300) for m in (RatioOfRows(), Ratio())]
    np.testing.assert_allclose([paired[0].low, paired[0].high], [paired[1].low, paired[1].high], rtol=1e-9)


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


@pytest.mark.parametrize("metric", [Mean(), MeanOfRows(), RatioOfRows()])
def test_memory_bound_changes_nothing_but_memory(metric, monkeypatch):
    values = np.random.default_rng(1).random((40, 2 if isinstance(metric, Ratio) else 1))
    whole = bootstrap_interval(metric, values, draws=100, seed=2)
    monkeypatch.setattr(bootstrap, "CHUNK_NUMBERS", 130)  # three draws a chunk
    assert bootstrap_interval(metric, values, draws=100, seed=2) == whole


def test_same_seed_same_interval():
    values = np.random.default_rng(0).random((30, 1))
    one, again, other = (bootstrap_interval(MeanOfRows(), values, draws=200, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_rows_that_repeat_each_other_widen_the_interval_only_when_grouped():
    values = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 8, axis=0)
    rows, groups = (
        bootstrap_interval(MeanOfRows(), values, groups=labels, draws=2000)
        for labels in (None, np.repeat(np.arange(50), 8))
    )
    # Eight equal rows carry the information of one: the honest interval is sqrt(8) times as wide.
    assert (groups.high - groups.low) / (rows.high - rows.low) == pytest.approx(np.sqrt(8), rel=0.1)


def test_paired_difference_cancels_what_is_hard_for_both():
    rng = np.random.default_rng(0)
    baseline = rng.random((300, 1))
    better = baseline + 0.01 + 0.001 * rng.normal(size=baseline.shape)
    alone = bootstrap_interval(MeanOfRows(), better)
    pair = paired_difference(MeanOfRows(), better, baseline)
    assert pair.low > 0.0095
    assert pair.high < 0.0105
    assert alone.high - alone.low > 50 * (pair.high - pair.low)


def test_difference_of_a_table_to_itself_is_zero():
    stats = GlobalDice().stats(target=np.eye(4, dtype=bool)[..., None, None], pred=np.ones((4, 4, 1, 1), dtype=bool))
    pair = paired_difference(GlobalDice(), stats, stats, draws=50)
    assert (pair.value, pair.low, pair.high) == (0.0, 0.0, 0.0)


def test_mean_dice_interval_covers_its_score():
    rng = np.random.default_rng(0)
    stats = MeanDice().stats(target=rng.random((60, 5, 5, 2)) < 0.5, pred=rng.random((60, 5, 5, 2)) < 0.5)
    interval = bootstrap_interval(MeanDice(), stats)
    assert interval.low < MeanDice().score(stats) < interval.high


def test_what_cannot_be_drawn_is_refused():
    values = np.ones((3, 1))
    with pytest.raises(ValueError, match="not of the same samples"):
        paired_difference(Mean(), values, values[:2])
    with pytest.raises(ValueError, match="3 rows, 2 groups"):
        bootstrap_interval(Mean(), values, groups=np.array([0, 1]))
    with pytest.raises(ValueError, match="0 rows"):
        bootstrap_interval(Mean(), values[:0])


def test_the_kind_of_the_group_labels_changes_no_draw():
    scores = np.random.default_rng(0).random((30, 1))
    numbers = np.arange(30) // 2 + 2  # 2 .. 16, sorted otherwise as text
    as_numbers = bootstrap_interval(MeanOfMaps(), scores, groups=numbers, draws=200)
    assert bootstrap_interval(MeanOfMaps(), scores, groups=numbers.astype(str), draws=200) == as_numbers
