"""U-Net, FPN, LinkNet and PSPNet on many encoders, from the package segmentation-models."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from skyfold.config.fields import BelowOne, Positive
from skyfold.config.options import one_of
from skyfold.models import _published, _sm_compat
from skyfold.models._encoder_layers import mark_encoder
from skyfold.models._weights import PretrainedFamily, with_weights
from skyfold.plugins import nearest

_UNET = {"encoder_freeze", "decoder_block_type", "decoder_filters", "decoder_use_batchnorm"}
_FPN = {"encoder_freeze", "pyramid_block_filters", "pyramid_use_batchnorm", "pyramid_aggregation", "pyramid_dropout"}
_PSPNET = {
    *("encoder_freeze", "downsample_factor", "psp_conv_filters", "psp_pooling_type", "psp_use_batchnorm"),
    "psp_dropout",
}
DECODERS = {"unet": ("Unet", _UNET), "linknet": ("Linknet", _UNET), "fpn": ("FPN", _FPN), "pspnet": ("PSPNet", _PSPNET)}
# The scaling that an encoder's ImageNet weights were made with.
ENCODERS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), "none"),
    **dict.fromkeys(("resnext50", "resnext101", "seresnet18", "seresnet34"), "none"),
    **dict.fromkeys(("seresnet50", "seresnet101", "seresnet152"), "torch"),
    **dict.fromkeys(("seresnext50", "seresnext101", "senet154"), "torch"),
    **dict.fromkeys(("vgg16", "vgg19"), "caffe"),
    **dict.fromkeys(("inceptionv3", "inceptionresnetv2", "mobilenet", "mobilenetv2"), "tf"),
    **{f"efficientnetb{size}": "torch" for size in range(8)},
}
REFUSED = dict.fromkeys(
    ("densenet121", "densenet169", "densenet201"), "its layer names contain '/', which Keras 3 does not accept"
)
# How the names of the decoders' layers begin.
_OF_DECODERS = ("aggregation", "center_block", "decoder_", "final_", "fpn_", "head_", "psp_", "segm_")
_LEAST_SIDE = 96  # below it the deepest features of some encoders are smaller than one pixel


class SegmentationModels(PretrainedFamily):
    """The options of the package itself, each for the decoders that have it; what a config leaves out is left to it.

    decoder_filters: five, of LinkNet also null, as wide as the encoder's own features.
    """

    distributions: ClassVar[tuple[str, ...]] = _sm_compat.SEGMENTATION_MODELS
    decoder: Literal["unet", "linknet", "fpn", "pspnet"] = "unet"
    encoder: Annotated[str, one_of(ENCODERS, refused=REFUSED)] = "resnet18"
    encoder_freeze: bool = False
    decoder_block_type: Literal["upsampling", "transpose"] = "upsampling"
    decoder_filters: Annotated[tuple[Positive | None, ...], Field(min_length=5, max_length=5)] | None = None
    decoder_use_batchnorm: bool = True
    pyramid_block_filters: Positive = 256
    pyramid_use_batchnorm: bool = True
    pyramid_aggregation: Literal["sum", "concat"] = "concat"
    pyramid_dropout: BelowOne | None = None
    downsample_factor: Literal[4, 8, 16] = 8
    psp_conv_filters: Positive = 512
    psp_pooling_type: Literal["avg", "max"] = "avg"
    psp_use_batchnorm: bool = True
    psp_dropout: BelowOne | None = None

    @model_validator(mode="after")
    def _options_fit_decoder(self) -> Self:
        own = {*PretrainedFamily.model_fields, "decoder", *DECODERS[self.decoder][1]}
        for name in self.model_fields_set - own:
            known = sorted(own)
            raise ValueError(
                f"{name}: {self.decoder} has no such option{nearest(name, known)}. Known: {', '.join(known)}"
            )
        if self.decoder != "linknet" and None in (self.decoder_filters or ()):
            raise ValueError("decoder_filters: expected five whole numbers from 1; null is for decoder: linknet")
        return self

    @property
    def published(self) -> str:
        return _published.SEGMENTATION_MODELS.get(self.encoder, self.encoder)

    @property
    def input_normalization(self) -> str:
        return ENCODERS[self.encoder]

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size and 1 to 8 bands, to logits (H, W, K), float32 under any precision.

        Sides that are not multiples of 32 (PSPNet: six times its `downsample_factor`) are mirrored up to one, and the
        output cropped back. Pretrained weights are adapted to the bands.
        """
        from skyfold.models import _padding

        multiple = 6 * self.downsample_factor if self.decoder == "pspnet" else 32
        height, width, bands = input_shape
        at_least = _LEAST_SIDE if self.encoder == "inceptionv3" else 0
        size = _padding.padded_size((height, width), multiple=multiple, at_least=at_least)
        constructor_name, own = DECODERS[self.decoder]
        constructor = getattr(_sm_compat.segmentation_models(), constructor_name)

        def network(count: int, weights: str | None) -> Any:
            return constructor(
                self.encoder,
                input_shape=(*size, count),
                classes=classes,
                activation="linear",
                encoder_weights=weights,
                **self.model_dump(include=own, exclude_unset=True),
            )

        def encoder(count: int) -> Any:
            return _sm_compat.segmentation_models_encoder(self.encoder, input_shape=(*size, count), weights=None)

        inner = with_weights(network, bands=bands, source=self.encoder_weights, what=self.encoder, encoder=encoder)
        mark_encoder(layer for layer in inner.layers if not layer.name.startswith(_OF_DECODERS))
        _padding.set_batchnorm_momentum(inner, self.batchnorm_momentum)
        name = f"{self.decoder}_{self.encoder}"
        return _padding.padded_model(input_shape, _float32_head(inner), size=size, name=name)


PLUGIN = SegmentationModels


def _float32_head(network: Any) -> Any:
    """`network` with its last layers computed in float32, since 8 bits of mantissa are too few for a logit."""
    import keras

    head = max(index for index, layer in enumerate(network.layers) if layer.weights)
    output = network.layers[head].input
    for layer in network.layers[head:-1]:  # the last one is the linear activation
        output = layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})(output)
    return keras.Model(network.input, output, name=network.name)
