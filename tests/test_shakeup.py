"""Simulated public and private leaderboards beside direct splits, and the final picks that follow."""

import numpy as np
import pytest

from skyfold.metrics.segmentation import GlobalDice, MeanOfMaps
from skyfold.metrics.shakeup import choices, chosen, expected_best, private_given_public, rank_intervals, simulate

IMAGES, ENTRIES, SPLITS = 60, 4, 20_000


@pytest.fixture(scope="module")
def tables():
    """Scores (E, n, 1) of four entries that are good and bad at the same images, two of them nearly alike."""
    rng = np.random.default_rng(7)
    hard = rng.normal(0.6, 0.2, IMAGES)
    own = rng.normal(0, 0.1, (ENTRIES, IMAGES))
    own[3] = own[2] + rng.normal(0, 0.02, IMAGES)
    skill = np.array([0.0, 0.01, 0.02, 0.015])[:, None]
    return (hard + own + skill)[..., None]


def direct_splits(tables, groups, tested, public, rng):
    """Scores (E, SPLITS, 2) of public and private rows that are drawn and concatenated one by one."""
    names = np.unique(groups)
    rows = [np.flatnonzero(groups == name) for name in names]
    found = np.empty((len(tables), SPLITS, 2))
    for split in range(SPLITS):
        drawn = rng.choice(len(names), size=tested)
        for part, chosen_groups in enumerate((drawn[:public], drawn[public:])):
            these = np.concatenate([rows[group] for group in chosen_groups])
            found[:, split, part] = tables[:, these, 0].mean(axis=1)
    return found


@pytest.mark.parametrize("per_group", [1, 3])
def test_simulations_agree_with_direct_splits(tables, per_group):
    groups = np.arange(IMAGES) // per_group
    count = len(np.unique(groups))
    simulated = simulate(
        MeanOfMaps(), tables, public_fraction=0.3, groups=groups, test_rows=40 * per_group, simulations=SPLITS
    )
    public = round(0.3 * round(count * 40 * per_group / IMAGES))
    direct = direct_splits(tables, groups, round(count * 40 * per_group / IMAGES), public, np.random.default_rng(1))
    figures = {
        "best public is best private": (
            simulated.public.argmax(0) == simulated.private.argmax(0),
            direct[..., 0].argmax(0) == direct[..., 1].argmax(0),
        ),
        "loss of the best public": (
            simulated.private.max(0) - np.take_along_axis(simulated.private, simulated.public.argmax(0)[None], 0)[0],
            direct[..., 1].max(0) - np.take_along_axis(direct[..., 1], direct[..., 0].argmax(0)[None], 0)[0],
        ),
    }
    for what, (ours, theirs) in figures.items():
        error = np.sqrt(ours.var() / SPLITS + theirs.var() / SPLITS)
        assert abs(ours.mean() - theirs.mean()) < 3 * error, what


def test_pooled_metrics_are_scored_from_sums():
    counts = np.random.default_rng(3).integers(1, 50, size=(2, 20, 3)).astype(float)
    counts[..., 1:] += counts[..., :1]
    simulated = simulate(GlobalDice(), counts, public_fraction=0.5, simulations=200)
    whole = [GlobalDice().score(table) for table in counts]
    np.testing.assert_allclose(simulated.cv.mean(axis=1), whole, atol=0.02)


def test_more_rows_choose_better(tables):
    few = simulate(MeanOfMaps(), tables, public_fraction=0.1, simulations=4000)
    ways = choices(few, public_weight=6 / (6 + IMAGES))
    assert ways["cross-validation"].loss < ways["public score"].loss
    assert ways["both"].loss <= ways["cross-validation"].loss + 0.0005
    assert (rank_intervals(few.public)[:, 1] - rank_intervals(few.public)[:, 0]).min() >= 2  # ranks hardly known


def test_a_metric_to_be_small_is_turned_round(tables):
    class Error(MeanOfMaps):
        pass

    error = Error("error", greater_is_better=False)
    least = simulate(error, -tables, public_fraction=0.3, simulations=300)
    most = simulate(MeanOfMaps(), tables, public_fraction=0.3, simulations=300)
    np.testing.assert_allclose(least.private, most.private)


def test_a_fraction_without_a_public_row_is_refused(tables):
    with pytest.raises(ValueError, match="0 of 60 test groups would be public"):
        simulate(MeanOfMaps(), tables, public_fraction=0.001)


def test_of_two_picks_the_second_differs_from_the_first():
    mean = np.array([0.70, 0.699, 0.697])
    deviation, correlation = 0.01, np.array([[1, 0.99, 0.2], [0.99, 1, 0.2], [0.2, 0.2, 1]])
    picks, expected = expected_best(mean, deviation**2 * correlation, 2)
    assert picks == (0, 2)
    theta = deviation * np.sqrt(2 - 2 * 0.2)  # Clark (1961): the expected maximum of two normal numbers
    phi = np.exp(-((0.003 / theta) ** 2) / 2) / np.sqrt(2 * np.pi)
    cumulated = 0.5 * (1 + np.tanh(0.7978845608 * (0.003 / theta + 0.044715 * (0.003 / theta) ** 3)))
    assert expected == pytest.approx(0.70 * cumulated + 0.697 * (1 - cumulated) + theta * phi, abs=2e-4)


def test_public_scores_move_the_picks_and_their_level_does_not(tables):
    simulated = simulate(MeanOfMaps(), tables, public_fraction=0.5, known_population=False, simulations=4000)
    before, _ = private_given_public(simulated, np.full(ENTRIES, np.nan))
    seen = simulated.public.mean(axis=1) + np.array([0.03, 0, 0, 0])
    after, covariance = private_given_public(simulated, seen)
    assert after[0] - before[0] > 0.005
    assert np.all(np.diag(covariance) > 0)
    harder, _ = private_given_public(simulated, seen - 0.2)
    np.testing.assert_allclose(harder, after, atol=0.002)


def test_chosen_counts_the_best_of_the_picks():
    private = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 0.5]])
    one, two = (chosen(private, np.array(picks)) for picks in ([[0, 0]], [[0, 0], [2, 2]]))
    assert (one.right, one.loss) == (0.5, 0.5)
    assert (two.right, two.loss) == (0.5, 0.25)
