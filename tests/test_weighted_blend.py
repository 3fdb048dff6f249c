"""Weights of members, by lead time and region, learned from outcomes that are not forecast."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import weighted_blend
from skyfold.forecasting.baselines.weighted_blend import block_map
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames

GRID, LEADS = (8, 12), 2


def outcome(seed: int) -> Hindcast:
    """Two members: the first is right at lead 0 and in the left half of lead 1, the second in the right half of it."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, (*GRID, LEADS)).astype(np.float32)
    wrong = rng.uniform(0, 100, (2, *GRID, LEADS)).astype(np.float32)
    members = np.stack([truth, wrong[1]])
    members[0, :, 6:, 1], members[1, :, 6:, 1] = wrong[0, :, 6:, 1], truth[:, 6:, 1]
    valid = rng.random((*GRID, LEADS)) < 0.9
    return Hindcast(
        PastFrames(np.zeros((3, *GRID), np.float32), np.array([1, 2])), members, np.where(valid, truth, np.nan), valid
    )


@pytest.mark.parametrize("event", [None, "rain", "ice"])
def test_each_region_and_lead_time_goes_by_the_member_that_is_right_there(event):
    fitted = weighted_blend.WeightedBlend(blocks=(1, 2), event=event).fit([outcome(seed) for seed in range(4)])
    expected = np.array([[[1, 0], [1, 0]], [[1, 0], [0, 1]]])
    np.testing.assert_allclose(fitted.weights, expected, atol=1e-3)
    new = outcome(9)
    forecast = fitted.forecast(new.history, new.members)
    assert forecast.dtype == np.float32
    np.testing.assert_allclose(forecast[new.valid], new.truth[new.valid], atol=0.2)


def test_without_regions_a_lead_time_has_one_weight_everywhere():
    fitted = weighted_blend.WeightedBlend().fit([outcome(seed) for seed in range(4)])
    assert fitted.weights.shape == (LEADS, 1, 2)
    assert fitted.weights[0, 0, 0] > 0.99
    assert 0.2 < fitted.weights[1, 0, 0] < 0.8


def test_a_region_without_any_truth_takes_the_mean():
    dark = [outcome(seed) for seed in range(2)]
    for one in dark:
        one.valid[:, 6:] = False
    fitted = weighted_blend.WeightedBlend(blocks=(1, 2)).fit(dark)
    np.testing.assert_array_equal(fitted.weights[:, 1], 0.5)


def test_blocks_are_as_equal_as_can_be():
    found = block_map((5, 7), (2, 3))
    assert [int((found == block).sum()) for block in range(6)] == [9, 6, 6, 6, 4, 4]


def test_missing_members_are_refused():
    nothing = Hindcast(
        PastFrames(np.zeros((1, *GRID)), np.array([1])),
        np.empty((0, *GRID, 1)),
        np.zeros((*GRID, 1)),
        np.ones(GRID, bool),
    )
    with pytest.raises(ConfigError, match="name some in members"):
        weighted_blend.WeightedBlend().fit([nothing])


def test_more_blocks_than_the_grid_has_rows_are_refused():
    with pytest.raises(ConfigError, match=r"blocks: at most 8 x 12, the grid; got \[9, 12\]"):
        weighted_blend.WeightedBlend(blocks=[9, 12]).fit([outcome(0)])


def test_a_mean_stays_within_what_it_is_a_mean_of():
    """A weight of 1 / 3 cannot be written down: of full ice, 250, more than full ice came."""
    shares = np.random.default_rng(0).dirichlet(np.ones(5), size=100)
    full = np.full((5, 10, 10, 1), 250, dtype=np.float32)
    regions = np.arange(100).reshape(10, 10)
    blend = weighted_blend.FittedWeights(shares[None], regions)
    forecast = blend.forecast(PastFrames(np.zeros((3, 10, 10), np.float32), np.array([1])), full)
    np.testing.assert_array_equal(forecast, 250)
