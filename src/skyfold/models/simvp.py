"""SimVP (Gao et al. 2022, arXiv:2206.05099): convolutions only; frames are encoded and decoded one by one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from skyfold.config.fields import Positive
from skyfold.models import NetworkFamily, _frames

KERNELS = (3, 5, 7)
_LEAKY_SLOPE = 0.2
_Even = Annotated[Positive, Field(multiple_of=2)]


class SimVP(NetworkFamily):
    """The encoder reads each frame with `spatial_layers` convolutions, every second of which halves it. The translator
    sees the maps of all frames as one image: `temporal_blocks` Inception blocks down and as many up, with skip
    connections; each has convolutions of 3, 5 and 7 pixels. The decoder writes each lead time; to its last layer go the
    maps of the last frame after the encoder's first.
    """

    spatial_filters: _Even = 16
    spatial_layers: Positive = 4
    temporal_filters: _Even = 64
    temporal_blocks: Positive = 3

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras
        from keras import ops

        steps = input_shape[-1]
        strides = [2 if layer % 2 else 1 for layer in range(self.spatial_layers)]

        def normed(x: Any, groups: int, name: str) -> Any:
            x = keras.layers.GroupNormalization(groups, name=f"{name}_norm")(x)
            return keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name=f"{name}_leaky")(x)

        def spatial(kind: Any, x: Any, layer: int, name: str) -> Any:
            conv = kind(self.spatial_filters, 3, strides=strides[layer], padding="same", name=name)
            return normed(conv(x), 2, name)

        def inception(x: Any, out: int, name: str) -> Any:
            x = keras.layers.Conv2D(self.temporal_filters // 2, 1, name=f"{name}_reduced")(x)
            branches = []
            for kernel in KERNELS:
                own = f"{name}_{kernel}x{kernel}"
                branches.append(normed(keras.layers.Conv2D(out, kernel, padding="same", name=own)(x), 1, own))
            return keras.layers.Add(name=f"{name}_sum")(branches)

        def translated(x: Any) -> Any:
            skips: list[Any] = []
            for block in range(self.temporal_blocks):
                x = inception(x, self.temporal_filters, f"inwards{block}")
                skips.append(x)
            skips.pop()  # it goes on outwards itself
            for block in reversed(range(self.temporal_blocks)):
                x = inception(x, self.temporal_filters if block else classes * self.spatial_filters, f"outwards{block}")
                if block:
                    x = keras.layers.Concatenate(name=f"outwards{block}_joined")([x, skips.pop()])
            return x

        def rain_of(image: Any) -> Any:
            x = first = spatial(keras.layers.Conv2D, _frames.folded(_frames.apart(image)), 0, "encoder0")
            for layer in range(1, self.spatial_layers):
                x = spatial(keras.layers.Conv2D, x, layer, f"encoder{layer}")
            x = translated(_frames.beside(_frames.unfolded(x, steps)))
            x = _frames.folded(_frames.apart(x, self.spatial_filters))
            for layer in reversed(range(1, self.spatial_layers)):
                kind = keras.layers.Conv2DTranspose if strides[layer] > 1 else keras.layers.Conv2D
                x = spatial(kind, x, layer, f"decoder{layer}")
            of_last_frame = ops.repeat(_frames.unfolded(first, steps)[:, -1:], classes, axis=1)
            x = keras.layers.Concatenate(name="decoder0_joined")([x, _frames.folded(of_last_frame)])
            x = spatial(keras.layers.Conv2D, x, 0, "decoder0")
            return _frames.beside(_frames.unfolded(_frames.correction(1)(x), classes))

        multiple = 2 ** (self.spatial_layers // 2)
        return _frames.correcting_model(input_shape, rain_of, multiple=multiple, name="simvp")


PLUGIN = SimVP
