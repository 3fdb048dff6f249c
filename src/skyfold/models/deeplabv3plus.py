"""DeepLabV3+ (Chen et al., arXiv:1802.02611) on any encoder, HRNetV2 too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import model_validator

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _blocks, _hrnet
from skyfold.models._encoders import ENCODERS, EncoderFamily, encoder_maps

# Dilations of the pyramid by the stride of the map it looks at: the paper's for 16 and 8. At stride 4 twice those of 8
# would see as far, but reach past small images.
_RATES = {4: (12, 24, 36), 8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


class DeepLabV3Plus(EncoderFamily):
    """output_stride: of the encoder's deepest maps, 8, 16 or 32 as far as the encoder can (None: 16, or what it can; of
    HRNet always 4). rates: dilations of the pyramid, by default as the paper has them for that stride. aspp_separable:
    whether its convolutions are separable. outline_filters: of the map of stride 4, beside the pyramid's `filters`."""

    output_stride: Positive | None = None
    filters: Positive = 256
    outline_filters: Positive = 48
    rates: tuple[Positive, Positive, Positive] | None = None
    aspp_separable: bool = True
    dropout: BelowOne = 0.1

    @model_validator(mode="after")
    def _stride_is_possible(self) -> Self:
        if self.output_stride is not None and self.output_stride not in self._strides:
            raise ValueError(
                f"output_stride: {self.encoder} cannot be built with {self.output_stride}, but with "
                f"{', '.join(map(str, self._strides))}"
            )
        return self

    @property
    def _strides(self) -> tuple[int, ...]:
        return (4,) if _hrnet.plan_of(self.encoder) is not None else ENCODERS[self.encoder].output_strides

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        stride = self.output_stride or (16 if 16 in self._strides else min(self._strides))

        def logits_of(image: Any) -> Any:
            maps = encoder_maps(image, self.encoder, weights=self.encoder_weights, output_stride=stride)
            rates = self.rates or _RATES[stride]
            pyramid = _pyramid(maps.deep, self.filters, rates, separable=self.aspp_separable)
            pyramid = keras.layers.Dropout(self.dropout, name="aspp_dropout")(pyramid)
            outlines = _blocks.conv(maps.outlines, self.outline_filters, 1, name="outlines")
            x = _blocks.enlarged(pyramid, maps.deep_stride // 4, name="aspp_enlarged")
            x = keras.layers.Concatenate(name="decoder_in")([x, outlines])
            x = _blocks.conv(x, self.filters, 3, separable=True, name="decoder1")
            x = _blocks.conv(x, self.filters, 3, separable=True, name="decoder2")
            return _blocks.logits(x, classes, 4)

        return self.network(input_shape, logits_of, name=f"deeplabv3plus_{self.encoder}")


PLUGIN = DeepLabV3Plus


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
