"""SimVP (Gao et al. 2022): convolutions alone; frames are read one by one, translated together, written one by one."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from skyfold.config.fields import Positive
from skyfold.models import _frames

_LEAKY_SLOPE = 0.2


class SimVP(_frames.RainFamily):
    """The encoder reads each frame with `spatial_layers` convolutions, every second of which halves it. The translator
    sees the maps of all frames as one image: `temporal_blocks` Inception blocks inwards and as many outwards, with
    skips; each has a convolution of every one of `kernels`, in `groups`. The decoder writes each lead time; to its last
    layer go the maps of the last frame after the encoder's first. The paper's sizes for moving digits: 64, 4, 512, 8,
    kernels 3, 5, 7, 11 in 4 groups.
    """

    name: ClassVar[str] = "simvp"
    spatial_filters: Positive = 16
    spatial_layers: Positive = 4
    temporal_filters: Positive = 64
    temporal_blocks: Positive = 3
    kernels: Annotated[tuple[_frames.Odd, ...], Field(min_length=1)] = (3, 5, 7)
    groups: Positive = 1

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        for name, parts in (("spatial_filters", math.lcm(2, self.groups)), ("temporal_filters", 2 * self.groups)):
            if getattr(self, name) % parts:
                raise ValueError(f"{name}: {getattr(self, name)} is no multiple of {parts}")
        return self

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras
        from keras import ops

        steps = self.count_frames(input_shape[-1])
        strides = [2 if layer % 2 else 1 for layer in range(self.spatial_layers)]

        def normed(x: Any, groups: int, name: str) -> Any:
            x = keras.layers.GroupNormalization(groups, name=f"{name}_norm")(x)
            return keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name=f"{name}_leaky")(x)

        def encoded(frames: Any) -> tuple[Any, Any]:
            first = x = None
            for layer, stride in enumerate(strides):
                conv = keras.layers.Conv2D(
                    self.spatial_filters, 3, strides=stride, padding="same", name=f"encoder{layer}"
                )
                x = normed(conv(frames if x is None else x), 2, f"encoder{layer}")
                first = x if first is None else first
            return first, x

        def grouped(x: Any, out: int, kernel: int, name: str) -> Any:
            if self.groups == 1:
                return keras.layers.Conv2D(out, kernel, padding="same", name=name)(x)
            # Layers of their own: under TensorFlow Conv2D(groups=...) is compiled by XLA, which is many times slower.
            own = [
                keras.layers.Conv2D(out // self.groups, kernel, padding="same", name=f"{name}_{group}")(part)
                for group, part in enumerate(ops.split(x, self.groups, axis=-1))
            ]
            return keras.layers.Concatenate(name=name)(own)

        def inception(x: Any, out: int, name: str) -> Any:
            x = keras.layers.Conv2D(self.temporal_filters // 2, 1, name=f"{name}_reduced")(x)
            branches = []
            for kernel in self.kernels:
                own = f"{name}_{kernel}x{kernel}"
                branches.append(normed(grouped(x, out, kernel, own), self.groups, own))
            return branches[0] if len(branches) == 1 else keras.layers.Add(name=f"{name}_sum")(branches)

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

        def decoded(x: Any, first: Any) -> Any:
            for layer in reversed(range(self.spatial_layers)):
                name = f"decoder{layer}"
                if not layer:
                    x = keras.layers.Concatenate(name=f"{name}_joined")([x, first])
                kind = keras.layers.Conv2DTranspose if strides[layer] > 1 else keras.layers.Conv2D
                x = normed(kind(self.spatial_filters, 3, strides=strides[layer], padding="same", name=name)(x), 2, name)
            return _frames.last_layer(1, residual=self.residual)(x)

        def rain_of(image: Any) -> Any:
            first, x = encoded(_frames.folded(_frames.apart(image, self.bands)))
            x = translated(_frames.beside(_frames.unfolded(x, steps)))
            by_lead = _frames.folded(_frames.apart(x, self.spatial_filters))
            of_last_frame = _frames.unfolded(first, steps)[:, -1:]
            skip = _frames.folded(ops.repeat(of_last_frame, classes, axis=1))
            return _frames.beside(_frames.unfolded(decoded(by_lead, skip), classes))

        return self.network(input_shape, rain_of, multiple=2 ** (self.spatial_layers // 2))


PLUGIN = SimVP
