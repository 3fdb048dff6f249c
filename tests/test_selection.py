"""The chosen settings and gate are the best there are, and the cross-fitted score never saw the rows it scores."""

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.metrics.segmentation import METRICS, MeanDice, MeanIoU
from skyfold.postprocess import rules
from skyfold.postprocess import select as select_module
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import sweep_maps
from skyfold.postprocess.select import select
from skyfold.postprocess.selection import Selection
from skyfold.postprocess.threshold_sweep import Maps, ThresholdSweep
from skyfold.store.folds import Folds

THRESHOLDS = np.array([25, 76, 127, 178, 229])
MIN_AREAS = np.array([0, 10, 50])
RULES = ["component", "total", "triplet", "fill"]


@pytest.fixture(scope="module", autouse=True)
def rule_of_tests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "__path__", [*rules.__path__, str(Path(__file__).parent / "rules")])
        yield
    rules.load_rule.cache_clear()


def made_up(dice, empty):
    """The sweep of maps with these Dice (n, K, 5, 3), in hundredths, whose truth and masks have 100 pixels.

    Over an empty truth only 0 and 1 can be, the latter by an empty mask.
    """
    both = np.where(empty[..., None, None], 0, np.rint(100 * dice)).astype(np.int32)
    pred = np.where(empty[..., None, None] & (dice == 1), 0, 100).astype(np.int32)
    pixels = np.stack([both, pred], axis=2).swapaxes(3, 4)  # (n, K, 2, M, T)
    histogram = np.zeros((*empty.shape, 2, 256), dtype=np.int32)
    histogram[:, :, 0, 0] = np.where(empty, 0, 100)
    histogram[..., THRESHOLDS + 1] = pixels[:, :, :, 0]
    return ThresholdSweep(np.arange(len(dice)), MeanDice(), "component", THRESHOLDS, MIN_AREAS, histogram, pixels)


