"""Encoders by name, wherever they come from: each turns an image into maps of 1/2, 1/4, ... 1/32 of its size.

From `keras.applications`, from segmentation-models (ResNet18 and 34), and HRNetV2. `hrnet_w<width>` takes any width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import field_validator, model_validator

from skyfold.models import _csmask, _hrnet
from skyfold.models._batchnorm import set_batchnorm_momentum
from skyfold.models._weights import PretrainedFamily, with_weights
from skyfold.plugins import nearest

MULTIPLE = 32  # of an image's sides, so that every map is a whole number of pixels
_SOURCE_SIDE = 224  # at which a network is made whose layers are then applied to images of any size
_ANY_STRIDE = (8, 16, 32)


@dataclass(frozen=True)
class Encoder:
    """constructor: in keras.applications, or the name in segmentation-models; normalization: of images, which its
    ImageNet weights were made with (data/normalization.py); output_strides: those it can be built with, by dilation."""

    constructor: str
    normalization: str
    output_strides: tuple[int, ...]
    package: str = "keras"


ENCODERS = {
    "resnet18": Encoder("resnet18", "none", _ANY_STRIDE, "segmentation_models"),
    "resnet34": Encoder("resnet34", "none", _ANY_STRIDE, "segmentation_models"),
    **{f"resnet{depth}": Encoder(f"ResNet{depth}", "caffe", _ANY_STRIDE) for depth in (50, 101, 152)},
    **{f"resnet{depth}v2": Encoder(f"ResNet{depth}V2", "tf", _ANY_STRIDE) for depth in (50, 101, 152)},
    "mobilenet": Encoder("MobileNet", "tf", _ANY_STRIDE),
    "mobilenetv2": Encoder("MobileNetV2", "tf", _ANY_STRIDE),
    **{f"efficientnetb{size}": Encoder(f"EfficientNetB{size}", "torch", _ANY_STRIDE) for size in range(8)},
    **{f"efficientnetv2b{size}": Encoder(f"EfficientNetV2B{size}", "torch", _ANY_STRIDE) for size in range(4)},
    **{f"efficientnetv2{size}": Encoder(f"EfficientNetV2{size.upper()}", "tf", _ANY_STRIDE) for size in "sml"},
    **{f"densenet{depth}": Encoder(f"DenseNet{depth}", "torch", (16, 32)) for depth in (121, 169, 201)},
    "xception": Encoder("Xception", "tf", (16, 32)),
    "vgg16": Encoder("VGG16", "caffe", (16, 32)),
    "vgg19": Encoder("VGG19", "caffe", (16, 32)),
    "inceptionv3": Encoder("InceptionV3", "tf", (32,)),
}
REFUSED = {
    **dict.fromkeys(
        ("convnexttiny", "convnextsmall", "convnextbase", "convnextlarge", "convnextxlarge"),
        "its first map has stride 4, and decoders need one of stride 2",
    ),
    **dict.fromkeys(
        ("mobilenetv3small", "mobilenetv3large"),
        "part of its arithmetic is no layer, so that it cannot be rebuilt with exact strides; take mobilenetv2",
    ),
    **dict.fromkeys(("nasnetmobile", "nasnetlarge"), "its cells crop their maps, which then have no exact stride"),
    "inceptionresnetv2": "it scales its branches by a layer that is not public in Keras; take inceptionv3",
    **dict.fromkeys(
        [f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)]
        + ["resnext50", "resnext101", "seresnext50", "seresnext101", "senet154"],
        "it has Lambda layers, which are not loaded safely; the family segmentation_models rebuilds it from its config",
    ),
}


@dataclass(frozen=True)
class Maps:
    """by_stride: the map of each stride 2 to 32; deep: what sees most of the image; deep_stride: of `deep`; outlines:
    the map of stride 4 that places them."""

    by_stride: dict[int, Any]
    deep: Any
    deep_stride: int
    outlines: Any


class EncoderFamily(PretrainedFamily):
    """A decoder on any encoder: its name in `ENCODERS`, or hrnet_w<width> of any width, with `_small` the small form.

    Its `build` takes images of any size and number of bands, mirrored up to sides that are multiples of 32; the output
    is cropped back.
    """

    takes_csmask: ClassVar[bool] = True
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

    @property
    def input_normalization(self) -> str:
        """Of the encoder and its weights; HRNet, without published weights, takes the usual one."""
        if self.encoder_weights == _csmask.SOURCE:
            return _csmask.SCALING
        return ENCODERS[self.encoder].normalization if self.encoder in ENCODERS else "torch"

    def network(self, input_shape: tuple[int, int, int], logits_of: Callable[[Any], Any], *, name: str) -> Any:
        """The keras.Model of `logits_of`, which takes images with sides that are multiples of 32."""
        import keras

        from skyfold.models import _padding

        image = keras.Input(input_shape, name="image")
        size = _padding.padded_size(input_shape[:2], multiple=MULTIPLE)
        network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name=name)
        set_batchnorm_momentum(network, self.batchnorm_momentum)
        return network


def encoder_maps(image: Any, name: str, *, weights: str, output_stride: int | None = None) -> Maps:
    """Apply the encoder to `image` (B, H, W, C), sides multiples of 32, any number of bands.

    weights: imagenet, none, ukis_csmask, a file or a folder; adapted to the bands. output_stride: of the deepest maps;
    None: 32 (of HRNet: always 4). ConfigError where weights cannot be had.
    """
    plan = _hrnet.plan_of(name)
    if plan is not None:
        return _hrnet_maps(image, name, plan, weights)
    from skyfold.models._dilation import maps_by_stride

    source = _with_weights(name, bands=image.shape[-1], weights=weights)
    stride = output_stride or 32
    by_stride = maps_by_stride(source, image, output_stride=stride, with_weights=weights != "none")
    return Maps(by_stride, by_stride[32], stride, by_stride[4])


def hrnet_body(name: str, *, bands: int) -> Any:
    """The keras.Model of an HRNet without a head; its `save_weights` makes the file that `encoder_weights` takes."""
    import keras

    plan = _hrnet.plan_of(name)
    assert plan is not None, name
    image = keras.Input((MULTIPLE, MULTIPLE, bands), name="image")
    by_stride, outlines = _hrnet.maps(image, plan)
    return keras.Model(image, [*by_stride.values(), outlines], name=name)


def _with_weights(name: str, *, bands: int, weights: str) -> Any:
    if weights == _csmask.SOURCE:
        return _csmask.encoder(bands)
    return with_weights(
        lambda count, given: _source(ENCODERS[name], count, given),
        bands=bands,
        source=weights,
        what=name,
    )


def _source(encoder: Encoder, bands: int, weights: str | None) -> Any:
    shape = (_SOURCE_SIDE, _SOURCE_SIDE, bands)
    if encoder.package == "segmentation_models":
        from skyfold.models import _sm_compat

        return _sm_compat.segmentation_models_encoder(encoder.constructor, input_shape=shape, weights=weights)
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
