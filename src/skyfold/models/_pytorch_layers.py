"""Weights of Keras layers, from tensors that PyTorch names and lays out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_MBCONV = {  # the parts of a block of EfficientNet in Keras, and in lukemelas' EfficientNet-PyTorch
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "se_reduce": "_se_reduce",
    "se_expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_AROUND_BLOCKS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}


def efficientnet_prefixes(network: Any) -> dict[str, str]:
    """Layers of an EfficientNet, named as keras.applications does, and their names in EfficientNet-PyTorch."""
    blocks = [layer.name.removesuffix("_dwconv") for layer in network.layers if layer.name.endswith("_dwconv")]
    prefixes = dict(_AROUND_BLOCKS)
    for index, block in enumerate(blocks):
        prefixes |= {f"{block}_{part}": f"_blocks.{index}.{name}" for part, name in _MBCONV.items()}
    return prefixes


def layer_weights(layer: Any, prefix: str, tensor: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """In the order and layout of Keras: kernels as (kh, kw, in, out), depthwise (kh, kw, in, 1)."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return [tensor(f"{prefix}.{name}") for name in ("weight", "bias", "running_mean", "running_var")]
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = tensor(f"{prefix}.weight").transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return [kernel, *([tensor(f"{prefix}.bias")] if layer.use_bias else [])]
