"""HRNetV2 for segmentation (Sun et al., arXiv:1904.04514): its maps joined at a quarter of the size, and classified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _hrnet
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._encoders import MULTIPLE, check_encoder, encoder_maps, encoder_scaling

_DEFAULT_ENCODER = "hrnet_w18"
_OPTIONS = ("encoder", "encoder_weights", "dropout", "batchnorm_momentum")


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an encoder that is no HRNet, and on any unknown option."""
    _blocks.check_known(options, _OPTIONS, family="hrnet")
    encoder = str(options.get("encoder", _DEFAULT_ENCODER))
    if _hrnet.plan_of(encoder) is None:
        raise ConfigError(
            f"model.options.encoder: {encoder} is no HRNet. There are: {', '.join(_hrnet.PUBLISHED)}, and "
            "hrnet_w<width> of any other width."
        )
    check_encoder(options, default=_DEFAULT_ENCODER)
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
    dropout: float = 0.0,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

    encoder: hrnet_w18, w32, w48, any other width, or with `_small` the authors' small form. encoder_weights: none, or
    a file (ImageNet's are not published for Keras, and refused). Sides are mirrored up to multiples of 32, the output
    is cropped back.
    """
    import keras

    from skyfold.models import _padding

    check({"encoder": encoder, "encoder_weights": encoder_weights, "dropout": dropout})
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=MULTIPLE)

    def logits_of(image: Any) -> Any:
        x = encoder_maps(image, encoder, weights=encoder_weights).deep
        x = _blocks.conv(x, x.shape[-1], 1, name="head")
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
        return _blocks.logits(x, classes, 4)

    image = keras.Input(input_shape, name="image")
    network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name=encoder)
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network
