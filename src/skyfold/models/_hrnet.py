"""HRNetV2 without a head: feature maps of four resolutions in parallel, which are fused repeatedly.

After Sun, Wang et al., arXiv:1904.04514 and 1908.07919. W18, W32, ... is the number of channels at stride 4; each
further stride has twice as many. "small" is the authors' W18-Small-v2: half the blocks and two modules fewer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.models._encoder_layers import mark_encoder

PUBLISHED = ("hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48")
_STEM = 64
_EXPANSION = 4  # of the bottlenecks in the first stage


@dataclass(frozen=True)
class Plan:
    """width: channels at stride 4; modules: exchanges in stages 2 to 4; blocks: residual blocks between two of them."""

    width: int
    modules: tuple[int, int, int]
    blocks: int


def plan_of(name: str) -> Plan | None:
    """The plan of `hrnet_w<width>` or `hrnet_w<width>_small`, of any width from 1; None for other names.

    >>> plan_of("hrnet_w18")
    Plan(width=18, modules=(1, 4, 3), blocks=4)
    """
    found = re.fullmatch(r"hrnet_w([1-9]\d*)(_small)?", name)
    if found is None:
        return None
    small = found[2] is not None
    return Plan(int(found[1]), (1, 3, 2) if small else (1, 4, 3), 2 if small else 4)


def maps(
    image: Any, plan: Plan, *, learned: Mapping[str, list[np.ndarray]] | None = None
) -> tuple[dict[int, Any], Any]:
    """image (B, H, W, C), sides multiples of 32. Returns its maps by stride (2 to 32) and that of the first stage,
    (B, H / 4, W / 4, 256), with outlines that the later stages have blended with their surroundings.

    learned: weights by the name of the layer, to begin with; None: random ones.
    """
    body = _Body(plan, learned)
    half = body.conv(image, _STEM, 3, stride=2, name="stem1")
    x = body.conv(half, _STEM, 3, stride=2, name="stem2")
    for block in range(plan.blocks):
        bottleneck = [(_STEM, 1), (_STEM, 3), (_EXPANSION * _STEM, 1)]
        x = body.residual(x, bottleneck, name=f"stage1_block{block + 1}")
    first = x
    branches = [
        body.conv(x, plan.width, 3, name="stage2_in1"),
        body.conv(x, 2 * plan.width, 3, stride=2, name="stage2_in2"),
    ]
    for stage, modules in enumerate(plan.modules, start=2):
        if stage > 2:
            channels = plan.width * 2 ** len(branches)
            branches = [*branches, body.conv(branches[-1], channels, 3, stride=2, name=f"stage{stage}_in{stage}")]
        for module in range(modules):
            branches = body.module(branches, name=f"stage{stage}_module{module + 1}")
    return {2: half, **{4 * 2**index: branch for index, branch in enumerate(branches)}}, first


def joined(by_stride: dict[int, Any]) -> Any:
    """The maps of strides 4 to 32, the coarser ones enlarged bilinearly, as one of stride 4 and 15 x width channels."""
    import keras

    enlarged = [
        keras.layers.UpSampling2D(stride // 4, interpolation="bilinear", name=f"joined_from{stride}")(by_stride[stride])
        for stride in (8, 16, 32)
    ]
    return keras.layers.Concatenate(name="joined")([by_stride[4], *enlarged])


@dataclass(frozen=True)
class _Body:
    """The layers of a body, named so that each finds its weights in `learned`."""

    plan: Plan
    learned: Mapping[str, list[np.ndarray]] | None

    def module(self, branches: list[Any], *, name: str) -> list[Any]:
        """Residual blocks in each branch; then each branch is the sum of all, resampled to its resolution."""
        import keras

        deep = []
        for index, branch in enumerate(branches):
            filters = self.plan.width * 2**index
            for block in range(self.plan.blocks):
                own = f"{name}_branch{index + 1}_block{block + 1}"
                branch = self.residual(branch, [(filters, 3), (filters, 3)], name=own)
            deep.append(branch)
        summed = []
        for to in range(len(deep)):
            parts = []
            for source, x in enumerate(deep):
                parts.append(self.brought(x, source, to, name=f"{name}_from{source + 1}_to{to + 1}"))
            total = keras.layers.Add(name=f"{name}_sum{to + 1}")(parts)
            summed.append(keras.layers.ReLU(name=f"{name}_out{to + 1}")(total))
        return summed

    def brought(self, x: Any, source: int, to: int, *, name: str) -> Any:
        """The map of branch `source` with the channels and resolution of branch `to`."""
        import keras

        if source > to:
            x = self.conv(x, self.plan.width * 2**to, 1, relu=False, name=name)
            return keras.layers.UpSampling2D(2 ** (source - to), interpolation="bilinear", name=f"{name}_up")(x)
        for step in range(to - source):
            last = step == to - source - 1
            channels = self.plan.width * 2 ** (to if last else source)
            x = self.conv(x, channels, 3, stride=2, relu=not last, name=f"{name}_down{step + 1}")
        return x

    def residual(self, x: Any, convolutions: Sequence[tuple[int, int]], *, name: str) -> Any:
        """A residual block of convolutions (filters, kernel), the last without ReLU; the shortcut is projected where it
        has other filters."""
        import keras

        y, last = x, len(convolutions) - 1
        for index, (filters, kernel) in enumerate(convolutions):
            y = self.conv(y, filters, kernel, relu=index < last, name=f"{name}_{'abc'[index]}")
        if x.shape[-1] != y.shape[-1]:
            x = self.conv(x, y.shape[-1], 1, relu=False, name=f"{name}_shortcut")
        return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([x, y]))

    def conv(self, x: Any, filters: int, kernel: int, *, stride: int = 1, relu: bool = True, name: str) -> Any:
        """Convolution without bias, BatchNorm, ReLU. With a stride it is padded on both sides, as the published weights
        had it; Keras' own "same" would pad below and to the right alone."""
        import keras

        if stride > 1:
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        own = {"use_bias": False, "kernel_initializer": "he_normal", "name": f"{name}_conv"}
        padding = "valid" if stride > 1 else "same"
        layer = keras.layers.Conv2D(filters, kernel, strides=stride, padding=padding, **own)
        norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")
        mark_encoder((layer, norm))
        x = norm(layer(x))
        if self.learned is not None:
            layer.set_weights(self.learned[layer.name])
            norm.set_weights(self.learned[norm.name])
        return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
