"""Encoders by name, wherever they come from: each turns an image into maps of 1/2, 1/4, ... 1/32 of its size.

From `keras.applications`, from segmentation-models (ResNet18 and 34), EfficientNet-Lite, and HRNetV2. `hrnet_w<width>`
takes any width.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import field_validator, model_validator

from skyfold.models import WEIGHTS_KEY, _csmask, _efficientnet_lite, _hrnet, _published, _resnet, _sm_compat
from skyfold.models._pytorch_layers import (
    Naming,
    convnext_namings,
    efficientnet_namings,
    load_pytorch,
    mobilenetv3_namings,
)
from skyfold.models._tensor_files import read_tensors
from skyfold.models._weights import PretrainedFamily, is_of_pytorch, weights_file, with_weights
from skyfold.plugins import nearest

_STAGE_ENDS = r"^block\d[a-z]_(project_bn|add)$"  # of EfficientNet, where maps are narrow
MULTIPLE = 32  # of an image's sides, so that every map is a whole number of pixels
_SOURCE_SIDE = 224  # at which a network is made whose layers are then applied to images of any size
_ODD_SIDE = 225  # at which, and at a half, a quarter, ... of which Keras' networks pad alike on both sides


@dataclass(frozen=True)
class Encoder:
    """constructor: in keras.applications, or the name in the other packages; normalization: of images, which its
    ImageNet weights were made with (data/normalization.py); least_stride: of its deepest maps, by dilation; taken:
    pattern of the layers whose last map of each stride is handed on; None: the widest map."""

    constructor: str
    normalization: str
    least_stride: int = 16
    package: str = "keras"
    taken: str | None = None


ENCODERS = {
    **{name: Encoder(name, "none", package="segmentation_models") for name in ("resnet18", "resnet34")},
    **{f"resnet{depth}": Encoder(f"ResNet{depth}", "caffe") for depth in (50, 101, 152)},
    **{f"resnet{depth}v2": Encoder(f"ResNet{depth}V2", "tf") for depth in (50, 101, 152)},
    **{name.lower(): Encoder(name, "tf") for name in ("MobileNet", "MobileNetV2", "Xception")},
    **{f"mobilenetv3{size.lower()}": Encoder(f"MobileNetV3{size}", "tf") for size in ("Small", "Large")},
    **{
        f"convnext{size.lower()}": Encoder(f"ConvNeXt{size}", "torch", taken=".")
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
    **{f"efficientnetb{size}": Encoder(f"EfficientNetB{size}", "torch") for size in range(8)},
    **{
        f"efficientnetlite{size}": Encoder(f"efficientnetlite{size}", "lite", package="lite", taken=_STAGE_ENDS)
        for size in range(3)
    },
    **{f"efficientnetv2b{size}": Encoder(f"EfficientNetV2B{size}", "torch") for size in range(4)},
    **{f"efficientnetv2{size}": Encoder(f"EfficientNetV2{size.upper()}", "tf") for size in "sml"},
    **{f"densenet{depth}": Encoder(f"DenseNet{depth}", "torch") for depth in (121, 169, 201)},
    **{name.lower(): Encoder(name, "caffe") for name in ("VGG16", "VGG19")},
    "inceptionv3": Encoder("InceptionV3", "tf", least_stride=32),
}
_CHECKSUMS = {  # of ImageNet weights, by package
    "keras": _published.KERAS,
    "segmentation_models": _published.SEGMENTATION_MODELS,
    "lite": _published.EFFICIENTNET_LITE,
}
REFUSED = {
    **dict.fromkeys(("nasnetmobile", "nasnetlarge"), "its cells crop their maps, which then have no exact stride"),
    "inceptionresnetv2": "it scales its branches by a layer that is not public in Keras; take inceptionv3",
    **dict.fromkeys(
        [f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)]
        + ["resnext50", "resnext101", "seresnext50", "seresnext101", "senet154"],
        "it has Lambda layers, which are not loaded safely; the family segmentation_models rebuilds it from its config",
    ),
}


# Files of PyTorch's: how each network is named there, by its name here; see `_pytorch_layers`.
_PYTORCH: dict[str, Callable[[Any], list[Naming]]] = {
    **dict.fromkeys(_resnet.BLOCKS, _resnet.namings),
    **{f"efficientnetb{size}": partial(efficientnet_namings, size=size) for size in range(8)},
    **dict.fromkeys([name for name in ENCODERS if name.startswith("mobilenetv3")], mobilenetv3_namings),
    **dict.fromkeys([name for name in ENCODERS if name.startswith("convnext")], convnext_namings),
}
_PYTORCH_LAYERS = "PyTorch, layers only"  # in the place of a file: the same network, initialised at random


@dataclass(frozen=True)
class Maps:
    """by_stride: the map of each stride 2 to 32, of ConvNeXt 4 to 32; deep: what sees most of the image; deep_stride:
    of `deep`; outlines: the map of stride 4 that places them."""

    by_stride: dict[int, Any]
    deep: Any
    deep_stride: int
    outlines: Any


class EncoderFamily(PretrainedFamily):
    """A decoder on any encoder: its name in `ENCODERS`, or hrnet_w<width> of any width, with `_small` the small form.

    `build` takes images of any size and number of bands: they are padded by reflection to multiples of 32, and the
    output is cropped back.
    """

    takes_csmask: ClassVar[bool] = True
    takes_pytorch: ClassVar[tuple[str, ...]] = tuple(_PYTORCH)
    distributions: ClassVar[tuple[str, ...]] = _sm_compat.SEGMENTATION_MODELS  # of ResNet18 and 34
    encoder: str = "resnet50"

    @field_validator("encoder")
    @classmethod
    def _encoder_is_known(cls, name: str) -> str:
        if name in REFUSED:
            raise ValueError(f"{name} cannot be used here: {REFUSED[name]}")
        known = [*ENCODERS, *_hrnet.PUBLISHED]
        if name not in ENCODERS and _hrnet.plan_of(name) is None:
            raise ValueError(f"unknown{nearest(name, known)}. There are: {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _weights_are_published(self) -> Self:
        if self.encoder_weights == "imagenet" and _hrnet.plan_of(self.encoder) is not None:
            raise ValueError(
                f"encoder_weights: no ImageNet weights of {self.encoder} are published for Keras. Set it to none, or "
                "to a .weights.h5 file"
            )
        return self

    def without_pretrained_weights(self) -> Self:
        """The padding of some layers of ukis_csmask's network is its own, and so is that of PyTorch's."""
        if is_of_pytorch(self.encoder_weights):
            return self.model_copy(update={"encoder_weights": _PYTORCH_LAYERS})
        if self.encoder_weights == _csmask.SOURCE:
            return self.model_copy(update={"encoder_weights": _csmask.LAYERS})
        return super().without_pretrained_weights()

    @property
    def published(self) -> str:
        return _CHECKSUMS[ENCODERS[self.encoder].package].get(self.encoder, self.encoder)

    @property
    def input_normalization(self) -> str:
        """Of the encoder and its weights; HRNet, without published weights, takes the usual one."""
        if self.encoder_weights == _csmask.SOURCE:
            return _csmask.SCALING
        if is_of_pytorch(self.encoder_weights):
            return "torch"
        return ENCODERS[self.encoder].normalization if self.encoder in ENCODERS else "torch"

    def _weights_file(self) -> Path | None:
        if self.encoder_weights == "imagenet" and ENCODERS[self.encoder].package == "lite":
            return _efficientnet_lite.weights_file(self.encoder)
        return super()._weights_file()

    @abstractmethod
    def logits(self, image: Any, classes: int) -> Any:
        """Logits (B, h, w, classes), float32, of images (B, h, w, C) whose sides are multiples of 32."""

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        from skyfold.models import _padding

        return _padding.padded_model(
            input_shape,
            partial(self.logits, classes=classes),
            multiple=MULTIPLE,
            name=f"{type(self).__module__.rpartition('.')[2]}_{self.encoder}",
            batchnorm_momentum=self.batchnorm_momentum,
        )


def encoder_maps(image: Any, name: str, *, weights: str, output_stride: int = 32) -> Maps:
    """Apply the encoder `name` to `image` (B, H, W, C), sides multiples of 32, any number of bands.

    weights        imagenet, none, ukis_csmask, a file or a folder; adapted to the bands
    output_stride  of the deepest maps, or the least that the encoder can be built with; of HRNet always 4

    ConfigError where weights cannot be had.
    """
    plan = _hrnet.plan_of(name)
    if plan is not None:
        return _hrnet_maps(image, name, plan, weights)
    from skyfold.models._dilation import maps_by_stride

    stride = max(output_stride, ENCODERS[name].least_stride)
    by_stride, output = maps_by_stride(
        _pretrained(name, image.shape[-1], weights),
        image,
        output_stride=stride,
        with_weights=weights != "none",
        taken=ENCODERS[name].taken,
        both_sides=weights == _PYTORCH_LAYERS or (is_of_pytorch(weights) and not _is_of_tensorflow(weights)),
    )
    return Maps(by_stride, output, stride, by_stride[4])


def hrnet_body(name: str, *, bands: int) -> Any:
    """The keras.Model of an HRNet without a head; its `save_weights` makes the file that `encoder_weights` takes."""
    import keras

    plan = _hrnet.plan_of(name)
    assert plan is not None, name
    image = keras.Input((MULTIPLE, MULTIPLE, bands), name="image")
    by_stride, outlines = _hrnet.maps(image, plan)
    return keras.Model(image, [*by_stride.values(), outlines], name=name)


def _pretrained(name: str, bands: int, weights: str) -> Any:
    if weights in (_csmask.SOURCE, _csmask.LAYERS):
        return _csmask.encoder(bands, learned=weights == _csmask.SOURCE)
    if weights == _PYTORCH_LAYERS or is_of_pytorch(weights):
        return _from_pytorch(name, bands, weights)
    return with_weights(partial(_source, ENCODERS[name]), bands=bands, source=weights, what=name)


def _from_pytorch(name: str, bands: int, weights: str) -> Any:
    """The network `name` as PyTorch's libraries have it, with the weights of a file, or at random."""
    if name in _resnet.BLOCKS:
        network = _resnet.network(name, input_shape=(_SOURCE_SIDE, _SOURCE_SIDE, bands))
    else:
        side = _SOURCE_SIDE if _is_of_tensorflow(weights) else _ODD_SIDE
        network = _source(ENCODERS[name], bands, None, side=side)
    if weights != _PYTORCH_LAYERS:
        file = weights_file(weights, what=name)
        namings = _PYTORCH[name](network)
        if _is_of_tensorflow(weights):
            namings = [replace(naming, epsilon=None) for naming in namings]
        tensors = read_tensors(file, key=WEIGHTS_KEY)
        load_pytorch(network, tensors, namings, file=file, what=name)
    return network


