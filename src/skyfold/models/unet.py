"""U-Net's decoder on any encoder: twice the size at each step, joined with the encoder's map of that size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.models import _blocks
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._encoders import MULTIPLE, check_encoder, encoder_maps, encoder_scaling

_DEFAULT_ENCODER = "resnet50"
_OPTIONS = ("encoder", "encoder_weights", "decoder_filters", "dropout", "batchnorm_momentum")


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown or refused encoder, and on any unknown option."""
    _blocks.check_known(options, _OPTIONS, family="unet")
    check_encoder(options, default=_DEFAULT_ENCODER)
    _blocks.check_count_list(options, "decoder_filters", length=5)
    _blocks.check_dropout(options)
    check_momentum(options.get("batchnorm_momentum"))


def input_normalization(options: Mapping[str, Any]) -> str:
    return encoder_scaling(options, default=_DEFAULT_ENCODER)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    encoder: str = _DEFAULT_ENCODER,
    encoder_weights: str = "imagenet",
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    dropout: float = 0.0,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

    decoder_filters: at strides 16, 8, 4, 2 and 1. Sides are mirrored up to multiples of 32, the output cropped back.
    """
    import keras

    from skyfold.models import _padding

    check({"encoder": encoder, "encoder_weights": encoder_weights, "decoder_filters": decoder_filters})
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=MULTIPLE)

    def logits_of(image: Any) -> Any:
        maps = encoder_maps(image, encoder, weights=encoder_weights).by_stride
        x = keras.layers.Dropout(dropout, name="deepest_dropout")(maps[32])
        for filters, stride in zip(decoder_filters, (16, 8, 4, 2, 1), strict=True):
            x = keras.layers.UpSampling2D(2, name=f"decoder{stride}_up")(x)
            if stride > 1:
                x = keras.layers.Concatenate(name=f"decoder{stride}_in")([x, maps[stride]])
            x = _blocks.conv(x, filters, 3, name=f"decoder{stride}_a")
            x = _blocks.conv(x, filters, 3, name=f"decoder{stride}_b")
        return _blocks.logits(x, classes, 1, kernel=3)

    image = keras.Input(input_shape, name="image")
    network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name=f"unet_{encoder}")
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network
