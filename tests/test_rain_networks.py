"""Networks of rain: TrajGRU follows the paper's equations, worked out slowly; the U-Net begins as the extrapolation."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.models import rain_unet, trajgru
from skyfold.motion.semi_lagrangian import carried
from skyfold.training import backend

TINY = {"filters": [3, 4], "links": [2, 1], "motion_filters": 4}


@pytest.fixture(autouse=True)
def _started() -> None:
    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    backend.seed(0)


def slowly_warped(maps: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Equation (2) of the paper: a sum over all pixels, weighted by max(0, 1 - distance) down and across."""
    batch, height, width, _ = maps.shape
    warped = np.zeros_like(maps)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                across, down = motion[b, i, j]
                for m in range(height):
                    for n in range(width):
                        weight = max(0.0, 1 - abs(i + down - m)) * max(0.0, 1 - abs(j + across - n))
                        warped[b, i, j] += weight * maps[b, m, n]
    return warped


def convolved(layer: keras.layers.Conv2D, x: np.ndarray) -> np.ndarray:
    """A convolution with zeros around, one kernel place at a time."""
    kernel = layer.kernel.numpy()
    rows, columns = kernel.shape[:2]
    wide = np.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    out = sum(
        wide[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j] for i in range(rows) for j in range(columns)
    )
    return out + (layer.bias.numpy() if layer.use_bias else 0)


def slow_step(layer: trajgru.TrajGRU, frame: np.ndarray | None, state: np.ndarray) -> np.ndarray:
    """Equation (3) of the paper, in NumPy."""

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.2 * x)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    about = convolved(layer.motion_of_state, state)
    if frame is not None:
        about = about + convolved(layer.motion_of_frame, frame)
    motion = convolved(layer.motion, leaky(about))
    of_state = np.zeros((*state.shape[:3], 3 * layer.units)) + layer.of_warped.bias.numpy()
    kernel = layer.of_warped.kernel.numpy()[0, 0]
    for link in range(layer.links):
        own = kernel[link * layer.units : (link + 1) * layer.units]
        of_state += slowly_warped(state, motion[..., 2 * link : 2 * link + 2]) @ own
    of_frame = np.zeros_like(of_state) if frame is None else convolved(layer.of_frame, frame)
    z, r, h = np.split(of_state, 3, axis=-1)
    frame_z, frame_r, frame_h = np.split(of_frame, 3, axis=-1)
    update, reset = sigmoid(frame_z + z), sigmoid(frame_r + r)
    return (1 - update) * leaky(frame_h + reset * h) + update * state


def test_a_map_is_read_where_its_motion_says_and_is_0_outside() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    motion = rng.normal(0, 3, (2, 6, 5, 2)).astype(np.float32)
    motion[0, 0, 0], motion[1, 3, 3] = [100, 0], [0, -0.5]
    warped = np.asarray(trajgru.warp(maps, motion))
    np.testing.assert_allclose(warped, slowly_warped(maps, motion), atol=1e-5)
    np.testing.assert_allclose(np.asarray(trajgru.warp(maps, np.zeros_like(motion))), maps)


def test_warping_is_that_of_map_coordinates() -> None:
    rng = np.random.default_rng(1)
    maps, motion = rng.normal(size=(1, 7, 8, 1)), rng.normal(0, 2, (1, 7, 8, 2))
    maps, motion = maps.astype(np.float32), motion.astype(np.float32)
    rows, columns = np.mgrid[0:7, 0:8].astype(np.float32)
    places = np.stack([rows + motion[0, ..., 1], columns + motion[0, ..., 0]])
    inside = (places[0] >= 0) & (places[0] <= 6) & (places[1] >= 0) & (places[1] <= 7)
    peer = np.asarray(keras.ops.image.map_coordinates(maps[0, ..., 0], places, order=1))
    np.testing.assert_allclose(np.asarray(trajgru.warp(maps, motion))[0, ..., 0][inside], peer[inside], atol=1e-5)


@pytest.mark.parametrize("reads", [True, False])
def test_a_layer_keeps_the_papers_equations(reads: bool) -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(2, 3, 6, 5, 2)).astype(np.float32) if reads else None
    state = rng.normal(size=(2, 6, 5, 4)).astype(np.float32)
    layer = trajgru.TrajGRU(4, 3, steps=None if reads else 3, motion_filters=5)
    states = np.asarray(layer(frames, initial_state=state))
    layer.motion.kernel.assign(8 * layer.motion.kernel.numpy())  # far enough to leave the map
    states = np.asarray(layer(frames, initial_state=state))
    for step in range(3):
        state = slow_step(layer, None if frames is None else frames[:, step], state)
        np.testing.assert_allclose(states[:, step], state, atol=2e-4)


