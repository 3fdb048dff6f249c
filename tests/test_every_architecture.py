"""Every architecture takes images of odd sizes, of 1 to 8 bands, for 1 to 5 classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skyfold import plugins

pytestmark = pytest.mark.usefixtures("float32_backend")

SMALL = {"filters": 16, "outline_filters": 8}
VGG, MOBILE = {"encoder": "vgg16"}, {"encoder": "mobilenetv2"}
HRNET = {"encoder": "hrnet_w4_small"}
SMALL_PYRAMID = {"pyramid_filters": 16, "filters": 8}
NARROW = [16, 8, 8, 8, 8]
# Family, then the options of the first case and those of the second.
ARCHITECTURES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("deeplabv3plus", {**SMALL, **MOBILE}, {**SMALL, **HRNET}),
    ("hrnet", HRNET, HRNET),
    ("unet", {**VGG, "decoder_filters": NARROW}, {**MOBILE, "decoder_filters": NARROW}),
    ("fpn", {**VGG, **SMALL_PYRAMID}, {**MOBILE, **SMALL_PYRAMID}),
    ("plain_unet", {"filters": [4, 6, 8]}, {"filters": [4, 6, 8, 8]}),
    *[
        ("segmentation_models", {"decoder": decoder, **VGG, **options}, {"decoder": decoder, **MOBILE, **options})
        for decoder, options in [
            ("unet", {"decoder_filters": NARROW}),
            ("linknet", {"decoder_filters": [None, None, None, None, 8]}),
            ("fpn", {"pyramid_block_filters": 16}),
            ("pspnet", {"psp_conv_filters": 16}),
        ]
    ],
    ("efficientnet_classifier", {}, {}),
    ("encoder_classifier", VGG, HRNET),
]


def design() -> list[tuple[str, dict[str, Any], tuple[int, int, int], int]]:
    """Two cases an architecture, one of 1 to 4 bands and one of 5 to 8; together every count of bands and classes."""
    cases = []
    for index, (family, first, second) in enumerate(ARCHITECTURES):
        cases.append((family, first, (37, 56, 1 + index % 4), 1 + index % 5))
        cases.append((family, second, (56, 37, 8 - index % 4), 1 + (index + 2) % 5))
    return cases


def check_logits(family: str, options: dict[str, Any], shape: tuple[int, int, int], classes: int) -> None:
    module = plugins.load("models", family)
    untrained = {} if family == "plain_unet" else {"encoder_weights": "none"}
    model = module.PLUGIN(**options, **untrained).build(input_shape=shape, classes=classes)
    images = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    logits = np.asarray(model(images))
    size = () if family.endswith("classifier") else shape[:2]
    assert logits.shape == (1, *size, classes)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0 or logits.size == 1


def test_the_design_meets_every_count_of_bands_and_classes() -> None:
    cases = design()
    assert {shape[2] for _, _, shape, _ in cases} == set(range(1, 9))
    assert {classes for *_, classes in cases} == set(range(1, 6))


@pytest.mark.parametrize(("family", "options", "shape", "classes"), design())
def test_logits_have_the_images_own_size(
    family: str, options: dict[str, Any], shape: tuple[int, int, int], classes: int
) -> None:
    check_logits(family, options, shape, classes)


@pytest.mark.by_hand
@pytest.mark.parametrize(("family", "options"), [architecture[:2] for architecture in ARCHITECTURES])
def test_every_architecture_takes_every_count_and_a_large_crop(family: str, options: dict[str, Any]) -> None:
    """Minutes in all: nice pytest -m by_hand tests/test_every_architecture.py"""
    for bands in range(1, 9):
        check_logits(family, options, (101, 101, bands), 1 + bands % 5)
    for classes in range(1, 6):
        check_logits(family, options, (120, 120, 3), classes)
    fifth_of_a_scene = (5226 // 5, 6015 // 5, 3)
    check_logits(family, options, fifth_of_a_scene, 4)
