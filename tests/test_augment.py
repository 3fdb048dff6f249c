"""Augmentation: reproducible image by image, masks and counting pixels along, mistakes in the config named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import ValidationError

from skyfold.config.augmentation import AugmentConfig
from skyfold.data.augment import Augmenter, sample_seed
from skyfold.errors import ConfigError

SIZE = (24, 32)


def augmenter(*entries, size=SIZE, bands=3, planes=3):
    return Augmenter([AugmentConfig(**entry) for entry in entries], size=size, bands=bands, planes=planes)


BUSY = (
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "Affine", "rotate": [-30, 30], "scale": [0.8, 1.2], "p": 0.9},
    {"name": "RandomBrightnessContrast", "p": 0.7},
)


def image_and_target(row=0):
    rng = np.random.default_rng(row)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    target = np.ones((*SIZE, 3), np.uint8)
    target[..., 0] = image[..., 0] > 127
    return image, target


def test_same_seed_same_image_whatever_the_order_or_thread():
    change = augmenter(*BUSY)
    seeds = [sample_seed(seed=0, epoch=1, row=row) for row in range(24)]
    alone = [augmenter(*BUSY)(*image_and_target(row), seed=seeds[row]) for row in range(24)]
    backwards = {row: change(*image_and_target(row), seed=seeds[row]) for row in reversed(range(24))}
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda row: change(*image_and_target(row), seed=seeds[row]), range(24)))
    for row in range(24):
        for part in (0, 1):
            np.testing.assert_array_equal(backwards[row][part], alone[row][part])
            np.testing.assert_array_equal(threads[row][part], alone[row][part])
    assert any(not np.array_equal(alone[row][0], image_and_target(row)[0]) for row in range(24))


def test_seed_epoch_and_row_all_matter():
    seeds = {sample_seed(seed=s, epoch=e, row=r) for s in range(4) for e in range(4) for r in range(4)}
    assert len(seeds) == 64


def test_masks_move_with_the_image():
    image = np.zeros((*SIZE, 3), np.uint8)
    image[4:12, 4:12] = 255
    target = np.stack([image[..., 0] // 255, 1 - image[..., 0] // 255, np.ones(SIZE, np.uint8)], axis=-1)
    for seed in range(20):
        moved, masks = augmenter({"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5})(
            image, target, seed=seed
        )
        np.testing.assert_array_equal(moved[..., 0] // 255, masks[..., 0])
        assert masks[..., 2].all()


def test_what_comes_in_from_outside_does_not_count():
    _, target = image_and_target()
    image = np.full((*SIZE, 3), 200, np.uint8)
    shifted = augmenter({"name": "Affine", "translate_px": {"x": [8, 8], "y": [0, 0]}, "p": 1.0})
    moved, masks = shifted(image, target, seed=0)
    assert (moved[:, :8] == 0).all()
    assert not masks[:, :8, 2].any()
    assert masks[:, 9:, 2].all()


def test_inputs_stay_as_they_were():
    image, target = image_and_target()
    before = image.copy(), target.copy()
    for seed in range(8):
        augmenter(*BUSY)(image, target, seed=seed)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(target, before[1])


def test_without_transforms_nothing_changes():
    image, target = image_and_target()
    same, masks = augmenter()(image, target, seed=3)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(masks, target)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "HorizontalFlipp"}, "did you mean 'HorizontalFlip'"),
        ({"name": "HorizontalFlip", "probability": 0.5}, "augment.0: HorizontalFlip: .*'probability'.*Arguments: .*p"),
        ({"name": "Affine", "rotat": [1, 2]}, "did you mean 'rotate'"),
        ({"name": "Affine", "rotate": "far"}, "augment.0: Affine"),
        ({"name": "RandomCrop", "height": 8, "width": 8}, "24x32 pixels into 8x8"),
        ({"name": "Compose"}, "no transform 'Compose'"),
    ],
)
def test_mistakes_in_the_config_are_named(entry, message):
    with pytest.raises(ConfigError, match=message):
        augmenter(entry)


RAMP = {"start": {"p": 0, "translate_px": {"x": [0, 0], "y": [0, 0]}}, "epochs": [1, 5]}
SHIFT = {"name": "Affine", "translate_px": {"x": [8, 8], "y": [0, 0]}, "p": 1}


def test_a_ramp_goes_from_its_start_to_the_arguments():
    entry = AugmentConfig(**SHIFT, ramp=RAMP)
    found = [entry.arguments_in(epoch) for epoch in (0, 1, 2, 4, 7)]
    assert [arguments["p"] for arguments in found] == [0, 0.25, 0.5, 1, 1]
    assert [arguments["translate_px"]["x"] for arguments in found] == [[0, 0], [2, 2], [4, 4], [8, 8], [8, 8]]
    plain = AugmentConfig(**SHIFT)
    assert plain.arguments_in(3) == entry.arguments == plain.arguments


def test_a_ramped_transform_is_as_strong_as_its_epoch_says():
    change = augmenter({**SHIFT, "ramp": {"start": {"translate_px": {"x": [0, 0], "y": [0, 0]}}, "epochs": [1, 5]}})
    image, target = image_and_target()
    for epoch, shift in [(0, 0), (4, 8), (2, 4), (9, 8)]:
        moved, masks = change(image, target, seed=0, epoch=epoch)
        np.testing.assert_array_equal(moved[:, shift:], image[:, : SIZE[1] - shift])
        assert masks[..., 2].mean() == 1 - shift / SIZE[1]
    same, _ = augmenter({**SHIFT, "ramp": RAMP})(image, target, seed=0, epoch=0)  # p is 0
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        ({"start": {"shear": [0, 0]}, "epochs": [1, 5]}, "shear has no final value; write it beside the ramp"),
        ({"start": {"translate_px": [0, 0]}, "epochs": [1, 5]}, "cannot go from"),
        ({"start": {"p": True}, "epochs": [1, 5]}, "both must be numbers"),
        ({"start": {"p": 0.0}, "epochs": [5, 5]}, "before the last"),
        ({"start": {}, "epochs": [1, 5]}, "at least 1 item"),
    ],
)
def test_a_ramp_that_leads_nowhere_is_refused(ramp, message):
    with pytest.raises(ValidationError, match=message):
        AugmentConfig(**SHIFT, ramp=ramp)


def test_a_start_that_the_transform_does_not_take_is_refused():
    ramp = {"start": {"p": -1.0}, "epochs": [1, 5]}
    with pytest.raises(ConfigError, match=r"augment.0: Affine"):
        augmenter({**SHIFT, "ramp": ramp})


def test_a_transform_for_colour_refuses_four_bands():
    with pytest.raises(ConfigError, match="HueSaturationValue fails on images of 4 bands"):
        augmenter({"name": "HueSaturationValue", "p": 0.1}, bands=4)
