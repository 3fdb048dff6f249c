"""Checksums of published ImageNet weights are those in the sources of the packages that download them."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from skyfold.models import _published, efficientnet_classifier, segmentation_models, unet
from skyfold.models._encoders import ENCODERS


def texts_of(package: str, folder: str = "") -> set[str]:
    """Every text that stands in a module of `package`."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    modules = (Path(spec.origin).parent / folder).rglob("*.py")
    nodes = (node for path in modules for node in ast.walk(ast.parse(path.read_text())))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_they_are_what_the_packages_compare_downloads_with() -> None:
    of_keras, of_efficientnet = texts_of("keras", "src/applications"), texts_of("efficientnet")
    of_segmentation_models = texts_of("classification_models") | texts_of("segmentation_models") | of_efficientnet
    of_segmentation_models |= texts_of("keras_applications")
    assert of_keras >= {*_published.KERAS.values()}
    assert of_efficientnet >= {*_published.EFFICIENTNET.values()}
    assert of_segmentation_models >= {*_published.SEGMENTATION_MODELS.values()}


def test_every_encoder_has_one_but_mobilenet() -> None:
    names = {*ENCODERS, *segmentation_models.ENCODERS}
    known = {**_published.KERAS, **_published.SEGMENTATION_MODELS, **_published.EFFICIENTNET_LITE}
    without = [name for name in names if name not in known]
    assert sorted(without) == ["mobilenet", "mobilenetv2"]


@pytest.mark.parametrize(
    ("family", "known"),
    [
        (unet.Unet(encoder="resnet50"), "imagenet:4d473c1dd8becc155b73f8504c6f6626"),
        (unet.Unet(encoder="resnet18"), "imagenet:318e3ac0cd98d51e917526c9f62f0b50"),
        (unet.Unet(encoder="mobilenetv2"), "imagenet:mobilenetv2"),
        (segmentation_models.SegmentationModels(encoder="resnet50"), "imagenet:db3b217156506944570ac220086f09b6"),
        (
            efficientnet_classifier.EfficientNetClassifier(),
            "imagenet:c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
        ),
        (unet.Unet(encoder_weights="none"), ""),
    ],
)
def test_imagenet_is_known_by_the_published_file_without_a_download(family: object, known: str) -> None:
    assert family.init_weights() == known  # type: ignore[attr-defined]
