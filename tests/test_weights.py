"""Searched blend weights: exact counts, greedy steps against the obvious slow way, no leak over folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.blending import mask_counts, uncertain_pixels
from skyfold.blending import search as searching
from skyfold.blending.combine import MAX_PARTS, combine
from skyfold.blending.mask_counts import BLOCK, count_masks, cuts_of
from skyfold.blending.search import cross_fitted_weights, greedy, search_thresholds
from skyfold.blending.uncertain_pixels import screen
from skyfold.config.blend import WeightsConfig
from skyfold.errors import OofMismatch
from skyfold.metrics.segmentation import GlobalDice, GlobalIoU, MeanDice, MeanIoU

THRESHOLDS = np.array([60, 100, 127, 150, 200])


@st.composite
def ensembles(draw):
    """Members that agree with the truth more or less, degenerate ones among them: all 0, all 255, identical copies."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (6, 9, 9, 3))))
    truth = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    arrays = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["noisy", "noisy", "noisy", "all 0", "all 255", "copy"]))
        if kind == "noisy":
            prob = truth * draw(st.sampled_from([0.0, 0.3, 0.6])) + 0.4 * rng.random(shape)
            arrays.append(np.round(255 * prob).astype(np.uint8))
        elif kind == "copy" and arrays:
            arrays.append(arrays[0].copy())
        else:
            arrays.append(np.full(shape, 255 * (kind == "all 255"), dtype=np.uint8))
    valid = rng.random(shape[:3]) < 0.8 if draw(st.booleans()) else None
    return arrays, truth, valid


def screened(arrays, truth, valid=None):
    return screen(arrays, truth.astype(np.uint8), valid, rows=np.arange(len(truth)), thresholds=THRESHOLDS)


def blended(arrays, parts):
    return np.concatenate([values for _, values in combine(arrays, parts)])


def score_of_whole_maps(arrays, parts, thresholds, truth, valid, metric, rows=None):
    """The score of the blend as it is stored, from whole maps: a threshold a class."""
    masks = blended(arrays, parts) > np.asarray(thresholds)
    stats = metric.stats(target=truth, pred=masks, valid=valid)
    return metric.score(stats if rows is None else stats[rows])


def best_over_thresholds(arrays, parts, truth, valid, metric):
    """Joint optimum over a threshold a class: classes count alike, so that each takes its own best."""
    best = []
    for k in range(truth.shape[-1]):
        one, own = [array[..., k : k + 1] for array in arrays], truth[..., k : k + 1]
        best.append(max(score_of_whole_maps(one, parts, [at], own, valid, metric) for at in THRESHOLDS))
    return float(np.mean(best))


def searched(arrays, truth, steps=25):
    return greedy(screened(arrays, truth), MeanDice(), np.ones(len(truth), dtype=bool), steps)


def require_counts_of_stored_blend(arrays, truth, valid, parts):
    """Counts after the last of the parts is added to the sums of the others, which is that of the last member."""
    maps = screened(arrays, truth, valid)
    known = np.ones(truth.shape[:3], dtype=bool) if valid is None else valid
    masks = (blended(arrays, parts)[..., None] > THRESHOLDS) & known[..., None, None]
    truth = truth & known[..., None]
    less = np.array(parts, dtype=np.uint16)
    less[-1] -= 1
    for k, pixels in enumerate(maps.classes):
        sums = [(less[:, None] * values).sum(axis=0, dtype=np.uint16) for values in pixels.values]
        both, pred = count_masks(pixels, sums, slice(None), cuts_of(THRESHOLDS, sum(parts)), np.arange(len(truth)))
        own = masks[maps.rows, :, :, k]
        np.testing.assert_array_equal(pixels.target, truth[maps.rows, ..., k].sum(axis=(1, 2)))
        np.testing.assert_array_equal(pred[:, -1], own.sum(axis=(1, 2)))
        np.testing.assert_array_equal(both[:, -1], (own & truth[maps.rows, ..., k, None]).sum(axis=(1, 2)))
    return maps


@given(case=ensembles(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_counts_of_uncertain_pixels_are_those_of_the_stored_blend(case, seed):
    parts = np.random.default_rng(seed).integers(0, 50, len(case[0]))
    parts[-1] += 1
    require_counts_of_stored_blend(*case, parts)


def test_counts_of_more_pixels_than_a_block():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (2, 97, 89, 1), dtype=np.uint8) for _ in range(2)]
    maps = require_counts_of_stored_blend(arrays, rng.random(arrays[0].shape) < 0.5, None, [2, 1])
    assert min(map(len, maps.classes[0].truth)) > BLOCK


