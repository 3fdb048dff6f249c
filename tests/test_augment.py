"""Augmentation: reproducible image by image, masks and counting pixels along, mistakes in the config named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skyfold.config.training import AugmentConfig
from skyfold.data.augment import Augmenter, sample_seed
from skyfold.errors import ConfigError

SIZE = (24, 32)


def augmenter(*entries, size=SIZE, bands=3, planes=3, rescaled=False):
    config = [AugmentConfig(**entry) for entry in entries]
    return Augmenter(config, size=size, bands=bands, planes=planes, rescaled=rescaled)


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


@pytest.mark.parametrize("bands", [1, 4, 12])
def test_rescaled_images_keep_their_depth_and_move_with_their_masks(bands):
    """Steps of 1 / 65,535, which 8 bits would lose."""
    image = (np.arange(24 * 32 * bands).reshape(*SIZE, bands) / np.float32(65535)).astype(np.float32)
    target = np.ones((*SIZE, 3), np.uint8)
    moved, masks = augmenter({"name": "HorizontalFlip", "p": 1}, bands=bands, rescaled=True)(image, target, seed=0)
    np.testing.assert_array_equal(moved, image[:, ::-1])
    busy = (*BUSY, {"name": "RandomGamma", "p": 1}, {"name": "GaussNoise", "p": 0.5})
    changed, masks = augmenter(*busy, bands=bands, rescaled=True)(image, target, seed=1)
    assert changed.dtype == np.float32
    assert 0 <= changed.min() < changed.max() <= 1
    assert len(np.unique(changed[masks[..., 2] > 0])) > 256
    shift = {"name": "Affine", "translate_px": {"x": [8, 8], "y": [0, 0]}, "p": 1}
    shifted = augmenter(shift, bands=bands, rescaled=True)
    changed, masks = shifted(image, target, seed=0)
    assert not changed[:, :8].any()  # from outside: the lower end of the range, and not valid
    assert not masks[:, :8, 2].any()


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
        ({"name": "Affine", "p": -1.0}, "augment.0: Affine"),
        ({"name": "RandomCrop", "height": 8, "width": 8}, "24x32 pixels into 8x8"),
        ({"name": "Compose"}, "no transform 'Compose'"),
        ({"name": "HueSaturationValue", "p": 0.1}, "HueSaturationValue fails on images of 4 bands"),
        ({"name": "ToFloat", "p": 0.1}, "ToFloat turns uint8 into float32, in training only"),
    ],
)
def test_mistakes_in_the_config_are_named(entry, message):
    with pytest.raises(ConfigError, match=message):
        augmenter(entry, bands=4 if "Hue" in entry["name"] else 3)


@pytest.mark.parametrize("name", ["Equalize", "Posterize", "CLAHE", "ImageCompression", "HueSaturationValue"])
def test_transforms_of_bytes_are_refused_for_rescaled_images(name):
    augmenter({"name": name})
    with pytest.raises(ConfigError, match=rf"augment\.1: {name} reduces images to 8 bits, and image\.rescale"):
        augmenter({"name": "Rotate"}, {"name": name}, rescaled=True)
