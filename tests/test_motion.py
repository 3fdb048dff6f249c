"""Fields of motion find how rain was moved, and extrapolation carries it on, backwards in time and with the field."""

import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import persistence, rain_extrapolation
from skyfold.forecasting.motion import pysteps_field
from skyfold.forecasting.motion.fields import METHODS
from skyfold.forecasting.motion.semi_lagrangian import extrapolate, origin
from skyfold.forecasting.past_frames import PastFrames

OPENCV = ["phase_correlation", "dis", "dis_fast", "dis_fine", "farneback"]


def showers(column: float, row: float, side: int = 64) -> np.ndarray:
    """Five showers that keep their places to each other, moved as a whole; float32 (side, side) mm/h."""
    rows, columns = np.mgrid[0:side, 0:side]
    rain = np.zeros((side, side))
    for x, y, width, peak in ((10, 12, 4, 8), (40, 18, 6, 3), (24, 36, 5, 20), (48, 46, 4, 6), (14, 52, 6, 2)):
        rain += peak * np.exp(-((columns - x - column) ** 2 + (rows - y - row) ** 2) / (2 * width**2))
    return rain.astype(np.float32)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Four frames: 2 columns to the right and 1 row up in each interval."""
    return np.stack([showers(2.0 * t, -1.0 * t) for t in range(-3, 1)])


@pytest.mark.parametrize("method", OPENCV)
def test_a_steady_wind_is_found(frames: np.ndarray, method: str) -> None:
    before = frames.copy()
    motion = METHODS[method](frames)
    assert motion.shape == (64, 64, 2)
    assert motion.dtype == np.float32
    in_rain = motion[frames[-1] > 1]
    np.testing.assert_allclose(np.median(in_rain, axis=0), [2.0, -1.0], atol=0.25)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("method", OPENCV)
def test_carried_rain_is_nearer_than_rain_left_in_its_place(frames: np.ndarray, method: str) -> None:
    history, truth = PastFrames(frames, np.array([1, 2])), np.stack([showers(2, -1), showers(4, -2)], axis=-1)
    forecast = rain_extrapolation.RainExtrapolation(motions=[method]).forecast(history)
    assert forecast.shape == (64, 64, 2)
    error = np.abs(forecast - truth).mean(axis=(0, 1))
    assert (error < 0.3 * np.abs(persistence.Persistence().forecast(history) - truth).mean(axis=(0, 1))).all()


def test_no_motion_is_persistence(frames: np.ndarray) -> None:
    history = PastFrames(frames, np.array([1]))
    np.testing.assert_array_equal(
        rain_extrapolation.RainExtrapolation(motions=["none"]).forecast(history),
        persistence.Persistence().forecast(history),
    )


@pytest.mark.parametrize("method", OPENCV)
def test_dry_frames_stay_dry(method: str) -> None:
    forecast = rain_extrapolation.RainExtrapolation(motions=[method]).forecast(
        PastFrames(np.zeros((4, 48, 48), np.float32), np.array([1]))
    )
    assert not forecast.any()


def test_a_whole_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    """One column to the right: [1 2 3] becomes [1 1 2], what flows in being the nearest known."""
    frame = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    right = np.tile(np.array([1.0, 0.0], np.float32), (2, 3, 1))
    assert extrapolate(frame, right).tolist() == [[1, 1, 2], [4, 4, 5]]
    assert extrapolate(frame, right, steps=2).tolist() == [[1, 1, 1], [4, 4, 4]]
    assert extrapolate(frame, 0.5 * right)[0].tolist() == [1.0, 1.5, 2.5]  # half-way: the mean of both
    assert frame.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_rain_turns_with_a_turning_field() -> None:
    """About the middle of 65 pixels by 0.2 radians an interval: the way back along the arc ends on the same circle,
    while a straight step from where the rain arrives would lead out of it, to radius 20 sqrt(1.04) = 20.4."""
    rows, columns = np.mgrid[0:65, 0:65].astype(np.float32) - 32
    turning = 0.2 * np.stack([-rows, columns], axis=-1)
    back = origin(turning)
    radius = np.hypot(*(back[32, 52] - 32))
    assert abs(radius - 20) < 0.02
    straight = np.hypot(*(np.array([52, 32]) - turning[32, 52] - 32))
    assert straight == pytest.approx(20.4, abs=0.01)


def test_fast_path_equals_the_slow_one() -> None:
    """Bilinear reading written out, pixel by pixel."""
    rng = np.random.default_rng(0)
    frame, motion = rng.random((9, 11), np.float32), rng.normal(0, 2, (9, 11, 2)).astype(np.float32)
    places = origin(motion)
    slow = np.empty_like(frame)
    for row in range(9):
        for column in range(11):
            x, y = places[row, column]
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            value = 0.0
            for corner_y, corner_x in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
                weight = (1 - abs(x - corner_x)) * (1 - abs(y - corner_y))
                value += weight * frame[min(max(corner_y, 0), 8), min(max(corner_x, 0), 10)]
            slow[row, column] = value
    np.testing.assert_allclose(extrapolate(frame, motion), slow, atol=2e-5)


def test_several_motions_are_averaged_or_their_median_taken(frames: np.ndarray) -> None:
    history = PastFrames(frames, np.array([1]))
    single = [
        rain_extrapolation.RainExtrapolation(motions=[name]).forecast(history) for name in ("none", "dis", "farneback")
    ]
    together = {
        combine: rain_extrapolation.RainExtrapolation(motions=["none", "dis", "farneback"], combine=combine).forecast(
            history
        )
        for combine in ("mean", "median")
    }
    np.testing.assert_allclose(together["mean"], np.mean(single, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(together["median"], np.median(single, axis=0).astype(np.float32))


def test_a_missing_pysteps_is_named(frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysteps_field, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e \.\[pysteps\]"):
        METHODS["pysteps"](frames)
    with pytest.raises(ConfigError, match=r"pip install -e \.\[pysteps\]"):
        rain_extrapolation.RainExtrapolation(motions=("dis", "pysteps")).require()
    rain_extrapolation.RainExtrapolation().require()


def test_the_wind_is_found_by_pysteps_too(frames: np.ndarray) -> None:
    pytest.importorskip("pysteps", reason="pysteps is not installed: pip install -e .[pysteps]")
    motion = METHODS["pysteps"](frames)
    assert motion.shape == (64, 64, 2)
    np.testing.assert_allclose(np.median(motion[frames[-1] > 1], axis=0), [2.0, -1.0], atol=0.5)