@pytest.mark.parametrize(("shape", "leads"), [((4, 24, 24, 1), 1), ((2, 21, 30, 2), 3)])
def test_trajgru_forecasts_frames_of_any_size(shape: tuple[int, int, int, int], leads: int) -> None:
    model = trajgru.build(input_shape=shape, classes=leads, **TINY)
    frames = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    forecast = np.asarray(model(frames))
    assert forecast.shape == (2, *shape[1:3], leads)
    assert forecast.dtype == np.float32
    assert np.isfinite(forecast).all()
    one = np.asarray(model(frames[1:]))
    np.testing.assert_allclose(one[0], forecast[1], atol=1e-5)  # samples know nothing of each other


def test_trajgru_learns_and_comes_back_from_its_weights(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((4, 4, 16, 16, 1), dtype=np.float32)
    target = np.roll(frames[:, -1], 1, axis=2)
    model = trajgru.build(input_shape=(4, 16, 16, 1), **TINY)
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mae")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where a weight has no gradient, Keras warns
        losses = model.fit(frames, target, epochs=12, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    model.save_weights(tmp_path / "a.weights.h5")
    backend.seed(1)
    again = trajgru.build(input_shape=(4, 16, 16, 1), **TINY)
    assert not np.array_equal(again(frames), model(frames))
    again.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(again(frames), model(frames))


@pytest.mark.parametrize("shape", [(24, 24, 4), (21, 30, 3)])
def test_the_unet_begins_as_the_extrapolation(shape: tuple[int, int, int]) -> None:
    model = rain_unet.build(input_shape=shape, classes=2, filters=[4, 6, 8])
    frames = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    forecast = np.asarray(model(frames))
    np.testing.assert_array_equal(forecast, np.repeat(frames[..., -1:], 2, axis=-1))


def test_the_unet_learns_how_rain_fades() -> None:
    """Truth: 0.7 of the carried frame; the correction that was 0 becomes -0.3 of it."""
    frames = np.random.default_rng(0).random((8, 16, 16, 4), dtype=np.float32)
    model = rain_unet.build(input_shape=(16, 16, 4), filters=[8, 8])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mae")
    losses = model.fit(frames, 0.7 * frames[..., -1:], epochs=15, shuffle=False, verbose=0).history["loss"]
    assert losses[0] > 2 * losses[-1]


def test_frames_are_carried_to_one_time() -> None:
    """Rain that moves by (2, -1): carried on, all four frames show it where the next one will, away from the edge."""
    rows, columns = np.mgrid[0:32, 0:32]
    frames = np.stack(
        [np.exp(-((columns - 14 - 2 * t) ** 2 + (rows - 18 + t) ** 2) / 18) for t in range(-3, 2)]
    ).astype(np.float32)
    motion = np.tile(np.array([2.0, -1.0], np.float32), (32, 32, 1))
    moved = carried(frames[:-1], motion)
    assert moved.shape == (4, 32, 32)
    for frame in moved:
        np.testing.assert_allclose(frame[8:24, 8:24], frames[-1, 8:24, 8:24], atol=1e-6)


def test_wrong_options_are_refused() -> None:
    trajgru.check(TINY)
    rain_unet.check({"filters": [8, 16]})
    for family, options, said in (
        (trajgru, {"link": [3]}, r"no option 'link' \(did you mean 'links'"),
        (trajgru, {"filters": [3, 4, 5], "links": [1]}, "links: 1 of them for 3 levels"),
        (trajgru, {"filters": [0]}, "filters: expected positive whole numbers"),
        (trajgru, {"motion_filters": 0}, "motion_filters: expected positive whole numbers"),
        (rain_unet, {"filters": [8]}, "two or more counts"),
        (rain_unet, {"depth": 3}, "no option 'depth'"),
    ):
        with pytest.raises(ConfigError, match=said):
            family.check(options)  # type: ignore[attr-defined]


def test_a_single_image_is_no_sequence() -> None:
    with pytest.raises(ConfigError, match=r"trajgru reads sequences of frames .* not images \(16, 16, 3\)"):
        trajgru.build(input_shape=(16, 16, 3))