def _is_of_tensorflow(file: str) -> bool:
    """Whether weights were learned in TensorFlow, padding and epsilon those of Keras; timm names them so."""
    return Path(file).name.startswith("tf_")


def _source(encoder: Encoder, bands: int, weights: str | None, *, side: int = _SOURCE_SIDE) -> Any:
    shape = (side, side, bands)
    if encoder.package == "segmentation_models":
        return _sm_compat.segmentation_models_encoder(encoder.constructor, input_shape=shape, weights=weights)
    if encoder.package == "lite":
        network = _efficientnet_lite.network(encoder.constructor, input_shape=shape)
        if weights == "imagenet":
            _efficientnet_lite.load_imagenet(network, encoder.constructor)
        elif weights is not None:
            network.load_weights(weights)
        return network
    import keras

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
        constructor = getattr(keras.applications, encoder.constructor)
        return constructor(include_top=False, weights=weights, input_shape=shape)


def _hrnet_maps(image: Any, name: str, plan: _hrnet.Plan, weights: str) -> Maps:
    def source(bands: int, given: str | None) -> Any:
        body = hrnet_body(name, bands=bands)
        if given is not None:
            body.load_weights(given)
        return body

    learned = None
    if weights != "none":
        body = with_weights(source, bands=image.shape[-1], source=weights, what=name)
        learned = {layer.name: layer.get_weights() for layer in body.layers}
    by_stride, outlines = _hrnet.maps(image, plan, learned=learned)
    return Maps(by_stride, _hrnet.joined(by_stride), 4, outlines)
