"""Networks of sea ice: untrained they are what they correct, they learn, and come back from their weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

from conftest import losses_of_steps
from skyfold.errors import ConfigError
from skyfold.forecasting.frame_adapters import anomalies
from skyfold.forecasting.past_frames import PastFrames
from skyfold.models import anomaly_unet, ice_codes, ice_convlstm
from skyfold.training import backend
from skyfold.training.losses import forecasting as forecast_losses
from skyfold.training.losses.named import make_loss

pytestmark = pytest.mark.usefixtures("float32_backend")

SMALL = {"filters": [4, 6], "cell_filters": 8}
SMALL_CODES = {"filters": [3, 4], "codes": 6, "units": 5, "blocks": 2, "heads": 2}
SMALL_CROPS = {"units": 3, "layers": 2}
GRID = 448 * 304


@pytest.fixture(autouse=True)
def _small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_convlstm, "CROP", 8)
    monkeypatch.setattr(ice_convlstm, "STRIDE", 3)


@pytest.mark.parametrize(("size", "own", "shared", "leads"), [((16, 24), 3, 2, 2), ((13, 22), 1, 0, 3)])
def test_untrained_the_anomaly_network_is_the_first_map_of_each_lead(
    size: tuple[int, int], own: int, shared: int, leads: int
) -> None:
    model = anomaly_unet.AnomalyUnet(shared=shared, **SMALL).build(
        input_shape=(*size, own * leads + shared), classes=leads
    )
    maps = np.random.default_rng(0).random((2, *size, own * leads + shared), dtype=np.float32)
    np.testing.assert_array_equal(model(maps), maps[..., : own * leads : own])
    model.get_layer("correction").set_weights([np.ones((1, 1, 8, 1)), np.zeros(1)])
    both = np.asarray(model(maps))
    assert not np.array_equal(both, maps[..., : own * leads : own])
    np.testing.assert_allclose(np.asarray(model(maps[1:]))[0], both[1], atol=1e-5)  # dates know nothing of each other


def test_the_lead_times_of_one_network_differ_by_their_place_in_the_year() -> None:
    model = anomaly_unet.AnomalyUnet(shared=0, **SMALL).build(input_shape=(8, 8, 3), classes=3)
    model.get_layer("correction").set_weights([np.ones((1, 1, 8, 1)), np.zeros(1)])
    said = np.asarray(model(np.ones((1, 8, 8, 3), np.float32)))
    assert len({float(value) for value in said[0, 4, 4]}) == 3


def test_the_anomaly_network_learns_that_next_year_is_like_the_last() -> None:
    """Ice that stays as it was the year before: the mean of five years is far off, what last year says beyond it not.

    Learned on seven dates, and found on an eighth that it has not seen.
    """
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 25, (15, 2, 12, 10)), axis=0) + 125
    frames = np.clip(walk.reshape(30, 12, 10), 1, 249).astype(np.uint8)
    frames[28:] = frames[26:28]  # the year that was not seen: again as the one before
    view, lead_times = anomalies.Anomalies(), np.array([1, 2])
    inputs, targets, histories = [], [], []
    for last in range(13, 28, 2):
        history = PastFrames(frames, lead_times, 2).until(last)
        truth = frames[[last - 1, last]].transpose(1, 2, 0).astype(np.float32)  # a year before the wanted frames
        inputs.append(view.inputs(history))
        targets.append(view.target(history, truth, np.ones(truth.shape, bool)))
        histories.append(history)
    model = anomaly_unet.AnomalyUnet(dropout=0.0, **SMALL).build(input_shape=inputs[0].shape, classes=2)
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=forecast_losses.mae)
    for _ in range(30):
        for one, wanted in zip(inputs[:-1], targets[:-1], strict=True):
            model.train_on_batch(one[None], wanted[None])
    forecast = view.forecast(np.asarray(model(inputs[-1][None]))[0], histories[-1])
    base = view.forecast(inputs[-1][..., [0, len(anomalies.BY_LEAD)]], histories[-1])
    truth = frames[28:].transpose(1, 2, 0)
    assert np.abs(forecast - truth).mean() < 0.4 * np.abs(base - truth).mean()


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # Conv 16 and 32: 160 + 4,640. Dense 272,384 <-> 256: 2 x 69,730,304, and added 256 + 272,384. Transposed
        # convolutions to 16 and 1: 4,624 + 145.
        ({"core": "none"}, 4_800 + 2 * 69_730_304 + 272_640 + 4_769),
        # Two LSTM, 4 x 512 x (256 + 512 + 1) and 4 x 512 x (512 + 512 + 1), batch norm 4 x 512 each, Dense 512 -> 256.
        ({}, 139_742_817 + 1_574_912 + 2_099_200 + 2 * 2_048 + 131_328),
        # Eight blocks of batch norm 2 x 1,024, attention 4 x 65,792, Dense 65,792.
        ({"core": "attention"}, 139_742_817 + 8 * (2_048 + 5 * 65_792)),
        # One Dense and one convolution less.
        ({"core": "none", "tied": True}, 139_742_817 - 69_730_304 - 4_608),
    ],
)
def test_the_teams_network_has_140_million_weights_on_the_contests_grid(
    options: dict[str, object], parameters: int, without_values: None
) -> None:
    """Counted on two small grids: with every cell there are as many more."""
    small, larger = (
        ice_codes.IceCodes(**options).build(input_shape=(8, width, 12), classes=12).count_params() for width in (8, 16)
    )
    assert small + (GRID - 64) * (larger - small) // 64 == parameters


@pytest.mark.parametrize(
    ("family", "options", "size"),
    [
        (ice_codes, SMALL_CODES, (13, 10)),
        (ice_codes, {**SMALL_CODES, "tied": True}, (13, 10)),
        (ice_codes, {**SMALL_CODES, "core": "attention"}, (13, 10)),
        (ice_codes, {**SMALL_CODES, "core": "none", "filters": [3]}, (13, 10)),
        (ice_convlstm, SMALL_CROPS, (14, 11)),
        (ice_convlstm, SMALL_CROPS, (9, 20)),
        (ice_convlstm, SMALL_CROPS, (5, 6)),
    ],
)
def test_maps_of_any_size_become_as_many_frames_as_are_wanted(family, options, size) -> None:
    model = family.PLUGIN(**options).build(input_shape=(*size, 8), classes=3)
    frames = np.random.default_rng(0).random((2, *size, 8), dtype=np.float32)
    said = np.asarray(model(frames))
    assert (said.shape, said.dtype) == ((2, *size, 3), np.float32)
    assert 0 < said.min() < said.max() < 1
    np.testing.assert_allclose(np.asarray(model(frames[1:]))[0], said[1], atol=1e-5)


def test_an_autoencoder_looks_at_the_frame_it_decodes_and_at_no_other() -> None:
    model = ice_codes.IceCodes(core="none", **SMALL_CODES).build(input_shape=(8, 8, 4), classes=2)
    frames = np.random.default_rng(0).random((1, 8, 8, 4), dtype=np.float32)
    other = frames.copy()
    other[..., :3] = 0
    one, two = np.asarray(model(frames)), np.asarray(model(other))
    np.testing.assert_allclose(one[..., 1], two[..., 1], atol=1e-6)
    assert np.abs(one[..., 0] - two[..., 0]).max() > 1e-3


def test_a_core_without_skips_is_another_network() -> None:
    def said(skips: bool) -> np.ndarray:
        backend.seed(0)
        model = ice_codes.IceCodes(core="attention", skips=skips, **SMALL_CODES).build(input_shape=(8, 8, 4), classes=2)
        return np.asarray(model(np.ones((1, 8, 8, 4), np.float32)))

    assert not np.allclose(said(True), said(False))


def test_the_first_steps_leave_codes_between_0_and_1() -> None:
    """A code is fed by thousands of cells; were it 0 or 1 on every frame after some steps, it could learn nothing."""
    model = ice_codes.IceCodes(core="none").build(input_shape=(64, 64, 1), classes=1)
    loss = make_loss(forecast_losses.FORECAST_LOSSES, "share_bce", {}, task="forecasting")
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, jit_compile=False)
    ice = (np.arange(64)[None, :, None, None] < np.array([20, 28, 36, 44])[:, None, None, None]).astype(np.float32)
    frames = np.broadcast_to(ice, (4, 64, 64, 1))
    for _ in range(12):
        model.train_on_batch(frames, np.concatenate([frames, np.ones_like(frames)], axis=-1))
    codes = np.asarray(model.get_layer("encoder")(frames))
    assert ((codes > 0.01) & (codes < 0.99)).mean() > 0.9


def test_tied_weights_turn_with_the_encoder() -> None:
    model = ice_codes.IceCodes(core="none", tied=True, **SMALL_CODES).build(input_shape=(8, 8, 2), classes=2)
    frames = np.random.default_rng(0).random((1, 8, 8, 2), dtype=np.float32)
    before = np.asarray(model(frames))
    code = model.get_layer("encoder").code
    code.kernel.assign(0 * code.kernel)  # every code is now 1/2, and a tied decoder makes nothing of it
    after = np.asarray(model(frames))
    assert np.ptp(before) > 0.01
    np.testing.assert_array_equal(after, 0.5)


def test_crops_are_cut_where_they_should_be_and_join_to_the_map() -> None:
    image = np.random.default_rng(0).random((2, 14, 11, 3), dtype=np.float32)
    crops = np.asarray(ice_convlstm.cut(image, 8, 3))
    assert crops.shape == (2, 3, 2, 8, 8, 3)
    np.testing.assert_array_equal(crops[1, 2, 1], image[1, 6:14, 3:11])
    np.testing.assert_allclose(ice_convlstm.joined(crops, 3), image, atol=1e-6)
    weighed = crops * np.arange(6, dtype=np.float32).reshape(1, 3, 2, 1, 1, 1)
    slow, count = np.zeros_like(image), np.zeros_like(image)
    for row in range(3):
        for column in range(2):
            place = np.s_[:, 3 * row : 3 * row + 8, 3 * column : 3 * column + 8]
            slow[place] += weighed[:, row, column]
            count[place] += 1
    np.testing.assert_allclose(ice_convlstm.joined(weighed, 3), slow / count, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (ice_codes, {**SMALL_CODES, "layers": 1}),
        (ice_codes, {**SMALL_CODES, "core": "attention", "blocks": 1}),
        (ice_convlstm, {**SMALL_CROPS, "layers": 1}),
    ],
)
def test_they_learn_a_season(family: ModuleType, options: dict[str, object]) -> None:
    """Ice on the left half in one frame, on the right in the next, and so on, everywhere the same: the loss falls."""
    backend.seed(1)
    half = np.zeros((8, 8, 2), np.float32)
    half[:, :4, 0], half[:, 4:, 1] = 1, 1
    frames, truth = np.tile(half, (1, 1, 2))[None], half[None]
    model = family.PLUGIN(**options).build(input_shape=(8, 8, 4), classes=2)
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=forecast_losses.mae)
    target = np.concatenate([truth, np.ones_like(truth)], axis=-1)
    losses = losses_of_steps(model, frames, target, count=30)
    assert losses[-1] < 0.4 * losses[0]


FAMILIES = [
    (anomaly_unet, SMALL),
    (ice_codes, {**SMALL_CODES, "tied": True}),
    (ice_codes, {**SMALL_CODES, "core": "attention"}),
    (ice_convlstm, SMALL_CROPS),
]


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_weights_bring_the_same_forecast_back(family: ModuleType, options: dict[str, object], tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((1, 12, 9, 8), dtype=np.float32)
    backend.seed(0)
    model = family.PLUGIN(**options).build(input_shape=(12, 9, 8), classes=2)
    if family is anomaly_unet:
        model.get_layer("correction").set_weights([np.ones((1, 1, 8, 1)), np.zeros(1)])
    model.save_weights(tmp_path / "a.weights.h5")
    backend.seed(1)
    again = family.PLUGIN(**options).build(input_shape=(12, 9, 8), classes=2)
    assert not np.array_equal(again(maps), model(maps))
    again.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(again(maps), model(maps))


@pytest.mark.parametrize(
    ("family", "options", "layer"),
    [(anomaly_unet, SMALL, "cell_a"), (ice_codes, SMALL_CODES, "decoder"), (ice_convlstm, SMALL_CROPS, "lstm0")],
)
def test_the_forecast_is_float32_under_bfloat16(family: ModuleType, options: dict[str, object], layer: str) -> None:
    backend.prepare(precision="bfloat16")
    model = family.PLUGIN(**options).build(input_shape=(8, 8, 8), classes=2)
    maps = np.random.default_rng(0).random((1, 8, 8, 8), dtype=np.float32)
    assert model.get_layer(layer).compute_dtype == "bfloat16"
    said = np.asarray(model(maps))
    assert said.dtype == np.float32
    rounded = (said.view(np.uint32) & 0xFFFF) == 0  # a bfloat16 number is a float32 with 16 zero bits
    assert rounded.mean() < 0.5
    if family is anomaly_unet:
        np.testing.assert_array_equal(said, maps[..., [0, 2]])


def test_maps_that_are_not_as_many_for_each_lead_are_refused() -> None:
    with pytest.raises(ConfigError, match="196 maps, 5 of them for all lead times, are not as many for each of 12"):
        anomaly_unet.AnomalyUnet(shared=5).build(input_shape=(8, 8, 196), classes=12)


@pytest.mark.parametrize("family", [ice_codes, ice_convlstm])
def test_fewer_frames_than_are_forecast_are_refused(family: ModuleType) -> None:
    with pytest.raises(ConfigError, match="forecasts 12 frames from as many or more, and sees 6"):
        family.PLUGIN().build(input_shape=(64, 64, 6), classes=12)
