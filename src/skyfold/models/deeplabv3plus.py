"""DeepLabV3+ (Chen et al., arXiv:1802.02611) on any encoder, HRNetV2 too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _hrnet
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._encoders import ENCODERS, MULTIPLE, check_encoder, encoder_maps, encoder_scaling

_DEFAULT_ENCODER = "resnet50"
_OPTIONS = (
    "encoder",
    "encoder_weights",
    "output_stride",
    "filters",
    "outline_filters",
    "rates",
    "aspp_separable",
    "dropout",
    "batchnorm_momentum",
)
# Dilations of the pyramid by the stride of the map it looks at: the paper's for 16 and 8. At stride 4 twice those of 8
# would see as far, but reach past small images.
_RATES = {4: (12, 24, 36), 8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown or refused encoder, an output stride it cannot have, and on any unknown option."""
    _blocks.check_known(options, _OPTIONS, family="deeplabv3plus")
    check_encoder(options, default=_DEFAULT_ENCODER)
    _blocks.check_counts(options, "filters", "outline_filters")
    _blocks.check_count_list(options, "rates", length=3)
    _blocks.check_dropout(options)
    if not isinstance(options.get("aspp_separable", True), bool):
        raise ConfigError(f"model.options.aspp_separable: {options['aspp_separable']!r} is neither true nor false.")
    check_momentum(options.get("batchnorm_momentum"))


def input_normalization(options: Mapping[str, Any]) -> str:
    return encoder_scaling(options, default=_DEFAULT_ENCODER)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    encoder: str = _DEFAULT_ENCODER,
    encoder_weights: str = "imagenet",
    output_stride: int | None = None,
    filters: int = 256,
    outline_filters: int = 48,
    rates: Sequence[int] | None = None,
    aspp_separable: bool = True,
    dropout: float = 0.1,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

    output_stride: of the encoder's deepest maps, 8, 16 or 32 as far as the encoder can (None: 16, or what it can; of
    HRNet always 4). rates: dilations of the pyramid, by default as the paper has them for that stride. aspp_separable:
    whether its convolutions are separable. Sides are mirrored up to multiples of 32, the output is cropped back.
    """
    import keras

    from skyfold.models import _padding

    given = {"encoder": encoder, "encoder_weights": encoder_weights, "output_stride": output_stride}
    check({**given, "filters": filters, "outline_filters": outline_filters, "rates": rates, "dropout": dropout})
    stride = output_stride or _usual_stride(encoder)
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=MULTIPLE)

    def logits_of(image: Any) -> Any:
        maps = encoder_maps(image, encoder, weights=encoder_weights, output_stride=stride)
        pyramid = _pyramid(maps.deep, filters, rates or _RATES[stride], separable=aspp_separable)
        pyramid = keras.layers.Dropout(dropout, name="aspp_dropout")(pyramid)
        outlines = _blocks.conv(maps.outlines, outline_filters, 1, name="outlines")
        x = _blocks.enlarged(pyramid, maps.deep_stride // 4, name="aspp_enlarged")
        x = keras.layers.Concatenate(name="decoder_in")([x, outlines])
        x = _blocks.conv(x, filters, 3, separable=True, name="decoder1")
        x = _blocks.conv(x, filters, 3, separable=True, name="decoder2")
        return _blocks.logits(x, classes, 4)

    image = keras.Input(input_shape, name="image")
    network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name=f"deeplabv3plus_{encoder}")
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network


def _usual_stride(encoder: str) -> int:
    if _hrnet.plan_of(encoder) is not None:
        return 4
    possible = ENCODERS[encoder].output_strides
    return 16 if 16 in possible else min(possible)


def _pyramid(x: Any, filters: int, rates: Sequence[int], *, separable: bool) -> Any:
    """What lies around each pixel at several distances, and in the whole image (ASPP); (B, h, w, filters)."""
    import keras

    parts = [_blocks.conv(x, filters, 1, name="aspp_near")]
    for index, rate in enumerate(rates, start=1):
        parts.append(_blocks.conv(x, filters, 3, dilation=rate, separable=separable, name=f"aspp_far{index}"))
    whole = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)
    whole = _blocks.conv(whole, filters, 1, name="aspp_whole")
    parts.append(keras.layers.UpSampling2D(tuple(x.shape[1:3]), name="aspp_whole_spread")(whole))
    return _blocks.conv(keras.layers.Concatenate(name="aspp_parts")(parts), filters, 1, name="aspp_out")
