"""HRNetV2 for segmentation (Sun et al., arXiv:1904.04514): its maps joined at a quarter of the size, and classified."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from skyfold.config.fields import BelowOne
from skyfold.models import _blocks, _hrnet
from skyfold.models._encoders import EncoderFamily, encoder_maps


class Hrnet(EncoderFamily):
    """encoder: hrnet_w18, w32, w48, any other width, or with `_small` the authors' small form; encoder_weights: none,
    or a file (ImageNet's are not published for Keras, and refused)."""

    encoder: str = "hrnet_w18"
    dropout: BelowOne = 0.0

    @field_validator("encoder")
    @classmethod
    def _encoder_is_known(cls, name: str) -> str:
        if _hrnet.plan_of(name) is None:
            known = ", ".join(_hrnet.PUBLISHED)
            raise ValueError(f"{name} is no HRNet. There are: {known}, and hrnet_w<width> of any other width")
        return name

    def logits(self, image: Any, classes: int) -> Any:
        import keras

        x = encoder_maps(image, self.encoder, weights=self.encoder_weights).deep
        x = _blocks.conv(x, x.shape[-1], 1, name="head")
        x = keras.layers.Dropout(self.dropout, name="head_dropout")(x)
        return _blocks.logits(x, classes, 4)


PLUGIN = Hrnet
