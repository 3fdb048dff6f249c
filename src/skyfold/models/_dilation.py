"""Rebuilds a network for classification so that each of its maps has an exact stride, and none more than is wanted.

An image whose sides are multiples of 32 then has maps of 1/2, 1/4, ... of its size, to the pixel. Past the wanted
output stride a step of 2 becomes one of 1, and the convolutions after it are dilated instead, so that they reach as far
as they did when their weights were learned (DeepLab's atrous convolution).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import keras

from skyfold.models._encoder_layers import mark_encoder

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
_POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclass(frozen=True)
class _Map:
    """A tensor of the rebuilt network. stride: what it would be without dilation; dilation: of what comes next;
    unpadded: the tensor before a ZeroPadding2D; spatial: not a vector pooled from an image."""

    tensor: Any
    stride: int
    dilation: int
    unpadded: Any = None
    spatial: bool = True


def maps_by_stride(
    source: Any,
    image: Any,
    *,
    output_stride: int,
    with_weights: bool,
    taken: str | None = None,
    both_sides: bool = False,
) -> tuple[dict[int, Any], Any]:
    """Apply the layers of `source`, made anew, to `image` (B, H, W, C), sides multiples of 32, scaled as its weights
    want it (its own Rescaling and Normalization layers are left out).

    Returns for each stride 2, 4, 8, 16 and 32 that there is the widest map that has it, the last of those (for 32 what
    `source` returns), and what `source` returns; beyond `output_stride` the maps keep that resolution.

    with_weights  give the new layers the weights of the old; else they begin at random
    taken         pattern of names of layers: of each stride the last map of such a layer, however wide
    both_sides    pad convolutions of a stride alike on both sides, as PyTorch does, where Keras' "same" pads below and
                  to the right alone

    ValueError where a pooling would have to be dilated, which Keras cannot.
    """
    made = {id(source.inputs[0]): _Map(image, 1, 1)}
    found: dict[int, Any] = {}
    for operation in source.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inputs = [made[id(tensor)] for tensor in operation._inbound_nodes[0].input_tensors]
        layers = operation.layers if isinstance(operation, keras.Sequential) else [operation]
        for layer in layers:
            result = _applied(layer, inputs, output_stride, with_weights, both_sides)
            inputs = [result]
        made[id(operation.output)] = result
        if _is_map(result, image, output_stride):
            best = found.get(result.stride)
            if taken is None:
                better = best is None or result.tensor.shape[-1] >= best.shape[-1]
            else:
                better = re.search(taken, operation.name) is not None
            if better:
                found[result.stride] = result.tensor
    output = made[id(source.outputs[0])].tensor
    if taken is None:
        found[32] = output
    return {stride: found[stride] for stride in (2, 4, 8, 16, 32) if stride in found}, output


def _applied(layer: Any, inputs: list[_Map], output_stride: int, with_weights: bool, both_sides: bool) -> _Map:
    main = next((entry for entry in inputs if entry.spatial), inputs[0])
    if isinstance(layer, _PREPROCESSING):
        return main
    config = layer.get_config()
    tensors = [entry.tensor for entry in inputs]
    if not isinstance(layer, keras.layers.Layer):
        return replace(main, tensor=_computed(layer, inputs))
    stride, dilation, unpadded = main.stride, main.dilation, None
    if isinstance(layer, keras.layers.ZeroPadding2D):
        unpadded = main.tensor
    elif isinstance(layer, _CONVOLUTIONS + _POOLINGS) and main.spatial:
        step = layer.strides[0]
        removed = step > 1 and stride * step > output_stride
        if main.unpadded is None or removed or dilation > 1:
            config["padding"] = "same"
            tensors = [main.tensor if main.unpadded is None else main.unpadded]
        if removed:
            config["strides"] = (1, 1)
        if both_sides and step > 1 and layer.padding == "same" and not removed and layer.kernel_size[0] > 1:
            config["padding"] = "valid"
            pad = keras.layers.ZeroPadding2D(layer.kernel_size[0] // 2, name=f"{layer.name}_pad_both")
            tensors = [pad(tensors[0])]
        if dilation > 1:
            _dilate(layer, config, dilation)
        stride, dilation = stride * step, dilation * (step if removed else 1)
    kind, weights = layer.__class__, layer.get_weights() if with_weights else []
    if isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters == main.tensor.shape[-1] > 1:
        kind, config = keras.layers.DepthwiseConv2D, _as_depthwise(config)
        weights = [value.transpose(0, 1, 3, 2) if value.ndim == 4 else value for value in weights]
    fresh = kind.from_config(config)
    mark_encoder([fresh])
    output = fresh(tensors if len(tensors) > 1 else tensors[0])
    if with_weights:
        fresh.set_weights(weights)
    spatial = main.spatial and not isinstance(layer, keras.layers.GlobalAveragePooling2D)
    return _Map(output, stride, dilation, unpadded, spatial)


def _computed(operation: Any, inputs: list[_Map]) -> Any:
    """What an operation that is no layer, x + 3 for instance, computes of the maps in the place of its own inputs."""
    node = operation._inbound_nodes[0]
    fed = {id(tensor): entry.tensor for tensor, entry in zip(node.input_tensors, inputs, strict=True)}
    arguments, options = node.arguments.fill_in(fed)
    return operation.__class__.from_config(operation.get_config())(*arguments, **options)


def _as_depthwise(config: dict[str, Any]) -> dict[str, Any]:
    """A convolution with as many groups as channels, as the layer that computes it fast, and trains on a CPU."""
    names = {"kernel_initializer": "depthwise_initializer"}
    left_out = ("filters", "groups", "kernel_regularizer", "kernel_constraint")
    return {names.get(name, name): value for name, value in config.items() if name not in left_out}


def _dilate(layer: Any, config: dict[str, Any], dilation: int) -> None:
    """Set the dilation in `config`; a window of one pixel needs none."""
    window = layer.pool_size if isinstance(layer, _POOLINGS) else layer.kernel_size
    if max(window) == 1:
        return
    if isinstance(layer, _POOLINGS):
        raise ValueError(f"the pooling layer {layer.name} would have to be dilated")
    config["dilation_rate"] = (dilation, dilation)


def _is_map(entry: _Map, image: Any, output_stride: int) -> bool:
    if not entry.spatial or len(entry.tensor.shape) != 4 or entry.stride == 1:
        return False
    stride = min(entry.stride, output_stride)
    return tuple(entry.tensor.shape[1:3]) == (image.shape[1] // stride, image.shape[2] // stride)
