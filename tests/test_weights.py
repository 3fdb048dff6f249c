"""Searched blend weights: exact counts, greedy steps against the obvious slow way, no leak over folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.blending import mask_counts
from skyfold.blending import search as searching
from skyfold.blending.byte_sums import MAX_PARTS
from skyfold.blending.combine import combine
from skyfold.blending.mask_counts import BLOCK, NOBODY, count_masks, cuts_of, weighted_sums
from skyfold.blending.search import (
    STAY,
    cross_fitted_weights,
    greedy,
    hill_climb,
    search,
    search_thresholds,
    slsqp,
    whole_parts,
)
from skyfold.blending.uncertain_pixels import screen
from skyfold.config.blend import WeightsConfig
from skyfold.errors import ConfigError, OofMismatch
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


def screened(arrays, truth, valid=None, **options):
    return screen(arrays, truth.astype(np.uint8), valid, rows=np.arange(len(truth)), thresholds=THRESHOLDS, **options)


def blended(arrays, parts):
    return np.concatenate([values for _, values in combine(arrays, how="mean", weights=parts)])


def score_of_whole_maps(arrays, parts, thresholds, truth, valid, metric, rows=None):
    """The score of the blend as it is stored, from whole maps: a threshold a class."""
    masks = blended(arrays, parts) > np.asarray(thresholds)
    stats = metric.stats(target=truth, pred=masks, valid=valid)
    return metric.score(stats if rows is None else stats[rows])


def best_over_thresholds(arrays, parts, truth, valid, metric):
    """Joint optimum over a threshold a class: classes count alike, so that each takes its own best."""
    scores = [
        max(
            score_of_whole_maps(
                [a[..., k : k + 1] for a in arrays], parts, [threshold], truth[..., k : k + 1], valid, metric
            )
            for threshold in THRESHOLDS
        )
        for k in range(truth.shape[-1])
    ]
    return float(np.mean(scores))


def everything(maps):
    return np.ones(len(maps.rows), dtype=bool), np.arange(maps.members)


@given(case=ensembles(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_counts_of_uncertain_pixels_are_those_of_the_stored_blend(case, seed):
    """Also where the same weights are reached by adding a part, and by moving the parts of the last member back."""
    arrays, truth, valid = case
    members = len(arrays)
    parts = np.random.default_rng(seed).integers(0, 50, members)
    parts[0] += 1
    first, last = np.eye(members, dtype=int)[[0, -1]]
    before = {
        (0, 0, 0): parts,
        (0, NOBODY, 1): parts - first,
        (0, members - 1, parts[0]): parts + parts[0] * (last - first),
    }
    maps = screened(arrays, truth, valid)
    known = np.ones(truth.shape[:3], dtype=bool) if valid is None else valid
    masks = (blended(arrays, parts)[..., None] > THRESHOLDS) & known[..., None, None]
    truth = truth & known[..., None]
    for k, pixels in enumerate(maps.classes):
        cuts = cuts_of(THRESHOLDS, int(parts.sum()))
        np.testing.assert_array_equal(pixels.target, truth[maps.rows, ..., k].sum(axis=(1, 2)))
        for move, start in before.items():
            sums = weighted_sums(pixels, start)
            both, pred = count_masks(pixels, sums, np.array([move]), cuts, np.arange(len(truth)))
            own = masks[maps.rows, :, :, k]
            np.testing.assert_array_equal(pred[:, 0], own.sum(axis=(1, 2)))
            np.testing.assert_array_equal(both[:, 0], (own & truth[maps.rows, ..., k, None]).sum(axis=(1, 2)))


def test_counts_of_more_pixels_than_a_block():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (2, 97, 89, 1), dtype=np.uint8) for _ in range(2)]
    truth = rng.random(arrays[0].shape) < 0.5
    (pixels,) = (maps := screened(arrays, truth)).classes
    assert np.diff(pixels.start).min() > BLOCK
    cuts = cuts_of(THRESHOLDS, 3)
    both, pred = count_masks(pixels, weighted_sums(pixels, np.array([2, 1])), STAY, cuts, np.arange(2))
    masks = (blended(arrays, [2, 1]) > THRESHOLDS)[maps.rows]
    np.testing.assert_array_equal(pred[:, 0], masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(both[:, 0], (masks & truth[maps.rows]).sum(axis=(1, 2)))


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
    chosen = greedy(maps, metric, *everything(maps), steps=4)
    assert chosen.score == pytest.approx(best[0], abs=1e-12)
    assert chosen.parts == best[1]
    assert score_of_whole_maps(arrays, chosen.parts, chosen.thresholds, truth, valid, metric) == pytest.approx(
        chosen.score
    )


@given(case=ensembles())
@settings(deadline=None, max_examples=40)
def test_hill_climbing_and_slsqp_end_no_lower_than_equal_weights(case):
    arrays, truth, valid = case
    maps = screened(arrays, truth, valid)
    equal = best_over_thresholds(arrays, np.ones(len(arrays)), truth, valid, MeanDice())
    for climb in (hill_climb, slsqp):
        chosen = climb(maps, MeanDice(), *everything(maps))
        assert chosen.score >= equal - 1e-12
        again = score_of_whole_maps(arrays, chosen.parts, chosen.thresholds, truth, valid, MeanDice())
        assert again == pytest.approx(chosen.score, abs=1e-12)


def partly_right(rows=12, seed=0):
    """Three members, each wrong on a quarter of the pixels, and a fourth that is noise: truth (n, 8, 9, 2)."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, 8, 9, 2)) < 0.4
    arrays = []
    for m in range(3):
        wrong = rng.random(truth.shape) < 0.25
        arrays.append(np.where(truth ^ wrong, 190 + m, 60 - m).astype(np.uint8))
    arrays.append(rng.integers(0, 256, truth.shape, dtype=np.uint8))
    return arrays, truth


