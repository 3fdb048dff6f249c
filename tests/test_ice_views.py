"""How networks see sea ice: values worked by hand, nothing of later frames, and the truth comes back as itself."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.errors import DataLayoutError
from skyfold.forecasting.frame_adapters import FrameAdapter, anomalies, recent_frames
from skyfold.forecasting.frame_adapters._ice_adapter import averaged, enlarged
from skyfold.forecasting.past_frames import PastFrames

AHEAD = np.array([1, 2])


def season(shape: tuple[int, int], years: int = 8, seed: int = 0) -> np.ndarray:
    """uint8 (12 years, H, W): values from 0 to 250, some cells without ice, some always full."""
    frames = np.random.default_rng(seed).integers(0, 251, (12 * years, *shape), dtype=np.uint8)
    frames[:, :6, :6] = 0
    frames[:, -6:, -6:] = 250
    return frames


def test_what_earlier_years_say_of_one_cell() -> None:
    """Two seasons a year, six years; the wanted frame is of the first season: 0 50 100 50 100 150 so far."""
    frames = np.array([0, 0, 50, 50, 100, 100, 50, 150, 100, 200, 150, 250], np.uint8).reshape(-1, 1, 1)
    said = anomalies.Anomalies().inputs(PastFrames(frames, np.array([1]), 2))[0, 0]
    assert said.dtype == np.float32
    expected = {
        "base": 90 / 250,  # the mean of 150 100 50 100 50
        "year_1": 0.6,
        "year_2": 0.1,
        "year_3": -0.4,
        "mean_10": -0.15,  # of all six: 75
        "mean_long": -0.15,
        "median_5": 0.1,
        "min_5": -0.4,
        "max_5": 0.6,
        "trend_10": 0.7,  # 75 + 3.5 years x 425 / 17.5 = 160
        "trend_long": 0.7,
        # The season before: 200 150 100 50 0 in the years of 150 100 50 100 50. Slope 10000 / (25000 + 2500), and the
        # newest, 250, departs by 150 from their mean.
        "damped": 1.5 * 10000 / 27500,
        "season_anomaly": (125 + 90 + 150) / 300,  # 200 from 75, 150 from 60, 250 from 100
        "spread": np.sqrt(13750 / 6) / 100,
        "ice_fraction": 5 / 6,
        "open": 1,
        "last_anomaly": 1.5,
        "month_before_anomaly": 0.9,
        "three_before_anomaly": 0.5,  # 100 from the mean of 50 100 50 0
        "ever_ice": 1,
    }
    assert list(expected) == [*anomalies.BY_LEAD, *anomalies.FOR_ALL]
    np.testing.assert_allclose(said, list(expected.values()), atol=1e-6)


def test_maps_stand_lead_by_lead_and_cells_without_ice_say_nothing() -> None:
    history = PastFrames(season((14, 15)), AHEAD, 12)
    said = anomalies.Anomalies().inputs(history)
    count = len(anomalies.BY_LEAD)
    assert said.shape == (14, 15, 2 * count + len(anomalies.FOR_ALL))
    for lead in range(2):
        np.testing.assert_allclose(250 * said[..., lead * count], history.same_season(lead, 5).mean(axis=0), atol=1e-4)
    assert (said[:6, :6] == 0).all()
    assert (said[-3:, -3:, count - 1] == 0).all(), "full ice all around is settled"
    assert (said[7, 7, [count - 1, 2 * count - 1]] == 1).all()


def test_one_year_is_enough() -> None:
    said = anomalies.Anomalies(reduce=2).inputs(PastFrames(season((8, 8), years=1), AHEAD, 12))
    assert np.isfinite(said).all()
    names = [*anomalies.BY_LEAD] * 2
    departs = [k for k, name in enumerate(names) if name.startswith(("year", "mean", "trend", "damped", "spread"))]
    assert (said[..., departs] == 0).all()


@pytest.mark.parametrize(
    "view",
    [
        *(anomalies.Anomalies(reduce=reduce) for reduce in (1, 3)),
        recent_frames.RecentFrames(years=2),
        recent_frames.RecentFrames(years=9, reduce=2, decodes=True),
    ],
)
def test_frames_after_the_date_change_nothing(view: FrameAdapter) -> None:
    frames, last = season((14, 15)), 70
    later = np.concatenate([frames[: last + 1], season((14, 15), seed=9)[last + 1 :]])
    truth, valid = np.full((14, 15, 2), 80, np.float32), np.ones((14, 15, 2), bool)
    seen = []
    for known in (frames, later):
        history = PastFrames(known, AHEAD, 12).until(last)
        output = np.full_like(view.target(history, truth, valid)[..., :2], 0.3)
        seen.append((view.inputs(history), view.target(history, truth, valid), view.forecast(output, history)))
    for first, second in zip(*seen, strict=True):
        assert first.tobytes() == second.tobytes()


TRUTH = np.random.default_rng(1).integers(0, 251, (14, 15, 2)).astype(np.float32)
VALID = np.random.default_rng(2).random((14, 15, 2)) < 0.7


def test_a_network_that_gives_the_target_forecasts_the_truth_where_cells_count() -> None:
    history, adapter = PastFrames(season((14, 15)), AHEAD, 12), anomalies.Anomalies()
    target = adapter.target(history, TRUTH, VALID)
    assert target.dtype == np.float32
    counts = target[..., 2:] == 1
    assert 0.2 < counts.mean() < 0.7
    forecast = adapter.forecast(target[..., :2], history)
    np.testing.assert_allclose(forecast[counts], TRUTH[counts], atol=1e-3)
    five = np.median(history.same_season(0, 5), axis=0)
    for settled in (np.s_[:3, :3], np.s_[-3:, -3:]):  # no ice, full ice
        np.testing.assert_array_equal(forecast[..., 0][settled], five[settled])
    np.testing.assert_array_equal(adapter.target(history, np.where(VALID, TRUTH, 7777), VALID), target)


def test_dates_with_few_years_before_them_are_not_trained_on() -> None:
    """The targets are frame 35, with two years before it, and frame 36, with three."""
    history = PastFrames(season((14, 15), years=3)[:25], np.array([11, 12]), 12)
    truth, valid = np.full((14, 15, 2), 80, np.float32), np.ones((14, 15, 2), bool)
    two, three = (anomalies.Anomalies(least_years=years).target(history, truth, valid) for years in (2, 3))
    assert (two[..., 2] == two[..., 3]).all()
    assert two[..., 2].any()
    assert not three[..., 2].any(), "two years before frame 35"
    np.testing.assert_array_equal(three[..., 3], two[..., 3])


def test_reduced_a_correction_goes_to_all_its_cells() -> None:
    history = PastFrames(season((13, 15)), AHEAD, 12)
    view = anomalies.Anomalies(reduce=2)
    base = anomalies.Anomalies().inputs(history)[..., :: len(anomalies.BY_LEAD)][..., :2].astype(np.float64) * 250
    truth = np.minimum(base + 10, 250).astype(np.float32)
    target = view.target(history, truth, np.ones(truth.shape, bool))
    assert (target.shape, view.inputs(history).shape[:2]) == ((7, 8, 4), (7, 8))
    forecast = view.forecast(target[..., :2], history)
    uncut = averaged(truth - base, 2) > 9.99  # nowhere up to 250 alone
    whole = (uncut & (target[..., 2:] == 1)).repeat(2, axis=0).repeat(2, axis=1)[:13, :15]
    assert whole.mean() > 0.3
    np.testing.assert_allclose(forecast[whole], truth[whole], atol=1e-3)


def test_recent_frames_are_fractions_of_full_ice_oldest_first() -> None:
    """Three frames a year; the frame before the first is that of its season in the first year: 7 is frame -1."""
    frames = np.array([5, 6, 7, 8, 50, 250, 0], np.uint8).reshape(-1, 1, 1)
    seen = recent_frames.RecentFrames(years=3).inputs(PastFrames(frames, np.array([1]), 3))[0, 0]
    np.testing.assert_allclose(250 * seen, [6, 7, 5, 6, 7, 8, 50, 250, 0], rtol=1e-6)
    assert seen.dtype == np.float32


def test_a_network_of_frames_that_gives_the_target_forecasts_the_truth_or_decodes_the_last_ones() -> None:
    history, adapter = PastFrames(season((14, 15)), AHEAD, 12), recent_frames.RecentFrames()
    target = adapter.target(history, TRUTH, VALID)
    np.testing.assert_array_equal(target[..., 2:], VALID)
    np.testing.assert_allclose(adapter.forecast(target[..., :2], history)[VALID], TRUTH[VALID], atol=1e-4)
    coarse = recent_frames.RecentFrames(reduce=2)
    target = coarse.target(history, TRUTH, VALID)
    assert target.shape == (7, 8, 4)
    first = TRUTH[:2, :2, 0][VALID[:2, :2, 0]]
    np.testing.assert_allclose(target[0, 0, [0, 2]], [first.mean() / 250, len(first) / 4], rtol=1e-6)
    assert coarse.forecast(target[..., :2], history).shape == (14, 15, 2)
    np.testing.assert_array_equal(coarse.target(history, np.where(VALID, TRUTH, 255), VALID), target)
    last = recent_frames.RecentFrames(years=1, decodes=True)
    target = last.target(history, np.zeros_like(TRUTH), np.zeros_like(VALID))
    np.testing.assert_allclose(last.forecast(target[..., :2], history)[..., 1], history.frames[-1], atol=1e-4)
    np.testing.assert_array_equal(last.inputs(history)[..., -2:], target[..., :2])
    assert (target[..., 2:] == 1).all()


def test_means_of_cells_and_back() -> None:
    maps = np.arange(6, dtype=np.float32).reshape(2, 3, 1)  # 0 1 2 over 3 4 5; the column of 2 and 5 stands twice
    np.testing.assert_array_equal(averaged(maps, 2)[..., 0], [[2, 3.5]])
    np.testing.assert_array_equal(enlarged(averaged(maps, 2), 2, (2, 3))[..., 0], [[2, 2, 3.5], [2, 2, 3.5]])


@pytest.mark.parametrize(
    ("adapter", "known", "period", "named"),
    [
        (recent_frames.RecentFrames(), 96, None, "these frames have no season"),
        (recent_frames.RecentFrames(), 11, 12, "whole years of 12 frames, and 11 are known"),
        (anomalies.Anomalies(), 96, None, "these frames have no season"),
    ],
)
def test_frames_without_seasons_or_a_whole_year_are_refused(adapter, known, period, named) -> None:
    with pytest.raises(DataLayoutError, match=named):
        adapter.inputs(PastFrames(season((8, 8))[:known], AHEAD, period))
