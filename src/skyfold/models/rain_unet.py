"""A small U-Net that corrects extrapolated rain: it sees the frames carried to that time, and says what differs.

Motion is dealt with before (`motion.semi_lagrangian.carried`); what is left to learn is growth, decay and doubt. All is
on the logarithmic scale of `data.rain_units.log_rain`. Untrained it is the extrapolation itself.
"""

from __future__ import annotations

from typing import Any

from skyfold.models import NetworkFamily
from skyfold.models._blocks import Levels


class RainUnet(NetworkFamily):
    """filters: of the maps at full size, half the size, and so on."""

    filters: Levels = (28, 56, 84)

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from carried frames (H, W, T), oldest first, on the logarithmic scale, to (H, W, L), float32.

        Its output is the last carried frame plus a correction that begins at 0; values below 0 are no rain. Sides that
        cannot be halved so often are mirrored up to such a number.
        """
        import keras

        from skyfold.models import _padding

        size = _padding.padded_size(input_shape[:2], multiple=2 ** (len(self.filters) - 1))

        def twice_convolved(x: Any, count: int, name: str) -> Any:
            for part in ("a", "b"):
                conv = keras.layers.Conv2D(
                    count, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_{part}"
                )
                x = keras.layers.LeakyReLU(negative_slope=0.1, name=f"{name}_{part}_leaky")(conv(x))
            return x

        def correction_of(x: Any) -> Any:
            maps = []
            for level, count in enumerate(self.filters[:-1]):
                maps.append(twice_convolved(x, count, f"down{level}"))
                x = keras.layers.MaxPooling2D(name=f"down{level}_pooled")(maps[-1])
            x = twice_convolved(x, self.filters[-1], "bottom")
            for level, count in reversed(list(enumerate(self.filters[:-1]))):
                x = keras.layers.Conv2DTranspose(count, 2, strides=2, name=f"up{level}")(x)
                x = keras.layers.Concatenate(name=f"up{level}_joined")([maps[level], x])
                x = twice_convolved(x, count, f"up{level}")
            return keras.layers.Conv2D(classes, 1, kernel_initializer="zeros", dtype="float32", name="correction")(x)

        frames = keras.Input(input_shape, name="carried")
        correction = _padding.in_padded_size(frames, correction_of, size)
        return keras.Model(frames, keras.ops.cast(frames[..., -1:], "float32") + correction, name="rain_unet")


PLUGIN = RainUnet
