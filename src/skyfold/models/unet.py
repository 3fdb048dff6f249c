"""U-Net decoder on any encoder: upsampling by two, joined with the encoder's map of the same size, if it has one."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _blocks
from skyfold.models._encoders import EncoderFamily, encoder_maps


class Unet(EncoderFamily):
    """decoder_filters: at strides 16, 8, 4, 2 and 1; dropout: of the deepest maps."""

    decoder_filters: tuple[Positive, Positive, Positive, Positive, Positive] = (256, 128, 64, 32, 16)
    dropout: BelowOne = 0.0

    def logits(self, image: Any, classes: int) -> Any:
        import keras

        maps = encoder_maps(image, self.encoder, weights=self.encoder_weights).by_stride
        x = keras.layers.Dropout(self.dropout, name="deepest_dropout")(maps[32])
        for filters, stride in zip(self.decoder_filters, (16, 8, 4, 2, 1), strict=True):
            x = keras.layers.UpSampling2D(2, name=f"decoder{stride}_up")(x)
            if stride in maps:
                x = keras.layers.Concatenate(name=f"decoder{stride}_in")([x, maps[stride]])
            x = _blocks.conv(x, filters, 3, name=f"decoder{stride}_a")
            x = _blocks.conv(x, filters, 3, name=f"decoder{stride}_b")
        return _blocks.logits(x, classes, 1, kernel=3)


PLUGIN = Unet
