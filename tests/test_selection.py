"""The chosen level, area and gate are the best there are, and the cross-fitted score never saw the rows it scores."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.postprocess.selection import Selection, cross_fitted, score_rows, select

LEVELS = np.array([25, 76, 127, 178, 229])
MIN_AREAS = np.array([0, 10, 50])


@st.composite
def surfaces(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, classes = draw(st.integers(1, 25)), draw(st.integers(1, 3))
    empty = rng.random((count, classes)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    surface = np.round(rng.random((count, classes, 5, 3)), draw(st.integers(0, 2))).astype(np.float32)
    surface = np.where(empty[..., None, None], np.round(surface), surface)
    prob = np.round(rng.random((count, classes)), draw(st.integers(0, 4))).astype(np.float32)
    return surface, empty, prob


def flat(by_level, count=1, classes=1):
    """A surface that depends on the level alone."""
    values = np.array(by_level, dtype=np.float32)[None, None, :, None]
    return np.broadcast_to(values, (count, classes, 5, 3)).copy()


def mean_score(selection, surface, empty, prob=None):
    return score_rows(selection, surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS).mean()


@given(case=surfaces())
@settings(deadline=None)
def test_no_pair_of_level_and_area_is_better(case):
    surface, empty, _ = case
    chosen = select(surface, empty, levels=LEVELS, min_areas=MIN_AREAS)
    assert chosen.gate_threshold_ is None
    best = surface.astype(np.float64).mean(axis=0).max(axis=(1, 2)).mean()
    assert mean_score(chosen, surface, empty) == pytest.approx(best, abs=1e-8)


@given(case=surfaces())
@settings(deadline=None, max_examples=60)
def test_no_triple_of_level_area_and_gate_is_better(case):
    surface, empty, prob = case
    chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS)
    best = 0.0
    for k in range(surface.shape[1]):
        gates = [*np.unique(prob[:, k]).astype(np.float64), 2.0]
        kept = [prob[:, k].astype(np.float64) >= gate for gate in gates]
        places = itertools.product(range(5), range(3), kept)
        best += max(np.where(keep, surface[:, k, t, m], empty[:, k]).astype(np.float64).mean() for t, m, keep in places)
    assert mean_score(chosen, surface, empty, prob) == pytest.approx(best / surface.shape[1], abs=1e-8)


@given(case=surfaces())
@settings(deadline=None, max_examples=60)
def test_expected_dice_keeps_what_is_expected_to_gain(case):
    surface, empty, prob = case
    chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS, gate="expected_dice")
    scores = {}
    for k, t, m in np.ndindex(surface.shape[1:]):
        there = ~empty[:, k]
        expected = surface[there, k, t, m].astype(np.float64).mean() if there.any() else 0.0
        keep = prob[:, k].astype(np.float64) >= 1 / (1 + expected)
        scores[k, t, m] = np.where(keep, surface[:, k, t, m], empty[:, k]).astype(np.float64).mean()
        if (chosen.level_[k], chosen.min_area_[k]) == (LEVELS[t], MIN_AREAS[m]):
            assert chosen.gate_threshold_[k] == pytest.approx(1 / (1 + expected), abs=1e-12)
    best = np.mean([max(v for (c, *_), v in scores.items() if c == k) for k in range(surface.shape[1])])
    assert mean_score(chosen, surface, empty, prob) == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize(
    ("gate", "read_off"), [("precision", threshold_for_precision), ("recall", threshold_for_recall)]
)
def test_wanted_precision_or_recall_is_read_off_the_curve(gate, read_off):
    rng = np.random.default_rng(0)
    empty = rng.random((40, 2)) < 0.5
    prob = np.clip(rng.normal(0.7 - 0.4 * empty, 0.2), 0, 1)
    surface = rng.random((40, 2, 5, 3)).astype(np.float32)
    chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS, gate=gate, wanted=0.9)
    for k in range(2):
        threshold = read_off(prob[:, k], ~empty[:, k], 0.9).threshold
        assert chosen.gate_threshold_[k] == threshold
        kept = surface[prob[:, k] >= threshold, k].astype(np.float64).sum(axis=0)
        t, m = np.unravel_index(np.argmax(kept), kept.shape)
        assert (chosen.level_[k], chosen.min_area_[k]) == (LEVELS[t], MIN_AREAS[m])


def test_wanted_precision_must_be_given():
    with pytest.raises(ConfigError, match="gate_wanted"):
        select(
            flat([1] * 5), np.zeros((1, 1), bool), np.ones((1, 1)), levels=LEVELS, min_areas=MIN_AREAS, gate="precision"
        )


@pytest.mark.parametrize(
    ("by_level", "level"),
    [
        ([1, 1, 1, 1, 1], 127),  # nothing depends on the level: one half
        ([0, 0, 1, 1, 1], 178),  # the middle of what scores the same
        ([1, 0, 1, 1, 1], 178),  # the longest run, not the first
        ([1, 0, 0, 1, 0], 178),  # equally long: the one nearest one half
        ([0, 0, 0, 0, 1], 229),
    ],
)
def test_equal_levels_give_the_middle_of_their_plateau(by_level, level):
    chosen = select(flat(by_level), np.zeros((1, 1), dtype=bool), levels=LEVELS, min_areas=MIN_AREAS)
    assert (chosen.level_, chosen.min_area_) == ((level,), (0,))


def test_gate_threshold_lies_in_the_middle_of_the_gap():
    # The mask is right in the row of 0.8 and wrong in that of 0.3 (the class is not there): any gate between does.
    surface = np.stack([flat([0.5] * 5)[0], flat([0.0] * 5)[0]])
    chosen = select(surface, np.array([[False], [True]]), np.array([[0.8], [0.3]]), levels=LEVELS, min_areas=MIN_AREAS)
    assert chosen.gate_threshold_ == (pytest.approx(0.55),)


def test_equal_probabilities_stand_or_fall_together():
    # Of three rows at 0.5 two gain 0.4 by being kept and one loses 1; apart they would score 0.4 + 0.4 + 1.
    surface = np.concatenate([flat([0.4] * 5, count=2), flat([0.0] * 5)])
    empty, prob = np.array([[False], [False], [True]]), np.full((3, 1), 0.5)
    chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS)
    assert chosen.gate_threshold_[0] > 0.5
    assert mean_score(chosen, surface, empty, prob) == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gate_fits_between_neighbouring_numbers(dtype):
    low = dtype(0.7)
    prob = np.array([[np.nextafter(low, dtype(1))], [low]])
    surface = np.stack([flat([1.0] * 5)[0], flat([0.0] * 5)[0]])
    empty = np.array([[False], [True]])
    chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS)
    assert mean_score(chosen, surface, empty, prob) == 1.0


def test_a_class_that_is_never_there_is_emptied_even_at_certainty():
    surface, empty, prob = flat([0.0] * 5, count=3), np.ones((3, 1), dtype=bool), np.ones((3, 1), dtype=np.float32)
    for gate in ("dice", "precision", "recall"):
        chosen = select(surface, empty, prob, levels=LEVELS, min_areas=MIN_AREAS, gate=gate, wanted=0.5)
        assert mean_score(chosen, surface, empty, prob) == 1.0
        assert Selection.from_json(chosen.to_json()) == chosen


@given(case=surfaces())
@settings(deadline=None, max_examples=20)
def test_json_brings_the_selection_back_exactly(case):
    surface, empty, prob = case
    for gate_prob in (None, prob):
        chosen = select(surface, empty, gate_prob, levels=LEVELS, min_areas=MIN_AREAS)
        assert Selection.from_json(chosen.to_json()) == chosen


def test_cross_fitting_scores_each_fold_with_a_choice_of_the_others():
    rng = np.random.default_rng(0)
    surface = rng.random((30, 2, 5, 3)).astype(np.float32)
    empty, prob = rng.random((30, 2)) < 0.3, rng.random((30, 2))
    fold = np.arange(30) % 4 - 1
    fit = cross_fitted(surface, empty, fold, prob, levels=LEVELS, min_areas=MIN_AREAS)
    for f in range(3):
        others, own = (fold != f) & (fold != -1), fold == f
        chosen = select(surface[others], empty[others], prob[others], levels=LEVELS, min_areas=MIN_AREAS)
        assert fit.by_fold[f] == chosen
        expected = score_rows(chosen, surface[own], empty[own], prob[own], levels=LEVELS, min_areas=MIN_AREAS)
        np.testing.assert_array_equal(fit.rows[own], expected)
    assert np.isnan(fit.rows[fold == -1]).all()
    assert np.isnan(fit.naive_rows[fold == -1]).all()
    assert fit.optimism == pytest.approx(fit.naive - fit.score)


def test_rows_never_validated_change_nothing():
    rng = np.random.default_rng(1)
    surface, empty = rng.random((20, 1, 5, 3)).astype(np.float32), rng.random((20, 1)) < 0.3
    fold = np.arange(20) % 2
    alone = cross_fitted(surface, empty, fold, levels=LEVELS, min_areas=MIN_AREAS)
    with_more = cross_fitted(
        np.concatenate([surface, flat([1, 0, 0, 0, 0], count=50)]),
        np.concatenate([empty, np.zeros((50, 1), dtype=bool)]),
        np.concatenate([fold, np.full(50, -1)]),
        levels=LEVELS,
        min_areas=MIN_AREAS,
    )
    assert with_more.selection == alone.selection
    assert (with_more.naive, with_more.score) == (alone.naive, alone.score)


def test_on_pure_noise_the_naive_score_is_optimistic_and_the_cross_fitted_one_is_not():
    rng = np.random.default_rng(0)
    fits = [
        cross_fitted(
            rng.random((40, 1, 5, 3)).astype(np.float32),
            np.zeros((40, 1), dtype=bool),
            np.arange(40) % 4,
            levels=LEVELS,
            min_areas=MIN_AREAS,
        )
        for _ in range(60)
    ]
    # Every place is worth 0.5 on new rows; the greatest of 15 means of 40 rows lies some 1.7 x 0.29 / sqrt(40) above.
    assert np.mean([fit.naive for fit in fits]) == pytest.approx(0.58, abs=0.015)
    assert np.mean([fit.score for fit in fits]) == pytest.approx(0.5, abs=0.02)


def test_what_does_not_fit_together_is_refused():
    surface, empty = flat([1] * 5, count=4), np.zeros((4, 1), dtype=bool)
    lattice = {"levels": LEVELS, "min_areas": MIN_AREAS}
    with pytest.raises(OofMismatch, match="2 folds or more"):
        cross_fitted(surface, empty, np.zeros(4, dtype=int), **lattice)
    with pytest.raises(OofMismatch, match="without NaN"):
        select(surface, empty, np.full((4, 1), np.nan), **lattice)
    with pytest.raises(OofMismatch, match="no validated rows"):
        select(surface[:0], empty[:0], **lattice)
    with pytest.raises(ValueError, match="expected a surface"):
        select(surface, empty, levels=LEVELS[:2], min_areas=MIN_AREAS)
    with pytest.raises(ValueError, match="not all on the lattice"):
        score_rows(Selection((26,), (0,), None), surface, empty, **lattice)
    with pytest.raises(OofMismatch, match="has a gate"):
        score_rows(Selection((25,), (0,), (0.5,)), surface, empty, **lattice)


def test_a_fitted_gate_never_learns_from_the_fold_it_is_scored_on():
    """Its probabilities say outright which rows it was shown; those of the scored fold, shown, would be right."""
    rng = np.random.default_rng(5)
    fold = np.repeat([0, 1, -1], [20, 20, 5])
    empty = rng.random((45, 1)) < 0.5
    surface = np.where(empty[..., None, None], 0.0, 0.8).astype(np.float32)
    shown = []

    def knows_what_it_was_shown(rows):
        shown.append(rows.copy())
        return np.where(rows[:, None], np.where(empty, 0.1, 0.9), 0.5)

    result = cross_fitted(
        surface, empty, fold, knows_what_it_was_shown, levels=np.array([127]), min_areas=np.array([0])
    )
    assert sorted((s[fold == 0].any(), s[fold == 1].any()) for s in shown) == [
        (False, True),
        (True, False),
        (True, True),
    ]
    assert not any(s[fold == -1].any() for s in shown)
    covered = fold != -1
    assert result.naive == pytest.approx(np.where(empty[covered], 1.0, 0.8).mean())
    # Unseen, every row gets 0.5: kept or emptied alike, never told apart.
    for f in (0, 1):
        own = empty[fold == f]
        assert result.rows[fold == f].mean() == pytest.approx(0.8 * (~own).mean()) or result.rows[
            fold == f
        ].mean() == pytest.approx(own.mean())