@pytest.mark.parametrize("method", ["greedy", "hill_climb", "slsqp"])
def test_noise_gets_little_weight_and_the_blend_beats_its_best_member(method):
    arrays, truth = partly_right()
    maps = screened(arrays, truth)
    chosen = search(maps, WeightsConfig(search=method), MeanDice())
    singles = [best_over_thresholds(arrays, row, truth, None, MeanDice()) for row in np.eye(4)]
    assert chosen.score > max(singles) + 0.02
    assert chosen.blend_weights[3] < 0.15
    assert sum(chosen.blend_weights) == pytest.approx(1.0)
    assert sum(chosen.parts) <= MAX_PARTS


def test_identical_copies_and_a_single_member_score_as_that_member():
    arrays, truth = partly_right()
    single = best_over_thresholds(arrays[:1], [1], truth, None, MeanDice())
    for members in (arrays[:1], [arrays[0]] * 3):
        maps = screened(members, truth)
        for method in ("greedy", "hill_climb", "slsqp"):
            assert search(maps, WeightsConfig(search=method), MeanDice()).score == pytest.approx(single, abs=1e-12)


@pytest.mark.parametrize("method", ["greedy", "hill_climb"])
def test_threads_and_batches_of_moves_change_nothing(method, monkeypatch):
    arrays, truth = partly_right()
    maps = screened(arrays, truth)
    whole = search(maps, WeightsConfig(search=method), MeanDice())
    monkeypatch.setattr(mask_counts, "MIN_WORK", 0)
    monkeypatch.setattr(searching, "COUNTS_AT_ONCE", 2 * len(truth) * len(THRESHOLDS))
    assert search(maps, WeightsConfig(search=method), MeanDice()) == whole


def test_bags_draw_whole_groups_and_are_averaged(monkeypatch):
    arrays, truth = partly_right(rows=16)
    maps = screened(arrays, truth)
    groups = maps.rows // 4
    seen = []

    def spy(maps, config, metric, use, members):
        seen.append((use, members))
        return greedy(maps, metric, use, members, 3)

    monkeypatch.setattr(searching, "_search_once", spy)
    chosen = search(maps, WeightsConfig(bags=5, steps=3), MeanDice(), groups=groups, seed=1)
    assert len(seen) == 5
    for use, members in seen:
        assert len(members) == 3
        assert use.sum() == 8
        assert all(use[groups == g].all() or not use[groups == g].any() for g in range(4))
    assert sum(chosen.parts) == MAX_PARTS


