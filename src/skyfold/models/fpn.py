"""A feature pyramid on any encoder (Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv:1901.02446)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.models import _blocks
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._encoders import MULTIPLE, check_encoder, encoder_maps, encoder_scaling

_DEFAULT_ENCODER = "resnet50"
_OPTIONS = ("encoder", "encoder_weights", "pyramid_filters", "filters", "dropout", "batchnorm_momentum")


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown or refused encoder, and on any unknown option."""
    _blocks.check_known(options, _OPTIONS, family="fpn")
    check_encoder(options, default=_DEFAULT_ENCODER)
    _blocks.check_counts(options, "pyramid_filters", "filters")
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
    pyramid_filters: int = 256,
    filters: int = 128,
    dropout: float = 0.0,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

    pyramid_filters: of the maps handed down from coarse to fine; filters: of each level before they are joined at
    stride 4. Sides are mirrored up to multiples of 32, the output is cropped back.
    """
    import keras

    from skyfold.models import _padding

    given = {"encoder": encoder, "encoder_weights": encoder_weights, "dropout": dropout}
    check({**given, "pyramid_filters": pyramid_filters, "filters": filters})
    height, width, _ = input_shape
    size = _padding.padded_size((height, width), multiple=MULTIPLE)

    def logits_of(image: Any) -> Any:
        maps = encoder_maps(image, encoder, weights=encoder_weights).by_stride
        handed_down, levels = None, []
        for stride in (32, 16, 8, 4):
            level = keras.layers.Conv2D(pyramid_filters, 1, name=f"lateral{stride}")(maps[stride])
            if handed_down is not None:
                coarser = keras.layers.UpSampling2D(2, name=f"handed_down{stride}")(handed_down)
                level = keras.layers.Add(name=f"pyramid{stride}")([level, coarser])
            handed_down = level
            level = _blocks.conv(level, filters, 3, name=f"level{stride}_a")
            level = _blocks.conv(level, filters, 3, name=f"level{stride}_b")
            levels.append(_blocks.enlarged(level, stride // 4, name=f"level{stride}_enlarged"))
        x = keras.layers.Concatenate(name="levels")(levels)
        x = keras.layers.Dropout(dropout, name="levels_dropout")(x)
        x = _blocks.conv(x, filters, 3, name="joined")
        return _blocks.logits(x, classes, 4)

    image = keras.Input(input_shape, name="image")
    network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name=f"fpn_{encoder}")
    set_batchnorm_momentum(network, batchnorm_momentum)
    return network
