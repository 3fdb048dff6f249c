"""The U-Net of 2015 with BatchNorm: an encoder of its own, trained from scratch."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne
from skyfold.models import NetworkFamily
from skyfold.models._batchnorm import set_batchnorm_momentum
from skyfold.models._blocks import Levels


class PlainUnet(NetworkFamily):
    """filters: of the maps at full size, half the size, and so on; dropout: of the smallest maps."""

    filters: Levels = (64, 128, 256, 512, 1024)
    dropout: BelowOne = 0.0
    batchnorm_momentum: BelowOne | None = None

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

        Sides that cannot be halved so often are mirrored up to such a number, and the output cropped back.
        """
        import keras

        from skyfold.models import _padding

        size = _padding.padded_size(input_shape[:2], multiple=2 ** (len(self.filters) - 1))

        def twice_convolved(x: Any, count: int, name: str) -> Any:
            for part in ("a", "b"):
                x = keras.layers.Conv2D(
                    count, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_{part}"
                )(x)
                x = keras.layers.BatchNormalization(name=f"{name}_{part}_norm")(x)
                x = keras.layers.ReLU(name=f"{name}_{part}_relu")(x)
            return x

        def logits_of(x: Any) -> Any:
            maps = []
            for level, count in enumerate(self.filters[:-1]):
                maps.append(twice_convolved(x, count, f"down{level}"))
                x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(maps[-1])
            x = twice_convolved(x, self.filters[-1], "bottom")
            x = keras.layers.Dropout(self.dropout, name="bottom_dropout")(x)
            for level, count in reversed(list(enumerate(self.filters[:-1]))):
                x = keras.layers.Conv2DTranspose(count, 2, strides=2, name=f"up{level}")(x)
                x = keras.layers.Concatenate(name=f"up{level}_joined")([maps[level], x])
                x = twice_convolved(x, count, f"up{level}")
            return keras.layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)

        image = keras.Input(input_shape, name="image")
        network = keras.Model(image, _padding.in_padded_size(image, logits_of, size), name="plain_unet")
        set_batchnorm_momentum(network, self.batchnorm_momentum)
        return network


PLUGIN = PlainUnet
