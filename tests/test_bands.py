"""Weights learned on colour images serve four bands: the first kernel is adapted, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyfold.models import _bands, plain_unet, segmentation_models
from skyfold.training import backend

pytestmark = pytest.mark.usefixtures("float32_backend")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of ResNet18 in the layout in which ImageNet's are published, with BatchNorm statistics that are not 0
    and 1, in the first layer the same for all three bands."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    backend.seed(5)
    encoder = inner_of(network(3, "none"))
    weights = encoder.get_layer("bn_data").get_weights()
    encoder.get_layer("bn_data").set_weights([np.full_like(weight, 0.3) for weight in weights])
    file = tmp_path_factory.mktemp("weights") / "resnet18_notop.h5"
    import keras

    last = encoder.get_layer("relu1").output
    with h5py.File(file, "w") as opened:
        legacy_h5_format.save_weights_to_hdf5_group(opened, keras.Model(encoder.input, last))
    return file


def network(bands: int, weights: str) -> Any:
    return segmentation_models.SegmentationModels(
        encoder="resnet18", encoder_weights=weights, decoder_filters=[8] * 5
    ).build(input_shape=(64, 64, bands), classes=1)


def inner_of(model: Any) -> Any:
    return next(layer for layer in model.layers if hasattr(layer, "layers"))


def encoder_weights(model: Any) -> dict[str, list[np.ndarray]]:
    """By layer, of those up to the deepest features that have any: the others are named anew in each network."""
    layers = inner_of(model).layers
    last = next(place for place, layer in enumerate(layers) if layer.name == "relu1")
    return {layer.name: layer.get_weights() for layer in layers[:last] if layer.weights}


def test_the_first_kernel_is_adapted_and_all_other_weights_are_the_published_ones(published: Path) -> None:
    three, four = encoder_weights(network(3, str(published))), encoder_weights(network(4, str(published)))
    assert three.keys() == four.keys() >= {"bn_data", "conv0"}
    for name, weights in three.items():
        for own, wide in zip(weights, four[name], strict=True):
            if name == "conv0":
                assert wide.shape == (7, 7, 4, 64)
                np.testing.assert_allclose(wide[:, :, :3], 0.75 * own, rtol=1e-6)
                np.testing.assert_allclose(wide[:, :, 3], 0.75 * own.mean(axis=2), rtol=1e-5, atol=1e-8)
            elif name == "bn_data":
                np.testing.assert_allclose(wide, np.full(4, 0.3), rtol=1e-6)
            else:
                np.testing.assert_array_equal(wide, own)


def test_kernel_of_three_bands_serves_four():
    kernel = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)  # bands (0, 1), (2, 3), (4, 5); mean (2, 3)
    four = _bands.adapted(kernel, (1, 1, 4, 2))
    np.testing.assert_allclose(four[0, 0], 0.75 * np.array([[0, 1], [2, 3], [4, 5], [2, 3]]))
    one = _bands.adapted(kernel, (1, 1, 1, 2))
    np.testing.assert_allclose(one[0, 0], [[6, 9]])  # a grey image answers as three equal bands did
    np.testing.assert_allclose(_bands.adapted(np.array([1.0, 2.0, 6.0]), (5,)), [1, 2, 6, 3, 3])
    drawn = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)
    for bands in (1, 2, 3, 4, 8):  # bands alike are answered as three were
        answer = _bands.adapted(drawn, (3, 3, bands, 5)).sum(axis=2)
        np.testing.assert_allclose(answer, drawn.sum(axis=2), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="cannot serve"):
        _bands.adapted(kernel, (1, 1, 3, 4))


def test_the_plain_unet_is_as_large_as_the_one_of_2015() -> None:
    """3x3 kernels without bias, by pairs of maps (in, out), nine weights each; 2x2 ones with bias on the way up; two
    weights and two statistics a map for BatchNorm. Counted by hand for 64 and 128 maps of one band and two classes."""
    kernels = 9 * (1 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 64 + 64 * 64)
    up = 4 * 128 * 64 + 64
    norm = 4 * (64 + 64 + 128 + 128 + 64 + 64)
    head = 64 * 2 + 2
    small = plain_unet.PlainUnet(filters=(64, 128)).build(input_shape=(16, 16, 1), classes=2)
    assert small.count_params() == kernels + up + norm + head
