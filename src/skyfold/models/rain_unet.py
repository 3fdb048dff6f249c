"""A small U-Net that corrects extrapolated rain.

It reads frames advected to the time of the forecast (`forecasting.motion`), so that what is left to
learn is growth and decay. All values are on the logarithmic scale of `forecasting.rain_units.log_rain`.
"""

from __future__ import annotations

from typing import Any

from skyfold.models import NetworkFamily, _blocks, _frames


class RainUnet(NetworkFamily):
    """filters: of the maps at full size, half the size, and so on."""

    filters: _blocks.Levels = (28, 56, 84)

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from advected frames (H, W, T), oldest first, to (H, W, L) for L = `classes`, float32.

        The output is the last frame plus a correction that is 0 before training; values below 0 are no rain.
        """
        import keras

        def convolved(x: Any, count: int, name: str) -> Any:
            x = keras.layers.Conv2D(count, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
            return keras.layers.LeakyReLU(negative_slope=0.1, name=f"{name}_leaky")(x)

        def correction_of(x: Any) -> Any:
            return _frames.correction(classes, name="correction")(_blocks.u_net(x, self.filters, convolved))

        multiple = 2 ** (len(self.filters) - 1)
        return _frames.correcting_model(input_shape, correction_of, multiple=multiple, name="rain_unet")


PLUGIN = RainUnet
