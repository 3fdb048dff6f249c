"""A feature pyramid on any encoder (Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv:1901.02446)."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _blocks
from skyfold.models._encoders import EncoderFamily, encoder_maps


class FeaturePyramid(EncoderFamily):
    """pyramid_filters: of the maps handed down from coarse to fine; filters: of each level before they are joined at
    stride 4; dropout: of the joined levels."""

    pyramid_filters: Positive = 256
    filters: Positive = 128
    dropout: BelowOne = 0.0

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        def logits_of(image: Any) -> Any:
            maps = encoder_maps(image, self.encoder, weights=self.encoder_weights).by_stride
            handed_down, levels = None, []
            for stride in (32, 16, 8, 4):
                level = keras.layers.Conv2D(self.pyramid_filters, 1, name=f"lateral{stride}")(maps[stride])
                if handed_down is not None:
                    coarser = keras.layers.UpSampling2D(2, name=f"handed_down{stride}")(handed_down)
                    level = keras.layers.Add(name=f"pyramid{stride}")([level, coarser])
                handed_down = level
                level = _blocks.conv(level, self.filters, 3, name=f"level{stride}_a")
                level = _blocks.conv(level, self.filters, 3, name=f"level{stride}_b")
                levels.append(_blocks.enlarged(level, stride // 4, name=f"level{stride}_enlarged"))
            x = keras.layers.Concatenate(name="levels")(levels)
            x = keras.layers.Dropout(self.dropout, name="levels_dropout")(x)
            x = _blocks.conv(x, self.filters, 3, name="joined")
            return _blocks.logits(x, classes, 4)

        return self.network(input_shape, logits_of, name=f"fpn_{self.encoder}")


PLUGIN = FeaturePyramid
