"""DeepLabV3+: as many parameters as published; a dilated encoder reads what the plain one reads; refusals."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.models import _dilation, deeplabv3plus

pytestmark = pytest.mark.usefixtures("float32_backend")


# Published, all weights counted, BatchNorm's statistics too:
# - KerasHub's preset deeplab_v3_plus_resnet50_pascalvoc, ResNet50V2 with a pyramid of plain convolutions, without its
#   last layer: 39,190,656 (keras_hub/src/models/deeplab_v3/deeplab_v3_presets.py). Its decoder is one 1x1 convolution,
#   ours the paper's two separable 3x3, which makes 0.2 % more.
# - segmentation_models.pytorch, separable pyramid, one class, output stride 16: ResNet18 12.3 M and ResNet34 22.5 M
#   (the model cards huggingface.co/smp-test-models/deeplabv3plus-tu-resnet18 and
#   huggingface.co/AnikiFan/single-channel-breast-segmentation-deeplabv3plus).
@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"encoder": "resnet50v2", "aspp_separable": False}, 39.190656e6),
        ({"encoder": "resnet18"}, 12.3e6),
        ({"encoder": "resnet34"}, 22.5e6),
    ],
)
def test_as_many_parameters_as_published(options, published, without_values):
    model = deeplabv3plus.DeepLabV3Plus(encoder_weights="none", **options).build(input_shape=(64, 64, 3), classes=1)
    assert model.count_params() == pytest.approx(published, rel=0.01)


def plain_network():
    """Steps of 2 down to stride 32 as a ResNet takes them, with a 3x3 convolution at each resolution."""
    import keras

    image = x = keras.Input((64, 64, 3))
    for index in range(5):
        x = keras.layers.Conv2D(4 + index, 1, strides=2, name=f"step{index}")(x)
        x = keras.layers.Conv2D(4 + index, 3, padding="same", name=f"look{index}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{index}")(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_dilated_encoder_reads_at_every_pixel_what_the_plain_one_reads_at_some(output_stride):
    import keras

    source = plain_network()
    image = keras.Input((64, 64, 3))
    maps, _ = _dilation.maps_by_stride(source, image, output_stride=output_stride, with_weights=True)
    pixels = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32)
    dense = np.asarray(keras.Model(image, maps[32])(pixels))
    assert dense.shape == (2, 64 // output_stride, 64 // output_stride, 8)
    every = 32 // output_stride
    np.testing.assert_allclose(dense[:, ::every, ::every], np.asarray(source(pixels)), rtol=1e-4, atol=1e-5)


def test_padding_layers_and_unpadded_windows_give_exact_strides():
    import keras

    x = image = keras.Input((64, 64, 3))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(4, 3, strides=2, name="unpadded")(x)  # 31 pixels, where 32 are wanted
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="padded")(x)
    for index in range(3):
        x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        x = keras.layers.DepthwiseConv2D(3, strides=2, name=f"depthwise{index}")(x)
    source = keras.Model(image, x)
    wanted = keras.Input((96, 64, 3))
    for output_stride in (8, 16, 32):
        maps, _ = _dilation.maps_by_stride(source, wanted, output_stride=output_stride, with_weights=False)
        for stride, found in maps.items():
            own = min(stride, output_stride)
            assert tuple(found.shape[1:3]) == (96 // own, 64 // own)


def test_the_deepest_map_is_what_the_encoder_returns_and_not_a_wider_one_within():
    import keras

    image = x = keras.Input((64, 64, 3))
    for index in range(5):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name=f"step{index}")(x)
        x = keras.layers.Conv2D(16, 1, name=f"expanded{index}")(x)
        x = keras.layers.Conv2D(4, 1, name=f"projected{index}")(x)
    maps, _ = _dilation.maps_by_stride(keras.Model(image, x), image, output_stride=32, with_weights=False)
    assert {stride: found.shape[-1] for stride, found in maps.items()} == {2: 16, 4: 16, 8: 16, 16: 16, 32: 4}


def test_pooling_that_would_need_dilation_is_refused():
    import keras

    image = x = keras.Input((64, 64, 3))
    for _ in range(5):
        x = keras.layers.MaxPooling2D(2)(x)
    with pytest.raises(ValueError, match="would have to be dilated"):
        _dilation.maps_by_stride(keras.Model(image, x), image, output_stride=8, with_weights=False)


@pytest.mark.parametrize(("encoder", "stride", "rate"), [("mobilenetv2", 16, 6), ("inceptionv3", 32, 3)])
def test_the_rates_follow_the_least_stride_of_the_encoder(encoder, stride, rate, without_values):
    family = deeplabv3plus.DeepLabV3Plus(encoder=encoder, encoder_weights="none", filters=16)
    model = family.build(input_shape=(64, 64, 3), classes=1)
    assert model.get_layer("aspp_far1_conv").dilation_rate == (rate, rate)
    assert model.get_layer("aspp_near_conv").output.shape[1:3] == (64 // stride, 64 // stride)
