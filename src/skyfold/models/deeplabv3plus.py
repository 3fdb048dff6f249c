"""DeepLabV3+ (Chen et al., arXiv:1802.02611) on any encoder, HRNetV2 too."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _blocks
from skyfold.models._encoders import EncoderFamily, Maps, encoder_maps

# Dilation rates of the ASPP by the stride of its map: the paper's for 16. At stride 4 (HRNet) those for 8, since rates
# that see as far would reach past small images.
_RATES = {4: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


class DeepLabV3Plus(EncoderFamily):
    """The encoder's deepest maps have stride 16, or the least it can (InceptionV3: 32, HRNet: 4).

    filters          of the ASPP and the decoder
    outline_filters  of the low-level features, of stride 4, that the decoder joins
    aspp_separable   whether the ASPP's convolutions are depthwise separable
    dropout          rate, of the output of the ASPP
    """

    filters: Positive = 256
    outline_filters: Positive = 48
    aspp_separable: bool = True
    dropout: BelowOne = 0.1

    def logits(self, image: Any, classes: int) -> Any:
        import keras

        maps = encoder_maps(image, self.encoder, weights=self.encoder_weights, output_stride=16)
        x = self._aspp(maps)
        x = keras.layers.Dropout(self.dropout, name="aspp_dropout")(x)
        outlines = _blocks.conv(maps.outlines, self.outline_filters, 1, name="outlines")
        x = _blocks.upsampled(x, maps.deep_stride // 4, name="aspp_enlarged")
        x = keras.layers.Concatenate(name="decoder_in")([x, outlines])
        x = _blocks.conv(x, self.filters, 3, separable=True, name="decoder1")
        x = _blocks.conv(x, self.filters, 3, separable=True, name="decoder2")
        return _blocks.logits(x, classes, 4)

    def _aspp(self, maps: Maps) -> Any:
        """Atrous spatial pyramid pooling: each pixel's surroundings at several distances, and the mean of the image."""
        import keras

        x, filters = maps.deep, self.filters
        parts = [_blocks.conv(x, filters, 1, name="aspp_near")]
        for index, rate in enumerate(_RATES[maps.deep_stride], start=1):
            name, separable = f"aspp_far{index}", self.aspp_separable
            parts.append(_blocks.conv(x, filters, 3, dilation=rate, separable=separable, name=name))
        whole = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)
        whole = _blocks.conv(whole, filters, 1, name="aspp_whole")
        parts.append(keras.layers.UpSampling2D(tuple(x.shape[1:3]), name="aspp_whole_spread")(whole))
        return _blocks.conv(keras.layers.Concatenate(name="aspp_parts")(parts), filters, 1, name="aspp_out")


PLUGIN = DeepLabV3Plus
