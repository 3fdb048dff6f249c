"""U-Net, FPN, LinkNet and PSPNet on many encoders, from the package segmentation-models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._blocks import check_count_list, check_counts
from skyfold.models._weights import check_source, with_weights
from skyfold.plugins import nearest

_SHARED = {"encoder", "encoder_weights", "decoder", "encoder_freeze", "batchnorm_momentum"}
_UNET = {"decoder_block_type", "decoder_filters", "decoder_use_batchnorm"}
DECODERS = {
    "unet": ("Unet", _UNET),
    "linknet": ("Linknet", _UNET),
    "fpn": ("FPN", {"pyramid_block_filters", "pyramid_use_batchnorm", "pyramid_aggregation", "pyramid_dropout"}),
    "pspnet": (
        "PSPNet",
        {"downsample_factor", "psp_conv_filters", "psp_pooling_type", "psp_use_batchnorm", "psp_dropout"},
    ),
}
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
_LEAST_SIDE = 96  # below it the deepest features of some encoders are smaller than one pixel


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown decoder, encoder or option, with the nearest name; on an encoder known to fail."""
    decoder = str(options.get("decoder", "unet"))
    encoder = str(options.get("encoder", "resnet18"))
    if decoder not in DECODERS:
        raise ConfigError(
            f"model.options.decoder: unknown '{decoder}'{nearest(decoder, list(DECODERS))}. "
            f"There are: {', '.join(DECODERS)}."
        )
    if encoder in REFUSED:
        raise ConfigError(f"model.options.encoder: {encoder} cannot be used: {REFUSED[encoder]}.")
    if encoder not in ENCODERS:
        raise ConfigError(
            f"model.options.encoder: unknown '{encoder}'{nearest(encoder, list(ENCODERS))}. "
            f"There are: {', '.join(ENCODERS)}."
        )
    known = sorted(_SHARED | DECODERS[decoder][1])
    for name in options:
        if name not in known:
            raise ConfigError(
                f"model.options: {decoder} has no option '{name}'{nearest(name, known)}. Known: {', '.join(known)}."
            )
    _check_values(options)
    check_momentum(options.get("batchnorm_momentum"))
    check_source(options.get("encoder_weights", "imagenet"), key="model.options.encoder_weights", what=encoder)


def _check_values(options: Mapping[str, Any]) -> None:
    stated = options.get("decoder_filters")
    if options.get("decoder") == "linknet" and isinstance(stated, list | tuple):
        stated = [1 if width is None else width for width in stated]  # none: as wide as the encoder's own features
    check_count_list({"decoder_filters": stated}, "decoder_filters", length=5)
    check_counts(options, "pyramid_block_filters", "psp_conv_filters")
    choices: dict[str, tuple[object, ...]] = {
        "decoder_block_type": ("upsampling", "transpose"),
        "pyramid_aggregation": ("sum", "concat"),
        "psp_pooling_type": ("avg", "max"),
        "downsample_factor": (4, 8, 16),
        **dict.fromkeys(("encoder_freeze", *(name for name in options if name.endswith("batchnorm"))), (True, False)),
    }
    for name, allowed in choices.items():
        if name in options and options[name] not in allowed:
            listed = ", ".join(str(one).lower() for one in allowed)
            raise ConfigError(f"model.options.{name}: {options[name]!r} is none of {listed}.")
    for name in ("pyramid_dropout", "psp_dropout"):
        value = options.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1):
            raise ConfigError(f"model.options.{name}: {value!r} is not a share between 0 and 1.")


def input_normalization(options: Mapping[str, Any]) -> str:
    return ENCODERS[str(options.get("encoder", "resnet18"))]


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    decoder: str = "unet",
    encoder: str = "resnet18",
    encoder_weights: str = "imagenet",
    batchnorm_momentum: float | None = None,
    **decoder_options: Any,
) -> Any:
    """A keras.Model from (H, W, C), any size and 1 to 8 bands, to logits (H, W, K), float32 under any precision.

    Sides that are not multiples of 32 (PSPNet: six times its `downsample_factor`) are mirrored up to one, and the
    output cropped back. Pretrained weights are adapted to the bands. batchnorm_momentum: how slowly BatchNorm's
    statistics follow (the package's own is 0.99, too slow for a training of a few hundred steps).
    """
    import keras

    from skyfold.models import _padding, _sm_compat

    check({"decoder": decoder, "encoder": encoder, "encoder_weights": encoder_weights, **decoder_options})
    multiple = 6 * int(decoder_options.get("downsample_factor", 8)) if decoder == "pspnet" else 32
    height, width, bands = input_shape
    at_least = _LEAST_SIDE if encoder == "inceptionv3" else 0
    size = _padding.padded_size((height, width), multiple=multiple, at_least=at_least)
    constructor = getattr(_sm_compat.segmentation_models(), DECODERS[decoder][0])
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in decoder_options.items()}

    def network(count: int, weights: str | None) -> Any:
        return constructor(
            encoder,
            input_shape=(*size, count),
            classes=classes,
            activation="linear",
            encoder_weights=weights,
            **options,
        )

    inner = with_weights(
        network,
        bands=bands,
        source=encoder_weights,
        what=encoder,
        key="model.options.encoder_weights",
        encoder=lambda count: _sm_compat.segmentation_models_encoder(encoder, input_shape=(*size, count), weights=None),
    )
    set_batchnorm_momentum(inner, batchnorm_momentum)
    image = keras.Input(input_shape, name="image")
    return keras.Model(image, _padding.in_padded_size(image, _float32_head(inner), size), name=f"{decoder}_{encoder}")


def _float32_head(network: Any) -> Any:
    """`network` with its last layers computed in float32, since 8 bits of mantissa are too few for a logit."""
    import keras

    head = max(index for index, layer in enumerate(network.layers) if layer.weights)
    output = network.layers[head].input
    for layer in network.layers[head:-1]:  # the last one is the linear activation
        output = layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})(output)
    return keras.Model(network.input, output, name=network.name)