@pytest.mark.parametrize("metric", [MeanDice(), MeanIoU(), GlobalDice(), GlobalIoU()])
@given(case=ensembles())
@settings(deadline=None, max_examples=15)
def test_greedy_takes_the_steps_of_the_obvious_slow_way(metric, case):
    arrays, truth, valid = case
    maps = screened(arrays, truth, valid)
    parts, best = np.zeros(len(arrays), dtype=int), (-1.0, None)
    for _ in range(4):
        candidates = parts + np.eye(len(arrays), dtype=int)
        scores = np.array([best_over_thresholds(arrays, one, truth, valid, metric) for one in candidates])
        parts = candidates[int(np.argmax(scores >= scores.max() - 1e-12))]
        best = max(best, (scores.max(), tuple(parts.tolist())), key=lambda pair: round(pair[0], 12))
    chosen = greedy(maps, metric, np.ones(len(truth), dtype=bool), steps=4)
    assert chosen.score == pytest.approx(best[0], abs=1e-12)
    assert chosen.parts == best[1]
    whole = score_of_whole_maps(arrays, chosen.parts, chosen.thresholds, truth, valid, metric)
    assert whole == pytest.approx(chosen.score)


def partly_right(rows=12):
    """Three members, each wrong on a quarter of the pixels, and a fourth that is noise: truth (n, 8, 9, 2)."""
    rng = np.random.default_rng(0)
    truth = rng.random((rows, 8, 9, 2)) < 0.4
    wrong = [rng.random(truth.shape) < 0.25 for _ in range(3)]
    arrays = [np.where(truth ^ own, 190 + m, 60 - m).astype(np.uint8) for m, own in enumerate(wrong)]
    return [*arrays, rng.integers(0, 256, truth.shape, dtype=np.uint8)], truth


def test_noise_gets_little_weight_and_the_blend_beats_its_best_member(monkeypatch):
    arrays, truth = partly_right()
    chosen = searched(arrays, truth)
    singles = [best_over_thresholds(arrays, row, truth, None, MeanDice()) for row in np.eye(4)]
    assert chosen.score > max(singles) + 0.02
    assert chosen.blend_weights[3] < 0.15
    assert sum(chosen.blend_weights) == pytest.approx(1.0)
    assert sum(searched(arrays, truth, steps=2 * MAX_PARTS).parts) <= MAX_PARTS
    for members in (arrays[:1], [arrays[0]] * 3):  # a single member, and copies of it
        assert searched(members, truth).score == pytest.approx(singles[0], abs=1e-12)
    # Threads and batches of members change nothing.
    monkeypatch.setattr(mask_counts, "MIN_WORK", 0)
    monkeypatch.setattr(searching, "COUNTS_AT_ONCE", 2 * len(truth) * len(THRESHOLDS))
    assert searched(arrays, truth) == chosen


def test_each_fold_is_scored_under_the_choice_of_the_others_and_cannot_change_it():
    arrays, truth = partly_right()
    fold = np.arange(12) % 3
    other = truth ^ (fold == 1)[:, None, None, None]
    by_truth = []
    for target in (truth, other):
        maps = screened(arrays, target)
        chosen, by_fold, score = cross_fitted_weights(maps, fold[maps.rows], MeanDice(), steps=5)
        of_fold = [(one.parts, one.thresholds, target, None, MeanDice(), fold == f) for f, one in by_fold.items()]
        assert score == pytest.approx(np.mean([score_of_whole_maps(arrays, *each) for each in of_fold]))
        assert chosen == searched(arrays, target, steps=5)
        by_truth.append(by_fold)
    assert by_truth[0][1] == by_truth[1][1]
    assert by_truth[0][0] != by_truth[1][0]


def test_rows_beyond_the_memory_limit_leave_a_random_sample(monkeypatch):
    arrays, truth = partly_right()
    monkeypatch.setattr(uncertain_pixels, "MAX_BYTES", 6 * (8 * 9 * 2) * 3)
    maps = screened(arrays, truth)
    assert 1 <= len(maps.rows) < 12
    assert len(set(maps.rows.tolist())) == len(maps.rows)
    for k, pixels in enumerate(maps.classes):
        np.testing.assert_array_equal(pixels.target, truth.sum(axis=(1, 2))[maps.rows, k])


def test_thresholds_are_even_over_the_range():
    assert search_thresholds(WeightsConfig(thresholds=1)).tolist() == [127]
    five = WeightsConfig(thresholds=5, threshold_range=(0.1, 0.9))
    assert search_thresholds(five).tolist() == [25, 76, 127, 178, 229]


def test_what_cannot_be_searched_is_refused():
    truth = np.ones((1, 2, 2, 1), dtype=bool)
    with pytest.raises(OofMismatch, match="predictions 0 are float64"):
        screened([np.full(truth.shape, np.nan)], truth)
    with pytest.raises(OofMismatch, match=r"predictions 1 are uint8 \(1, 2, 1, 1\), predictions 0"):
        screened([np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2, 1, 1), np.uint8)], truth)
    maps = screened(*partly_right(rows=2))
    with pytest.raises(OofMismatch, match="no rows to search"):
        greedy(maps, MeanDice(), np.zeros(2, dtype=bool), steps=1)
    with pytest.raises(OofMismatch, match="2 folds or more"):
        cross_fitted_weights(maps, np.zeros(2, dtype=int), MeanDice(), steps=1)
