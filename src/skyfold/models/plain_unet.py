"""The U-Net of 2015 with BatchNorm, trained from scratch."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne
from skyfold.models import NetworkFamily, _blocks


class PlainUnet(NetworkFamily):
    """U-Net with its own encoder (see `_blocks.u_net`).

    filters             of the maps at full size, half the size, and so on
    dropout             rate, of the smallest maps
    batchnorm_momentum  None: Keras' own, 0.99
    """

    filters: _blocks.Levels = (64, 128, 256, 512, 1024)
    dropout: BelowOne = 0.0
    batchnorm_momentum: BelowOne | None = None

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        from skyfold.models import _padding

        def convolved(x: Any, count: int, name: str) -> Any:
            x = keras.layers.Conv2D(
                count, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
            )(x)
            x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
            return keras.layers.ReLU(name=f"{name}_relu")(x)

        def logits_of(x: Any) -> Any:
            return _blocks.logits(_blocks.u_net(x, self.filters, convolved, dropout=self.dropout), classes, 1)

        return _padding.padded_model(
            input_shape,
            logits_of,
            multiple=2 ** (len(self.filters) - 1),
            name="plain_unet",
            batchnorm_momentum=self.batchnorm_momentum,
        )


PLUGIN = PlainUnet
