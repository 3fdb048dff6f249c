"""RainNet (Ayzel, Scheffer and Heistermann 2020): a U-Net of four poolings from frames to the next one.

The published network (doi.org/10.5194/gmd-13-2631-2020) says rain itself. Here by default it corrects the last frame,
and its layer of two maps is leaky, since with two that can both fall silent some seeds would never learn.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import _frames

_POOLINGS = 4
_LEAKY_SLOPE = 0.1


class RainNet(_frames.RainFamily):
    """width: filters at full size, doubled at each of four poolings; 64 is the published network. dropout: of the two
    deepest levels. upsampling: nearest pixels, or learned (transposed convolutions, with a sixth more weights)."""

    name: ClassVar[str] = "rainnet"
    width: Positive = 64
    dropout: BelowOne = 0.5
    upsampling: Literal["nearest", "transposed"] = "nearest"

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        self.count_frames(input_shape[-1])
        filters = [self.width * 2**level for level in range(_POOLINGS + 1)]

        def twice_convolved(x: Any, count: int, name: str) -> Any:
            for part in ("a", "b"):
                x = keras.layers.Conv2D(
                    count, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_{part}"
                )(x)
            return x

        def enlarged(x: Any, name: str) -> Any:
            if self.upsampling == "nearest":
                return keras.layers.UpSampling2D(name=name)(x)
            return keras.layers.Conv2DTranspose(x.shape[-1], 2, strides=2, name=name)(x)

        def rain_of(x: Any) -> Any:
            maps = []
            for level, count in enumerate(filters[:-1]):
                x = twice_convolved(x, count, f"down{level}")
                maps.append(x)
                if level == _POOLINGS - 1:
                    x = keras.layers.Dropout(self.dropout, name=f"down{level}_dropout")(x)
                x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(x)
            x = twice_convolved(x, filters[-1], "bottom")
            x = keras.layers.Dropout(self.dropout, name="bottom_dropout")(x)
            for level in reversed(range(_POOLINGS)):
                x = keras.layers.Concatenate(name=f"up{level}_joined")(
                    [enlarged(x, f"up{level}_enlarged"), maps[level]]
                )
                x = twice_convolved(x, filters[level], f"up{level}")
            x = keras.layers.Conv2D(2 * classes, 3, padding="same", kernel_initializer="he_normal", name="two")(x)
            x = keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name="two_leaky")(x)
            return _frames.last_layer(classes, residual=self.residual)(x)

        return self.network(input_shape, rain_of, multiple=2**_POOLINGS)


PLUGIN = RainNet