@st.composite
def small_maps(draw):
    """Maps of a few pixels, a rule, and a grid that has all thresholds that matter."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 2)))
    prob = rng.choice(np.array([0, 40, 90, 150, 255], dtype=np.uint8), size=shape)
    target = (rng.random(shape) < 0.5) & (rng.random((shape[0], 1, 1, shape[3])) < 0.6)
    valid = rng.random(shape[:3]) < 0.8 if draw(st.booleans()) else None
    gate = np.round(rng.random((shape[0], shape[3])), draw(st.integers(0, 2))).astype(np.float32)
    grid = {"thresholds": np.array([0, 60, 149, 254]), "min_areas": np.array([0, 2, 5])}
    return Maps(prob, target, valid), gate, {"rule": draw(st.sampled_from(RULES)), **grid}


def flat(by_threshold, count=1):
    """Dice of one class that depend on the threshold only."""
    return np.tile(np.array(by_threshold, dtype=np.float64)[:, None], (count, 1, 1, 3))


def score_of(selection, sweep, prob=None):
    return sweep.metric.score(sweep.evaluate(selection, prob)[0])


def cross_fitted(sweep, fold, gate=None):
    ids = np.arange(len(fold))
    return evaluate(sweep, Folds(ids.astype(str), np.asarray(fold), ids), PostprocessConfig(), gate)


def every_selection(sweep, gate_prob):
    """All settings x gates of a set with one class."""
    tops = sweep.thresholds if sweep.rule == "triplet" else [None]
    gates = [None] if gate_prob is None else np.append(np.unique(gate_prob).astype(np.float64), 2.0)
    for top, area, threshold, gate in itertools.product(tops, sweep.min_areas, sweep.thresholds, gates):
        if top is None or top >= threshold:
            gate, top = (None if part is None else (part.item(),) for part in (gate, top))
            yield Selection((int(threshold),), (int(area),), gate, top, sweep.rule)


@dataclass(frozen=True)
class Loss:
    """A metric that offers what it must only, and where less is better."""

    name: str = "loss"
    greater_is_better: bool = False

    def stats(self, **arrays):
        return MeanIoU().stats(**arrays)

    def score(self, stats):
        return 1 - MeanIoU().score(stats)


# Maps of one hole, which the rule fills where a gate has emptied them.
FILLED = (
    Maps(np.full((2, 1, 2, 1), 255, np.uint8), np.array([[[[True], [True]]], [[[False], [False]]]])),
    np.array([[1], [0]], np.float32),
    {"rule": "fill", "thresholds": np.array([0, 254]), "min_areas": np.array([5])},
)


@pytest.mark.parametrize("metric", [*(metric() for metric in METRICS.values()), Loss()], ids=lambda metric: metric.name)
@given(case=small_maps(), gated=st.booleans(), at_once=st.sampled_from([2, 256]))
@example(case=FILLED, gated=True, at_once=256)
@settings(deadline=None, max_examples=40)
def test_nothing_scores_better_than_what_is_chosen_by_masks_and_metric(metric, case, gated, at_once):
    """Brute force: every setting and gate is applied to the pixels, and the masks are scored by the metric."""
    maps, gate, settings_ = case
    gate = gate if gated else None
    sweep = sweep_maps(maps, metric, **settings_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select_module, "ROWS_AT_ONCE", at_once)
        chosen = select(sweep, gate)
    assert Selection.from_dict(json.loads(json.dumps(asdict(chosen)))) == chosen

    def masks_of(selection, prob, gate_prob):
        before = prob.copy()
        masks = selection.apply(prob, gate_prob, valid=maps.valid)
        assert (masks.dtype, masks.shape) == (np.bool_, prob.shape)
        np.testing.assert_array_equal(prob, before)
        return masks

    stats, scores = sweep.evaluate(chosen, gate)
    masks = masks_of(chosen, maps.prob, gate)
    np.testing.assert_array_equal(stats, metric.stats(target=maps.targets, pred=masks, valid=maps.valid))
    for k in range(sweep.classes):
        one = slice(k, k + 1)
        gate_prob, prob, target = None if gate is None else gate[:, one], maps.prob[..., one], maps.targets[..., one]
        for i in range(len(prob)):
            valid = None if maps.valid is None else maps.valid[i : i + 1]
            of_map = metric.stats(target=target[i : i + 1], pred=masks[i : i + 1, ..., one], valid=valid)
            assert scores[i, k] == metric.score(of_map)

        def score(selection):
            pred = masks_of(selection, prob, gate_prob)  # noqa: B023
            return metric.score(metric.stats(target=target, pred=pred, valid=maps.valid))  # noqa: B023

        best = (max if metric.greater_is_better else min)(score(each) for each in every_selection(sweep, gate_prob))
        parts = (None if part is None else part[one] for part in list(vars(chosen).values())[:4])
        assert score(Selection(*parts, sweep.rule)) == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize(
    ("criterion", "read_off"), [("precision", threshold_for_precision), ("recall", threshold_for_recall)]
)
def test_precision_or_recall_is_read_off_the_curve(criterion, read_off):
    rng = np.random.default_rng(0)
    empty = rng.random((40, 2)) < 0.5
    prob = np.clip(rng.normal(0.7 - 0.4 * empty, 0.2), 0, 1)
    dice = np.where(empty[..., None, None], 0.0, np.round(rng.random((40, 2, 5, 3)), 2))
    chosen = select(made_up(dice, empty), prob, criterion=criterion, target=0.9)
    for k in range(2):
        threshold = read_off(prob[:, k], ~empty[:, k], 0.9).threshold
        assert chosen.gate_thresholds[k] == threshold
        kept = dice[prob[:, k] >= threshold, k].sum(axis=0)
        t, m = np.unravel_index(np.argmax(kept), kept.shape)
        assert (chosen.thresholds[k], chosen.min_areas[k]) == (THRESHOLDS[t], MIN_AREAS[m])


@pytest.mark.parametrize(
    ("by_threshold", "threshold"),
    [
        ([1, 1, 1, 1, 1], 127),  # nothing depends on the threshold: one half
        ([0, 0, 1, 1, 1], 178),  # the middle of what scores the same
        ([1, 0, 1, 1, 1], 178),  # the longest run, not the first
        ([1, 0, 0, 1, 0], 178),  # equally long: the one nearest one half
        ([0, 0, 0, 0, 1], 229),
    ],
)
def test_equal_thresholds_give_the_middle_of_their_plateau(by_threshold, threshold):
    chosen = select(made_up(flat(by_threshold), np.zeros((1, 1), dtype=bool)))
    assert (chosen.thresholds, chosen.min_areas) == ((threshold,), (0,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gate_threshold_lies_in_the_middle_of_the_gap_and_between_neighbouring_numbers(dtype):
    # The mask is right in the first row and wrong in the second (the class is not there): any gate between does.
    sweep = made_up(np.concatenate([flat([1.0] * 5), flat([0.0] * 5)]), np.array([[False], [True]]))
    assert select(sweep, np.array([[0.8], [0.3]], dtype)).gate_thresholds == (pytest.approx(0.55),)
    low = dtype(0.7)
    prob = np.array([[np.nextafter(low, dtype(1))], [low]])
    assert score_of(select(sweep, prob), sweep, prob) == 1.0


def test_a_class_that_is_never_there_is_emptied_even_at_certainty():
    sweep, prob = made_up(flat([0.0] * 5, count=3), np.ones((3, 1), dtype=bool)), np.ones((3, 1), dtype=np.float32)
    for criterion in ("dice", "precision", "recall"):
        chosen = select(sweep, prob, criterion=criterion, target=0.5)
        assert score_of(chosen, sweep, prob) == 1.0
        json.dumps(asdict(chosen), allow_nan=False)


def test_a_metric_without_scores_of_rows_is_scored_at_a_bounded_number_of_gate_thresholds():
    scored = []

    class Counted(Loss):
        def score(self, stats):
            scored.append(len(stats))
            return super().score(stats)

    rng = np.random.default_rng(0)
    maps = Maps(rng.integers(0, 256, (400, 2, 3, 1), dtype=np.uint8), rng.random((400, 2, 3, 1)) < 0.5)
    grid = {"thresholds": THRESHOLDS, "min_areas": np.array([0])}
    sweep, gate = sweep_maps(maps, Counted(), rule="total", **grid), rng.random((400, 1))
    chosen = select(sweep, gate)
    assert len(scored) == 2 * 101 * len(THRESHOLDS)  # every threshold, and again for the gates of the best area
    assert score_of(chosen, sweep, gate) <= score_of(select(sweep), sweep)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["global_iou", "pixel_accuracy"])
def test_cross_fitting_scores_each_fold_with_a_choice_of_the_others(name, rule):
    rng = np.random.default_rng(0)
    maps = Maps(rng.integers(0, 256, (30, 6, 7, 2), dtype=np.uint8), rng.random((30, 6, 7, 2)) < 0.4)
    sweep = sweep_maps(maps, METRICS[name](), rule=rule, thresholds=THRESHOLDS, min_areas=np.array([0, 3, 9]))
    fold, gate = np.arange(30) % 4 - 1, rng.random((30, 2))
    fit = cross_fitted(sweep, fold, gate)
    for f in range(3):
        others, own = np.flatnonzero((fold != f) & (fold != -1)), np.flatnonzero(fold == f)
        chosen = select(sweep, gate, rows=others)
        assert fit.by_fold[f] == chosen
        for part, expected in zip((fit.stats, fit.map_scores), sweep.evaluate(chosen, gate, rows=own), strict=True):
            np.testing.assert_array_equal(part[own], expected)
    validated = np.flatnonzero(fold != -1)
    assert fit.selection == select(sweep, gate, rows=validated)
    for stats, score in ((fit.stats, fit.score), (fit.in_sample_stats, fit.in_sample)):
        assert np.isnan(stats[fold == -1]).all()
        assert score == METRICS[name]().score(stats[validated])


def test_what_does_not_fit_together_is_refused():
    sweep = made_up(flat([1] * 5, count=4), np.zeros((4, 1), dtype=bool))
    with pytest.raises(OofMismatch, match="2 folds or more"):
        cross_fitted(sweep, np.zeros(4, dtype=int))
    with pytest.raises(OofMismatch, match="without NaN"):
        select(sweep, np.full((4, 1), np.nan))
    with pytest.raises(OofMismatch, match="no validated rows"):
        select(sweep, rows=np.array([], dtype=int))
    with pytest.raises(ConfigError, match="gate_target"):
        select(sweep, np.ones((4, 1)), criterion="precision")
    with pytest.raises(ValueError, match="not among the searched values"):
        sweep.evaluate(Selection((26,), (0,)))
    with pytest.raises(OofMismatch, match="has a gate"):
        sweep.evaluate(Selection((25,), (0,), (0.5,)))


def test_a_fitted_gate_never_learns_from_the_fold_it_is_scored_on():
    """Its probabilities say outright which rows it was shown; those of the scored fold, shown, would be right."""
    rng = np.random.default_rng(5)
    fold = np.repeat([0, 1, -1], [20, 20, 5])
    empty = rng.random((45, 1)) < 0.5
    sweep = made_up(np.where(empty[..., None, None], 0.0, flat([0.8] * 5, count=45)), empty)
    shown = []

    def knows_what_it_was_shown(rows):
        shown.append(tuple(rows[fold == f].any() for f in (0, 1, -1)))
        return np.where(rows[:, None], np.where(empty, 0.1, 0.9), 0.5)

    result = cross_fitted(sweep, fold, knows_what_it_was_shown)
    assert set(shown) == {(False, True, False), (True, False, False), (True, True, False)}
    assert result.in_sample == pytest.approx(np.where(empty, 1.0, 0.8)[fold != -1].mean())
    for f in (0, 1):  # unseen, every row gets 0.5: kept or emptied alike, never told apart
        own = empty[fold == f]
        kept_or_emptied = pytest.approx(0.8 * (~own).mean()), pytest.approx(own.mean())
        assert result.map_scores[fold == f].mean() in kept_or_emptied
