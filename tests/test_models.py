"""Families of networks: any size and band count, float32 logits, weights that survive, wrong options refused."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.models import _padding, _sm_compat, efficientnet_classifier, segmentation_models
from skyfold.training import backend

pytestmark = pytest.mark.usefixtures("float32_backend")

SMALL = {
    "unet": {"encoder": "mobilenetv2", "decoder_filters": [16, 8, 8, 8, 8]},
    "linknet": {"encoder": "resnet18"},
    "fpn": {"encoder": "mobilenetv2", "pyramid_block_filters": 16},
    "pspnet": {"encoder": "mobilenetv2", "psp_conv_filters": 16},
}


def test_classifier_takes_small_images_and_four_bands():
    model = efficientnet_classifier.EfficientNetClassifier(encoder_weights="none").build(
        input_shape=(20, 41, 4), classes=5
    )
    assert model(np.zeros((3, 20, 41, 4), np.float32)).shape == (3, 5)


@pytest.mark.parametrize("decoder", ["unet", "fpn", "pspnet"])
def test_last_layers_compute_in_float32_under_bfloat16(decoder):
    backend.prepare(precision="bfloat16")
    options = {**SMALL[decoder], "encoder": "mobilenetv2"}
    model = segmentation_models.SegmentationModels(decoder=decoder, encoder_weights="none", **options).build(
        input_shape=(48, 48, 3), classes=2
    )
    inner = next(layer for layer in model.layers if hasattr(layer, "layers"))
    computed = {layer.name: layer.compute_dtype for layer in inner.layers if layer.weights}
    head = list(computed)[-1]
    assert computed.pop(head) == "float32"
    assert set(computed.values()) == {"bfloat16"}
    logits = np.asarray(model(np.random.default_rng(0).random((1, 48, 48, 3), dtype=np.float32)))
    assert logits.dtype == np.float32
    rounded = (logits.view(np.uint32) & 0xFFFF) == 0  # a bfloat16 number is a float32 with 16 zero bits
    assert rounded.mean() < 0.5


def test_saved_weights_give_the_same_logits(tmp_path):
    def build():
        return segmentation_models.SegmentationModels(encoder_weights="none", **SMALL["unet"]).build(
            input_shape=(40, 40, 3), classes=2
        )

    images = np.random.default_rng(0).random((2, 40, 40, 3), dtype=np.float32)
    backend.seed(1)
    first = build()
    backend.seed(2)
    second = build()
    assert not np.array_equal(first(images), second(images))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(first(images), second(images))


def test_same_seed_same_initial_weights():
    drawn = []
    for seed in (3, 3, 4):
        backend.seed(seed)
        model = efficientnet_classifier.EfficientNetClassifier(encoder_weights="none").build(
            input_shape=(32, 32, 3), classes=2
        )
        drawn.append(np.concatenate([np.ravel(weight) for weight in model.get_weights()]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_batchnorm_momentum_is_set_everywhere(without_values):
    import keras

    model = segmentation_models.SegmentationModels(
        encoder_weights="none", batchnorm_momentum=0.9, **SMALL["unet"]
    ).build(input_shape=(32, 32, 3), classes=1)
    inner = next(layer for layer in model.layers if hasattr(layer, "layers"))
    momenta = {layer.momentum for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.9}


def test_grey_image_answers_as_three_equal_bands(tmp_path):
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    backend.seed(5)
    encoder = _sm_compat.efficientnet().EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    with h5py.File(tmp_path / "b0_notop.h5", "w") as file:  # the layout of the weights that are published
        legacy_h5_format.save_weights_to_hdf5_group(file, encoder)

    def features(bands):
        model = efficientnet_classifier.EfficientNetClassifier(encoder_weights=str(tmp_path / "b0_notop.h5")).build(
            input_shape=(32, 32, bands), classes=1
        )
        return next(layer for layer in model.layers if hasattr(layer, "layers"))

    grey = np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32)
    colour = np.repeat(grey, 3, axis=-1)
    np.testing.assert_array_equal(features(3)(colour), encoder(colour))
    np.testing.assert_allclose(features(1)(grey), encoder(colour), atol=1e-5)


def test_file_of_another_encoder_is_refused(tmp_path):
    import keras

    file = tmp_path / "other.h5"
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "other.weights.h5").rename(file)
    with pytest.raises(ConfigError, match=r"other.h5 do not fit resnet18"):
        segmentation_models.SegmentationModels(encoder_weights=str(file)).build(input_shape=(32, 32, 3), classes=1)


def test_no_internet_is_one_sentence_with_the_remedy(monkeypatch, tmp_path):
    import keras

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise Exception("URL fetch failure on https://example.org: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    import tensorflow

    monkeypatch.setattr(tensorflow.keras.utils, "get_file", offline)
    with pytest.raises(ConfigError, match=r"ImageNet weights of resnet18 could not be downloaded .* set it to none"):
        segmentation_models.SegmentationModels().build(input_shape=(32, 32, 3), classes=1)


def test_mirrored_indices_continue_any_length():
    np.testing.assert_array_equal(_padding.mirrored(4, before=1, total=6), [1, 0, 1, 2, 3, 2])
    np.testing.assert_array_equal(_padding.mirrored(1, before=2, total=5), [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("source", "message"), [("missing.h5", "no file missing.h5"), ("weights.pkl", "none of imagenet, none")]
)
def test_weights_that_are_not_there_are_refused(source, message):
    with pytest.raises(ConfigError, match=message):
        segmentation_models.SegmentationModels(encoder_weights=source).require()
