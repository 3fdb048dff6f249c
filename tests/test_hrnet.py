"""HRNetV2: as many parameters as its authors count, weights from a file, any number of bands."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.models import _encoders, _hrnet, hrnet
from skyfold.training import backend

pytestmark = pytest.mark.usefixtures("float32_backend")

TINY = "hrnet_w4_small"


def trainable(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def classification_head(width: int) -> int:
    """Parameters of the head that the authors put on the same body for ImageNet, by hand from its description.

    Bottlenecks to 128, 256, 512 and 1024 channels; three 3x3 steps of stride 2 that add them up; 1x1 to 2048; 1000
    classes. A convolution of i to o channels with BatchNorm: k * k * i * o + 2 * o; the steps and the last have a bias.
    """

    def conv(i: int, o: int, k: int) -> int:
        return k * k * i * o + 2 * o

    bottlenecks = 0
    for i, p in zip((width, 2 * width, 4 * width, 8 * width), (32, 64, 128, 256), strict=True):
        bottlenecks += conv(i, p, 1) + conv(p, p, 3) + conv(p, 4 * p, 1) + conv(i, 4 * p, 1)
    steps = sum(conv(o // 2, o, 3) + o for o in (256, 512, 1024))
    return bottlenecks + steps + conv(1024, 2048, 1) + 2048 + 2048 * 1000 + 1000


# Published with a segmentation head of 19 classes (Cityscapes): README of github.com/HRNet/HRNet-Semantic-Segmentation,
# "HRNetV2-W48 65.8M" and "HRNetV2-W18-Small-v2 3.9M". Published with the classification head: README of
# github.com/HRNet/HRNet-Image-Classification, "HRNet-W18-C 21.3M, HRNet-W32-C 41.2M, HRNet-W48-C 77.5M".
@pytest.mark.parametrize(
    ("encoder", "segmentation", "classification"),
    [
        ("hrnet_w18_small", 3.9, None),
        ("hrnet_w18", None, 21.3),
        ("hrnet_w32", None, 41.2),
        ("hrnet_w48", 65.8, 77.5),
    ],
)
def test_as_many_parameters_as_published(encoder, segmentation, classification, without_values):
    model = hrnet.Hrnet(encoder=encoder, encoder_weights="none").build(input_shape=(32, 32, 3), classes=19)
    millions = trainable(model) / 1e6
    if segmentation:
        assert millions == pytest.approx(segmentation, abs=max(0.01 * segmentation, 0.05))  # printed with one digit
    if classification:
        width = _hrnet.plan_of(encoder).width
        joined = 15 * width
        head = joined * joined + 2 * joined + joined * 19 + 19
        whole = millions + (classification_head(width) - head) / 1e6
        assert whole == pytest.approx(classification, rel=0.01)


def test_grey_image_answers_as_three_equal_bands_with_weights_from_a_file(tmp_path):
    file = tmp_path / f"{TINY}.weights.h5"
    backend.seed(0)
    body = _encoders.hrnet_body(TINY, bands=3)
    body.save_weights(file)

    import keras

    image = keras.Input((32, 32, 1))
    found = _encoders.encoder_maps(image, TINY, weights=str(file))
    maps = keras.Model(image, [*found.by_stride.values(), found.outlines])
    grey = np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32)
    for one, three in zip(maps(grey), body(np.repeat(grey, 3, axis=-1)), strict=True):
        deviation = np.asarray(three).std()
        assert deviation > 0
        np.testing.assert_allclose(one, three, rtol=1e-3, atol=1e-3 * deviation)