def test_weights_of_a_fold_do_not_change_with_what_is_in_the_fold():
    arrays, truth = partly_right(rows=12)
    fold = np.arange(12) % 3
    other = truth.copy()
    other[fold == 1] = ~truth[fold == 1]
    results = []
    for target in (truth, other):
        maps = screened(arrays, target)

        def choose(use, maps=maps):
            return search(maps, WeightsConfig(steps=6, bags=2), MeanDice(), use=use, seed=3)

        results.append(cross_fitted_weights(maps, fold[maps.rows], MeanDice(), choose))
    assert results[0].by_fold[1] == results[1].by_fold[1]
    assert results[0].by_fold[0] != results[1].by_fold[0]


def test_cross_fitted_score_is_that_of_each_fold_under_the_choice_of_the_others():
    arrays, truth = partly_right(rows=12)
    fold = np.arange(12) % 3
    maps = screened(arrays, truth)
    result = cross_fitted_weights(
        maps, fold[maps.rows], MeanDice(), lambda use: search(maps, WeightsConfig(steps=5), MeanDice(), use=use)
    )
    scores = [
        score_of_whole_maps(arrays, one.parts, one.thresholds, truth, None, MeanDice(), fold == f)
        for f, one in result.by_fold.items()
    ]
    assert result.cross_fitted == pytest.approx(np.mean(scores))
    assert result.in_sample == pytest.approx(result.searched.score)
    assert result.optimism == pytest.approx(result.in_sample - result.cross_fitted)


def test_rows_beyond_the_memory_limit_leave_a_random_sample():
    arrays, truth = partly_right(rows=12)
    maps = screened(arrays, truth, max_bytes=6 * (8 * 9 * 2) * 3)
    assert 1 <= len(maps.rows) < 12
    assert len(set(maps.rows.tolist())) == len(maps.rows)
    for k, pixels in enumerate(maps.classes):
        assert len(pixels.target) == len(maps.rows)
        np.testing.assert_array_equal(pixels.target, truth.sum(axis=(1, 2))[maps.rows, k])


def test_thresholds_are_even_over_the_range():
    assert search_thresholds(WeightsConfig(thresholds=5, threshold_range=(0.1, 0.9))).tolist() == [
        25,
        76,
        127,
        178,
        229,
    ]
    assert search_thresholds(WeightsConfig(thresholds=1)).tolist() == [127]


@given(weights=st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda w: sum(w) > 0.01))
def test_whole_parts_add_up_and_are_next_to_the_exact_ones(weights):
    parts = whole_parts(np.array(weights), 257)
    assert parts.sum() == 257
    assert (np.abs(parts - 257 * np.array(weights) / sum(weights)) < 1 + 1e-6).all()


def test_predictions_other_than_bytes_of_one_shape_are_refused():
    truth = np.ones((1, 2, 2, 1), dtype=bool)
    with pytest.raises(OofMismatch, match="predictions 0 are float64"):
        screened([np.full(truth.shape, np.nan)], truth)
    with pytest.raises(OofMismatch, match=r"predictions 1 are uint8 \(1, 2, 1, 1\)"):
        screened([np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2, 1, 1), np.uint8)], truth)


def test_too_little_to_choose_on_is_refused():
    arrays, truth = partly_right(rows=2)
    maps = screened(arrays, truth)
    with pytest.raises(OofMismatch, match="no rows to search"):
        search(maps, WeightsConfig(), MeanDice(), use=np.zeros(2, dtype=bool))
    with pytest.raises(OofMismatch, match="2 folds or more"):
        cross_fitted_weights(maps, np.zeros(2, dtype=int), MeanDice(), lambda use: None)
    many = [np.zeros((1, 1, 1, 1), dtype=np.uint8)] * 258
    maps = screened(many, np.ones((1, 1, 1, 1), dtype=bool))
    for climb in (hill_climb, slsqp):
        with pytest.raises(ConfigError, match="fewer than the 258 runs"):
            climb(maps, MeanDice(), *everything(maps))
