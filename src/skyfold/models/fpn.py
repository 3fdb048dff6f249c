"""A feature pyramid on any encoder (Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv:1901.02446)."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _blocks
from skyfold.models._encoders import EncoderFamily, encoder_maps


class FeaturePyramid(EncoderFamily):
    """pyramid_filters: of the maps added from coarse to fine; filters: of each level before they are joined at stride
    4; dropout: rate, of the joined levels."""

    pyramid_filters: Positive = 256
    filters: Positive = 128
    dropout: BelowOne = 0.0

    def logits(self, image: Any, classes: int) -> Any:
        import keras

        maps = encoder_maps(image, self.encoder, weights=self.encoder_weights).by_stride
        coarser, levels = None, []
        for stride in (32, 16, 8, 4):
            level = keras.layers.Conv2D(self.pyramid_filters, 1, name=f"lateral{stride}")(maps[stride])
            if coarser is not None:
                coarser = keras.layers.UpSampling2D(2, name=f"handed_down{stride}")(coarser)
                level = keras.layers.Add(name=f"pyramid{stride}")([level, coarser])
            coarser = level
            level = _blocks.conv(level, self.filters, 3, name=f"level{stride}_a")
            level = _blocks.conv(level, self.filters, 3, name=f"level{stride}_b")
            levels.append(_blocks.upsampled(level, stride // 4, name=f"level{stride}_enlarged"))
        x = keras.layers.Concatenate(name="levels")(levels)
        x = keras.layers.Dropout(self.dropout, name="levels_dropout")(x)
        x = _blocks.conv(x, self.filters, 3, name="joined")
        return _blocks.logits(x, classes, 4)


PLUGIN = FeaturePyramid
