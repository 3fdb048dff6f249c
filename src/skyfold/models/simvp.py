"""SimVP (Gao et al. 2022): convolutions alone; frames are read one by one, translated together, written one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames

_OPTIONS = [
    *("spatial_filters", "spatial_layers", "temporal_filters", "temporal_blocks", "kernels", "groups"),
    *("bands", "residual"),
]
_KERNELS = (3, 5, 7)
_LEAKY_SLOPE = 0.2


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, sizes that are no whole numbers from 1, even kernels, or filters that cannot be
    divided into groups."""
    _blocks.check_known(options, _OPTIONS, family="simvp")
    _blocks.check_counts(options, *_OPTIONS[:4], "groups")
    _blocks.check_some_counts(options, "kernels")
    if any(kernel % 2 == 0 for kernel in options.get("kernels", _KERNELS)):
        raise ConfigError(f"model.options.kernels: {options['kernels']!r}: an even one has no middle.")
    groups = options.get("groups", 1)
    for name, default, parts in (("spatial_filters", 16, math.lcm(2, groups)), ("temporal_filters", 64, 2 * groups)):
        if options.get(name, default) % parts:
            raise ConfigError(f"model.options.{name}: {options.get(name, default)} is no multiple of {parts}.")
    _frames.check_frame_options(options)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    spatial_filters: int = 16,
    spatial_layers: int = 4,
    temporal_filters: int = 64,
    temporal_blocks: int = 3,
    kernels: Sequence[int] = _KERNELS,
    groups: int = 1,
    bands: int = 1,
    residual: bool = True,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L) for L = `classes` lead
    times, float32, any size.

    The encoder reads each frame with `spatial_layers` convolutions, every second of which halves it. The translator
    sees the maps of all frames as one image: `temporal_blocks` Inception blocks inwards and as many outwards, with
    skips; each has a convolution of every one of `kernels`, in `groups`. The decoder writes each lead time; to its last
    layer go the maps of the last frame after the encoder's first. residual: the output corrects the first band of the
    last frame, so that untrained it is persistence. The paper's sizes for moving digits: 64, 4, 512, 8, kernels 3, 5,
    7, 11 in 4 groups.
    """
    import keras
    from keras import ops

    from skyfold.models import _padding

    check(
        {
            "spatial_filters": spatial_filters,
            "spatial_layers": spatial_layers,
            "temporal_filters": temporal_filters,
            "temporal_blocks": temporal_blocks,
            "kernels": kernels,
            "groups": groups,
            "bands": bands,
            "residual": residual,
        }
    )
    steps = _frames.count_frames(input_shape[-1], bands, family="simvp")
    strides = [2 if layer % 2 else 1 for layer in range(spatial_layers)]
    size = _padding.padded_size(input_shape[:2], multiple=2 ** (spatial_layers // 2))

    def normed(x: Any, groups: int, name: str) -> Any:
        x = keras.layers.GroupNormalization(groups, name=f"{name}_norm")(x)
        return keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name=f"{name}_leaky")(x)

    def encoded(frames: Any) -> tuple[Any, Any]:
        first = x = None
        for layer, stride in enumerate(strides):
            conv = keras.layers.Conv2D(spatial_filters, 3, strides=stride, padding="same", name=f"encoder{layer}")
            x = normed(conv(frames if x is None else x), 2, f"encoder{layer}")
            first = x if first is None else first
        return first, x

    def grouped(x: Any, out: int, kernel: int, name: str) -> Any:
        if groups == 1:
            return keras.layers.Conv2D(out, kernel, padding="same", name=name)(x)
        # Layers of their own: under TensorFlow Conv2D(groups=...) is compiled by XLA, which is many times slower.
        own = [
            keras.layers.Conv2D(out // groups, kernel, padding="same", name=f"{name}_{group}")(part)
            for group, part in enumerate(ops.split(x, groups, axis=-1))
        ]
        return keras.layers.Concatenate(name=name)(own)

    def inception(x: Any, out: int, name: str) -> Any:
        x = keras.layers.Conv2D(temporal_filters // 2, 1, name=f"{name}_reduced")(x)
        branches = []
        for kernel in kernels:
            own = f"{name}_{kernel}x{kernel}"
            branches.append(normed(grouped(x, out, kernel, own), groups, own))
        return branches[0] if len(branches) == 1 else keras.layers.Add(name=f"{name}_sum")(branches)

    def translated(x: Any) -> Any:
        skips: list[Any] = []
        for block in range(temporal_blocks):
            x = inception(x, temporal_filters, f"inwards{block}")
            skips.append(x)
        skips.pop()  # it goes on outwards itself
        for block in reversed(range(temporal_blocks)):
            x = inception(x, temporal_filters if block else classes * spatial_filters, f"outwards{block}")
            if block:
                x = keras.layers.Concatenate(name=f"outwards{block}_joined")([x, skips.pop()])
        return x

    def decoded(x: Any, first: Any) -> Any:
        for layer in reversed(range(spatial_layers)):
            name = f"decoder{layer}"
            if not layer:
                x = keras.layers.Concatenate(name=f"{name}_joined")([x, first])
            kind = keras.layers.Conv2DTranspose if strides[layer] > 1 else keras.layers.Conv2D
            x = normed(kind(spatial_filters, 3, strides=strides[layer], padding="same", name=name)(x), 2, name)
        return _frames.last_layer(1, residual=residual)(x)

    def rain_of(image: Any) -> Any:
        first, x = encoded(_frames.folded(_frames.apart(image, bands)))
        x = translated(_frames.beside(_frames.unfolded(x, steps)))
        by_lead = _frames.folded(_frames.apart(x, spatial_filters))
        of_last_frame = _frames.unfolded(first, steps)[:, -1:]
        skip = _frames.folded(ops.repeat(of_last_frame, classes, axis=1))
        return _frames.beside(_frames.unfolded(decoded(by_lead, skip), classes))

    image = keras.Input(input_shape, name="frames")
    rain = _padding.in_padded_size(image, rain_of, size)
    return keras.Model(image, _frames.forecast(image, rain, bands=bands, residual=residual), name="simvp")
