"""Motion fields find how rain moved, extrapolation advects it further, and radar numbers become mm/h and back."""

import numpy as np
import pytest
from scipy import ndimage

from skyfold.errors import ConfigError
from skyfold.forecasting import motion
from skyfold.forecasting.baselines.persistence import Persistence
from skyfold.forecasting.baselines.rain_extrapolation import RainExtrapolation
from skyfold.forecasting.motion import METHODS, extrapolate, origin
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.rain_units import log_rain, rain_of_codes, rain_of_log, rain_of_raw, raw_of_rain

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
def test_a_steady_wind_is_found_and_rain_advected_by_it_is_nearer_than_persistence(frames: np.ndarray, method: str):
    before = frames.copy()
    motion = METHODS[method](frames)
    assert (motion.shape, motion.dtype) == ((64, 64, 2), np.float32)
    np.testing.assert_allclose(np.median(motion[frames[-1] > 1], axis=0), [2.0, -1.0], atol=0.25)
    np.testing.assert_array_equal(frames, before)
    history, truth = PastFrames(frames, np.array([1, 2])), np.stack([showers(2, -1), showers(4, -2)], axis=-1)
    forecasts = [RainExtrapolation(motions=[method]).forecast(history), Persistence().forecast(history)]
    moved, still = (np.abs(forecast - truth).mean(axis=(0, 1)) for forecast in forecasts)
    assert (moved < 0.3 * still).all()


@pytest.mark.parametrize("method", OPENCV)
def test_dry_frames_stay_dry(method: str) -> None:
    dry = PastFrames(np.zeros((4, 48, 48), np.float32), np.array([1]))
    assert not RainExtrapolation(motions=[method]).forecast(dry).any()


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
    """Bilinear reading by scipy, beyond the edge as at the edge."""
    rng = np.random.default_rng(0)
    frame, motion = rng.random((9, 11), np.float32), rng.normal(0, 2, (9, 11, 2)).astype(np.float32)
    columns, rows = np.moveaxis(origin(motion), -1, 0)
    slow = ndimage.map_coordinates(frame, [rows, columns], order=1, mode="nearest")
    np.testing.assert_allclose(extrapolate(frame, motion), slow, atol=2e-5)


def test_several_motions_are_averaged_or_their_median_taken(frames: np.ndarray) -> None:
    def forecast(motions: tuple[str, ...], **options: str) -> np.ndarray:
        return RainExtrapolation(motions=motions, **options).forecast(PastFrames(frames, np.array([1])))

    names = ("dis_fast", "dis", "farneback")
    single = [forecast((name,)) for name in names]
    np.testing.assert_allclose(forecast(names, combine="mean"), np.mean(single, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(forecast(names, combine="median"), np.median(single, axis=0).astype(np.float32))


def test_a_missing_pysteps_is_named(frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "find_spec", lambda name: None)
    for call in (lambda: METHODS["pysteps"](frames), RainExtrapolation(motions=("dis", "pysteps")).require):
        with pytest.raises(ConfigError, match=r"pip install -e \.\[pysteps\]"):
            call()
    RainExtrapolation().require()


def test_the_wind_is_found_by_pysteps_too(frames: np.ndarray) -> None:
    pytest.importorskip("pysteps", reason="pysteps is not installed: pip install -e .[pysteps]")
    motion = METHODS["pysteps"](frames)
    assert motion.shape == (64, 64, 2)
    np.testing.assert_allclose(np.median(motion[frames[-1] > 1], axis=0), [2.0, -1.0], atol=0.5)


def test_rain_survives_the_way_to_the_file_and_back():
    rain = np.concatenate([[0.0], np.geomspace(0.04, 300, 500)]).astype(np.float32)
    back = rain_of_raw(raw_of_rain(rain))
    np.testing.assert_allclose(back, rain, rtol=3e-4)
    assert back[0] == 0.0
    thresholds = np.array([0.1, 1.0, 5.0], dtype=np.float32)
    assert (rain_of_raw(raw_of_rain(thresholds)) >= thresholds).all()


def test_codes_worked_by_hand():
    """Half-way from code 1 to 254, code 127.5, would be 0.05 * sqrt(4000) = 3.16: 127 and 128 lie around it."""
    rain = rain_of_codes(np.array([[127, 128]], dtype=np.uint8))
    assert rain.shape == (1, 2)
    assert rain[0, 0] < 0.05 * np.sqrt(4000) < rain[0, 1]


def test_the_logarithmic_scale_has_its_zero_at_no_rain_and_is_undone():
    """log(1 + 0.1 / 0.1) = log 2. The scale log(x + 0.01) would give -4.6 for no rain, and a model with outputs below 0
    would say exp(-4.6) - 0.01 = 0 everywhere."""
    rain = np.array([0.0, 0.1, 200.0], dtype=np.float32)
    logs = log_rain(rain)
    assert logs[0] == 0.0
    assert logs[1] == pytest.approx(np.log(2))
    assert logs.dtype == np.float32
    np.testing.assert_allclose(rain_of_log(logs), rain, rtol=1e-5)
    assert rain_of_log(np.array([-3.0])).tolist() == [0.0]
    assert (np.diff(log_rain(np.geomspace(1e-6, 500, 99))) > 0).all()
