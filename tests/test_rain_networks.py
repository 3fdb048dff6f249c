"""Networks of rain: any size, frames and lead times; recurrent layers beside slow twins; each learns to carry rain."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from conftest import losses_of_steps
from skyfold import plugins
from skyfold.forecasting.motion import advected
from skyfold.models import _frames
from skyfold.models._recurrent import ConvLSTM, TrajGRU, warp
from skyfold.training import backend
from skyfold.training.losses.forecasting import FORECAST_LOSSES
from skyfold.training.losses.named import make_loss

pytestmark = pytest.mark.usefixtures("float32_backend")

SMALL: dict[str, dict[str, Any]] = {
    "rain_unet": {"filters": [6, 8]},
    "convlstm": {"filters": [6, 8]},
    "trajgru": {"filters": [6, 8]},
    "rainnet": {"width": 4},
    "simvp": {"spatial_filters": 4, "spatial_layers": 3, "temporal_filters": 8, "temporal_blocks": 2},
}
LEARNING: dict[str, dict[str, Any]] = {
    "rainnet": {"dropout": 0.0},
    "convlstm": {"filters": [8]},
    "trajgru": {"filters": [8]},
    "simvp": {"spatial_layers": 2, "spatial_filters": 8, "temporal_blocks": 1},
}


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


def slow_step(layer: TrajGRU, frame: np.ndarray | None, state: np.ndarray) -> np.ndarray:
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
    motion = rng.normal(0, 3, (2, 6, 5, 4, 2)).astype(np.float32)
    motion[0, 0, 0, 0], motion[1, 3, 3, 2] = [100, 0], [0, -0.5]
    warped = np.asarray(warp(maps, motion))
    for link in range(4):
        np.testing.assert_allclose(warped[..., link, :], slowly_warped(maps, motion[..., link, :]), atol=1e-5)
    np.testing.assert_allclose(np.asarray(warp(maps, np.zeros_like(motion)))[..., 3, :], maps)


def test_warping_is_that_of_map_coordinates() -> None:
    rng = np.random.default_rng(1)
    maps, motion = rng.normal(size=(1, 7, 8, 1)), rng.normal(0, 2, (1, 7, 8, 2))
    maps, motion = maps.astype(np.float32), motion.astype(np.float32)
    rows, columns = np.mgrid[0:7, 0:8].astype(np.float32)
    places = np.stack([rows + motion[0, ..., 1], columns + motion[0, ..., 0]])
    inside = (places[0] >= 0) & (places[0] <= 6) & (places[1] >= 0) & (places[1] <= 7)
    peer = np.asarray(keras.ops.image.map_coordinates(maps[0, ..., 0], places, order=1))
    np.testing.assert_allclose(
        np.asarray(warp(maps, motion[..., np.newaxis, :]))[0, ..., 0, 0][inside], peer[inside], atol=1e-5
    )


@pytest.mark.parametrize("reads", [True, False])
def test_a_layer_keeps_the_papers_equations(reads: bool) -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(2, 3, 6, 5, 2)).astype(np.float32) if reads else None
    state = rng.normal(size=(2, 6, 5, 4)).astype(np.float32)
    layer = TrajGRU(4, 3, steps=None if reads else 3, motion_filters=5)
    layer(frames, initial_state=[state])
    layer.motion.kernel.assign(8 * layer.motion.kernel.numpy())  # far enough to leave the map
    states, last = layer(frames, initial_state=[state])
    np.testing.assert_array_equal(last[0], states[:, -1])
    for step in range(3):
        state = slow_step(layer, None if frames is None else frames[:, step], state)
        np.testing.assert_allclose(np.asarray(states)[:, step], state, atol=2e-4)


def test_a_convlstm_is_that_of_keras() -> None:
    rng = np.random.default_rng(4)
    frames, output, cell = (
        rng.normal(size=(2, *shape)).astype(np.float32) for shape in ((3, 6, 5, 2), *[(6, 5, 4)] * 2)
    )
    layer = ConvLSTM(4, kernel=5)
    layer(frames, initial_state=[output, cell])
    layer.of_output.bias.assign(rng.normal(size=16))
    outputs, last = layer(frames, initial_state=[output, cell])
    peer = keras.layers.ConvLSTM2D(4, 5, padding="same", return_sequences=True, return_state=True)
    peer.build(frames.shape)
    assert layer.of_frame is not None
    of_frame, of_output = layer.of_frame.kernel.numpy(), layer.of_output.kernel.numpy()
    bias = layer.of_output.bias.numpy() + np.repeat([1, 0, 0, 0], 4)  # ours adds 1 to the first gate, which keeps
    order = [1, 0, 3, 2]  # ours: keep, write, say, new; theirs: write, keep, new, say

    def ordered(weights: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(weights, 4, axis=-1)[part] for part in order], axis=-1)

    peer.set_weights([ordered(of_frame), ordered(of_output), ordered(bias)])
    theirs = peer(frames, initial_state=[output, cell])
    for own, other in zip((outputs, *last), theirs, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_a_convlstm_goes_on_without_frames_as_if_they_were_0() -> None:
    rng = np.random.default_rng(5)
    state = [rng.normal(size=(2, 6, 5, 3)).astype(np.float32) for _ in range(2)]
    alone, reading = ConvLSTM(3, steps=2), ConvLSTM(3)
    nothing = np.zeros((2, 2, 6, 5, 1), np.float32)
    reading(nothing, initial_state=state)
    outputs, last = alone(None, initial_state=state)
    reading.of_output.set_weights(alone.of_output.get_weights())
    others, other_last = reading(nothing, initial_state=state)
    np.testing.assert_allclose(outputs, others, atol=1e-6)
    np.testing.assert_allclose(last[1], other_last[1], atol=1e-6)


def test_frames_stand_beside_each_other_oldest_first() -> None:
    image = np.array([10, 11, 20, 21, 30, 31], np.float32).reshape(1, 1, 1, 6)  # tens: the frame; ones: the band
    frames = _frames.apart(image, 2)
    assert np.asarray(frames)[0, :, 0, 0].tolist() == [[10, 11], [20, 21], [30, 31]]
    image = np.random.default_rng(0).random((2, 3, 4, 6), dtype=np.float32)
    np.testing.assert_array_equal(_frames.beside(_frames.apart(image, 2)), image)
    model = _frames.correcting_model((3, 4, 6), lambda x: keras.ops.ones_like(x[..., :3]), multiple=1, name="one")
    np.testing.assert_array_equal(model(image), np.repeat(image[..., 5:], 3, axis=-1) + 1)


def built(name: str, shape: tuple[int, int, int], leads: int = 1, *, corrects: bool = False, **options: Any) -> Any:
    """corrects: with a last layer that is not 0, as it is before training."""
    model = plugins.load("models", name).PLUGIN(**{**SMALL[name], **options}).build(input_shape=shape, classes=leads)
    if corrects:
        last = model.get_layer("correction" if name == "rain_unet" else "rain")
        last.set_weights([np.random.default_rng(3).normal(size=weight.shape) for weight in last.get_weights()])
    return model


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "leads"), [((41, 50, 3), 3), ((120, 120, 4), 1)])
def test_forecasts_of_any_size_begin_as_the_last_frame(name: str, shape: tuple[int, int, int], leads: int) -> None:
    model = built(name, shape, leads)
    frames = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    forecast = np.asarray(model(frames))
    assert forecast.dtype == np.float32
    np.testing.assert_array_equal(forecast, np.repeat(frames[..., -1:], leads, axis=-1))


@pytest.mark.parametrize("name", SMALL)
def test_every_frame_is_read_and_samples_know_nothing_of_each_other(name: str) -> None:
    shape = (13, 18, 4)
    model = built(name, shape, 3, corrects=True)
    frames = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    forecast = np.asarray(model(frames))
    assert forecast.shape == (3, 13, 18, 3)
    assert len({lead.tobytes() for lead in np.moveaxis(forecast, -1, 0)}) == 3
    np.testing.assert_allclose(np.asarray(model(frames[1:2]))[0], forecast[1], atol=1e-5)
    for channel in range(4):
        changed = frames.copy()
        changed[1, ..., channel] += 1
        others = np.asarray(model(changed))
        assert not np.allclose(others[1], forecast[1], atol=1e-6)
        np.testing.assert_allclose(others[[0, 2]], forecast[[0, 2]], atol=1e-6)


def moving_rain(seed: int, count: int = 8, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Three frames (count, side, side, 3) of showers that move right by a pixel a frame; the fourth with weights."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side]
    frames = np.zeros((count, side, side, 4), np.float32)
    for sample in frames:
        for row, column, size in rng.uniform((0, -4, 1), (side, side, 2), (12, 3)):
            for step in range(4):
                sample[..., step] += np.exp(-((rows - row) ** 2 + (columns - column - step) ** 2) / (2 * size**2))
    return frames[..., :3], np.stack([frames[..., 3], np.ones_like(frames[..., 3])], axis=-1)


@pytest.mark.parametrize("name", SMALL)
def test_rain_that_moves_is_carried_on_and_what_was_learned_comes_back(name: str, tmp_path: Path) -> None:
    """Learned from 8 samples; on others the error is well below that of leaving the last frame where it is."""
    model = built(name, (16, 16, 3), **LEARNING.get(name, {}))
    loss = make_loss(FORECAST_LOSSES, "mae", {}, task="forecasting")
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    unseen, truth = moving_rain(1)
    persistence = float(loss(truth, unseen[..., -1:]))
    frames, target = moving_rain(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where a weight has no gradient, Keras warns
        losses_of_steps(model, frames, target, count=40)
    said = np.asarray(model(unseen))
    assert float(loss(truth, said)) < 0.7 * persistence
    model.save_weights(tmp_path / "a.weights.h5")
    again = built(name, (16, 16, 3), **LEARNING.get(name, {}))
    again.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(again(unseen), said)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_gives_finite_float32(name: str) -> None:
    backend.prepare(precision="bfloat16")
    model = built(name, (24, 21, 2), 2, corrects=True)
    kinds = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert kinds == {"bfloat16", "float32"}
    forecast = np.asarray(model(np.random.default_rng(0).random((2, 24, 21, 2), dtype=np.float32)))
    assert forecast.dtype == np.float32
    assert np.isfinite(forecast).all()


def test_rainnet_has_the_published_size(without_values: None) -> None:
    """ "Almost 31.4 million parameters" (Ayzel et al. 2020, section 2.1)."""
    model = plugins.load("models", "rainnet").PLUGIN().build(input_shape=(32, 32, 4), classes=1)
    assert model.count_params() == 31_380_613 == pytest.approx(31.4e6, rel=0.01)


def test_rainnet_drops_out_while_it_is_trained() -> None:
    frames = np.random.default_rng(0).random((2, 32, 32, 4), dtype=np.float32)
    model = built("rainnet", (32, 32, 4), corrects=True)
    assert not np.array_equal(model(frames, training=True), model(frames, training=True))
    assert [layer.name for layer in model.layers if "dropout" in layer.name] == ["down3_dropout", "bottom_dropout"]


def test_the_unet_learns_how_rain_fades() -> None:
    """Truth: 0.7 of the carried frame; the correction that was 0 becomes -0.3 of it."""
    frames = np.random.default_rng(0).random((8, 16, 16, 4), dtype=np.float32)
    model = built("rain_unet", (16, 16, 4), filters=[8, 8])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mae")
    losses = losses_of_steps(model, frames, 0.7 * frames[..., -1:], count=15)
    assert losses[0] > 2 * losses[-1]


def test_frames_are_carried_to_one_time() -> None:
    """Rain that moves by (2, -1): carried on, all four frames show it where the next one will, away from the edge."""
    rows, columns = np.mgrid[0:32, 0:32]
    frames = np.stack(
        [np.exp(-((columns - 14 - 2 * t) ** 2 + (rows - 18 + t) ** 2) / 18) for t in range(-3, 2)]
    ).astype(np.float32)
    motion = np.tile(np.array([2.0, -1.0], np.float32), (32, 32, 1))
    moved = advected(frames[:-1], motion)
    assert moved.shape == (4, 32, 32)
    for frame in moved:
        np.testing.assert_allclose(frame[8:24, 8:24], frames[-1, 8:24, 8:24], atol=1e-6)
