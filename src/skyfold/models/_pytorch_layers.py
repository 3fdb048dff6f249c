"""Weights of Keras layers, from tensors that PyTorch names and lays out.

A naming gives for each layer of a body in Keras the prefix of its tensors in a library of models for PyTorch. A
convolution with a stride is padded there on both sides; Keras' own "same" pads below and to the right alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from skyfold.errors import ConfigError, shortened
from skyfold.models import WEIGHTS_KEY
from skyfold.models._bands import adapted
from skyfold.models._state_dict import Tensor
from skyfold.progress import note

_EFFICIENTNET = {  # how the names of a block's layers end in keras.applications
    "expand": "_expand_conv",
    "expand_bn": "_expand_bn",
    "depthwise": "_dwconv",
    "depthwise_bn": "_bn",
    "reduce": "_se_reduce",
    "restore": "_se_expand",
    "project": "_project_conv",
    "project_bn": "_project_bn",
}
_MOBILENETV3 = {
    "expand": "_expand",
    "expand_bn": "_expand_bn",
    "depthwise": "_depthwise",
    "depthwise_bn": "_depthwise_bn",
    "reduce": "_squeeze_excite_conv",
    "restore": "_squeeze_excite_conv_1",
    "project": "_project",
    "project_bn": "_project_bn",
}
_LUKEMELAS = {
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "reduce": "_se_reduce",
    "restore": "_se_expand",
    "project": "_project_conv",
    "project_bn": "_bn2",
}

# The parts of a block of ConvNeXt in Keras, in torchvision, in timm, and at its authors.
_CONVNEXT = {
    "depthwise_conv": ("block.0", "conv_dw", "dwconv"),
    "layernorm": ("block.2", "norm", "norm"),
    "pointwise_conv_1": ("block.3", "mlp.fc1", "pwconv1"),
    "pointwise_conv_2": ("block.5", "mlp.fc2", "pwconv2"),
    "layer_scale": ("layer_scale", "gamma", "gamma"),
}
_Block = dict[str, str]  # names of layers by part


@dataclass(frozen=True)
class Naming:
    """library: whose names these are; prefixes: by the name of the layer; epsilon: of its BatchNorm, None: that of the
    layers."""

    library: str
    prefixes: Mapping[str, str]
    epsilon: float | None = None


class _Part(NamedTuple):
    """A weight of a layer: the name of its tensor, the order of its axes in Keras, the shape that it has in PyTorch."""

    name: str
    order: tuple[int, ...]
    shape: tuple[int, ...]


def load_pytorch(
    network: Any, tensors: Mapping[str, Tensor], namings: Sequence[Naming], *, file: Path, what: str
) -> None:
    """Set all weights of `network`, the body of the encoder `what`, to those tensors of `file` that one of `namings`
    gives them, whatever all names begin with.

    The first kernel is adapted to the bands. A note says how many tensors were taken. ConfigError where some are
    missing or of other shapes; nothing is set then.
    """
    import keras

    layers = _trained_layers(network)
    stem = next(layer for layer in layers if isinstance(layer, keras.layers.Conv2D))
    best: tuple[int, Naming, dict[Any, list[_Part]]] | None = None
    for naming in namings:
        first = _parts(stem, naming.prefixes[stem.name])[0].name
        ends = (name for name in tensors if name == first or name.endswith(f".{first}"))
        before = min((name.removesuffix(first) for name in ends), key=len, default="")
        parts = {layer.name: _parts(layer, before + naming.prefixes[layer.name]) for layer in layers}
        count = sum(part.name in tensors for every in parts.values() for part in every)
        if best is None or count > best[0]:
            best = count, naming, parts
    assert best is not None
    count, naming, parts = best
    needed = [part for every in parts.values() for part in every]
    if count < len(needed):
        missing = shortened([part.name for part in needed if part.name not in tensors])
        raise ConfigError(
            f"{WEIGHTS_KEY}: {file} has {count} of the {len(needed)} tensors of {what}, by the names of "
            f"{naming.library}; missing: {missing}. Expected the weights of this very encoder."
        )
    for part in needed:
        found = tensors[part.name].shape
        of_image = part is parts[stem.name][0] and found[:1] + found[2:] == part.shape[:1] + part.shape[2:]
        if found != part.shape and not of_image and not _is_column(found, part.shape):
            raise ConfigError(
                f"{WEIGHTS_KEY}: {file}: tensor {part.name} has the shape {found}, that of {what} {part.shape}. "
                "Expected the weights of this very encoder."
            )
    for layer in layers:
        values = [_laid_out(tensors[part.name].read(), part) for part in parts[layer.name]]
        if layer is stem:
            values[0] = adapted(values[0], tuple(layer.kernel.shape), learned=values[0].shape[2])
        if naming.epsilon is not None and hasattr(layer, "moving_variance"):
            values[-1] = values[-1] + np.float32(naming.epsilon - layer.epsilon)  # which is what inference adds to it
        layer.set_weights(values)
    counted = sum(not name.endswith("num_batches_tracked") for name in tensors)
    taken = f"{len(needed)} of its {counted} tensors are the weights of {what}"
    _note_once(f"{file.name}: {taken}, by the names of {naming.library}.")


@cache
def _note_once(text: str) -> None:
    """Every fit of a run begins with the same weights."""
    note(text)


def layer_weights(layer: Any, prefix: str, tensor: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """In the order and layout of Keras: kernels as (kh, kw, in, out), depthwise (kh, kw, in, 1)."""
    parts = _parts(layer, prefix)
    return [_laid_out(tensor(part.name), part) for part in parts]


def efficientnet_namings(network: Any, size: int) -> list[Naming]:
    """Of EfficientNet-B`size` as keras.applications builds it."""
    blocks = _blocks(network, _EFFICIENTNET)
    of_stage: dict[str, list[_Block]] = {}
    for block in blocks:
        of_stage.setdefault(block["depthwise"].partition("_")[0].rstrip(ascii_lowercase), []).append(block)
    stages = list(of_stage.values())
    around = {
        "stem_conv": "features.0.0",
        "stem_bn": "features.0.1",
        "top_conv": "features.8.0",
        "top_bn": "features.8.1",
    }
    torchvision = dict(around)
    for stage, index, block in _numbered(stages):
        torchvision |= _torchvision_block(block, f"features.{stage + 1}.{index}.block")
    timm = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}
    for stage, index, block in _numbered(stages):
        timm |= _timm_block(block, f"blocks.{stage}.{index}")
    return [
        Naming("torchvision", torchvision, 1e-3 if size >= 5 else 1e-5),
        Naming("timm", timm, 1e-5),
        Naming("EfficientNet-PyTorch", efficientnet_prefixes(network), 1e-3),
    ]


def mobilenetv3_namings(network: Any) -> list[Naming]:
    """Of MobileNetV3 as keras.applications builds it, whose block of each stage timm counts anew."""
    blocks = _blocks(network, _MOBILENETV3)
    last = len(blocks) + 1
    torchvision = {"conv": "features.0.0", "conv_bn": "features.0.1"}
    torchvision |= {"conv_1": f"features.{last}.0", "conv_1_bn": f"features.{last}.1"}
    for index, block in enumerate(blocks):
        torchvision |= _torchvision_block(block, f"features.{index + 1}.block")
    lengths = (1, 2, 3, 4, 2, 3) if len(blocks) == 15 else (1, 2, 3, 2, 3)
    rest = iter(blocks)
    stages = [[next(rest) for _ in range(length)] for length in lengths]
    timm = {"conv": "conv_stem", "conv_bn": "bn1"}
    timm |= {"conv_1": f"blocks.{len(stages)}.0.conv", "conv_1_bn": f"blocks.{len(stages)}.0.bn1"}
    for stage, index, block in _numbered(stages):
        timm |= _timm_block(block, f"blocks.{stage}.{index}")
    return [Naming("torchvision", torchvision, 1e-3), Naming("timm", timm, 1e-5)]


def convnext_namings(network: Any) -> list[Naming]:
    """Of ConvNeXt as keras.applications builds it."""
    names = [layer.name for layer in _trained_layers(network)]
    own = next(name.removesuffix("_stem_conv") for name in names if name.endswith("_stem_conv"))
    (norm,) = (name for name in names if not name.startswith(own))  # the last one, which Keras numbers
    torchvision = {f"{own}_stem_conv": "features.0.0", f"{own}_stem_layernorm": "features.0.1", norm: "classifier.0"}
    timm = {f"{own}_stem_conv": "stem.0", f"{own}_stem_layernorm": "stem.1", norm: "head.norm"}
    authors = {
        f"{own}_stem_conv": "downsample_layers.0.0",
        f"{own}_stem_layernorm": "downsample_layers.0.1",
        norm: "norm",
    }
    for index in range(3):
        for part, layer in enumerate(("layernorm", "conv")):
            name = f"{own}_downsampling_{layer}_{index}"
            torchvision[name] = f"features.{2 * index + 2}.{part}"
            timm[name] = f"stages.{index + 1}.downsample.{part}"
            authors[name] = f"downsample_layers.{index + 1}.{part}"
    for name in names:
        found = re.fullmatch(rf"{own}_stage_(\d+)_block_(\d+)_(\w+)", name)
        if found is None:
            continue
        stage, block = int(found[1]), found[2]
        of_torchvision, of_timm, of_authors = _CONVNEXT[found[3]]
        torchvision[name] = f"features.{2 * stage + 1}.{block}.{of_torchvision}"
        timm[name] = f"stages.{stage}.blocks.{block}.{of_timm}"
        authors[name] = f"stages.{stage}.{block}.{of_authors}"
    return [Naming("torchvision", torchvision), Naming("timm", timm), Naming("the authors", authors)]


def efficientnet_prefixes(network: Any) -> dict[str, str]:
    """Layers of an EfficientNet, named as keras.applications does, and their names in EfficientNet-PyTorch."""
    prefixes = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    for index, block in enumerate(_blocks(network, _EFFICIENTNET)):
        prefixes |= {layer: f"_blocks.{index}.{_LUKEMELAS[part]}" for part, layer in block.items()}
    return prefixes


def _trained_layers(network: Any) -> list[Any]:
    """The layers with weights that an image's normalization is not, those of networks within it too."""
    import keras

    layers = network._flatten_layers(include_self=False)
    inner = [layer for layer in layers if layer.weights and not getattr(layer, "layers", None)]
    return [layer for layer in inner if not isinstance(layer, keras.layers.Normalization)]


def _blocks(network: Any, ends: Mapping[str, str]) -> list[_Block]:
    """The inverted residual blocks of a network: the layers that each has, by part."""
    names = {layer.name for layer in network.layers}
    depthwise = [layer.name for layer in network.layers if layer.name.endswith(ends["depthwise"])]
    own = [name.removesuffix(ends["depthwise"]) for name in depthwise]
    return [{part: block + end for part, end in ends.items() if block + end in names} for block in own]


def _numbered(stages: list[list[_Block]]) -> Iterator[tuple[int, int, _Block]]:
    for stage, blocks in enumerate(stages):
        for index, block in enumerate(blocks):
            yield stage, index, block


def _torchvision_block(block: _Block, prefix: str) -> dict[str, str]:
    present = [part for part in ("expand", "depthwise", "reduce", "project") if part in block]
    names: _Block = {}
    for index, part in enumerate(present):
        if part == "reduce":
            names |= {block["reduce"]: f"{prefix}.{index}.fc1", block["restore"]: f"{prefix}.{index}.fc2"}
        else:
            names |= {block[part]: f"{prefix}.{index}.0", block[f"{part}_bn"]: f"{prefix}.{index}.1"}
    return names


def _timm_block(block: _Block, prefix: str) -> dict[str, str]:
    expands = "expand" in block
    convolutions = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("conv_dw", "conv_pw")
    names: _Block = {}
    parts = [part for part in ("expand", "depthwise", "project") if part in block]
    for index, (part, convolution) in enumerate(zip(parts, convolutions, strict=True), start=1):
        names |= {block[part]: f"{prefix}.{convolution}", block[f"{part}_bn"]: f"{prefix}.bn{index}"}
    if "reduce" in block:
        names |= {block["reduce"]: f"{prefix}.se.conv_reduce", block["restore"]: f"{prefix}.se.conv_expand"}
    return names


def _parts(layer: Any, prefix: str) -> list[_Part]:
    import keras

    names: tuple[str, ...] = ("weight", "bias")
    kernel: tuple[int, ...] | None = None
    if isinstance(layer, keras.layers.BatchNormalization):
        names = ("weight", "bias", "running_mean", "running_var")
    elif isinstance(layer, keras.layers.Dense):
        kernel = (1, 0)
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = (2, 3, 0, 1)
    elif isinstance(layer, keras.layers.Conv2D):
        kernel = (2, 3, 1, 0)
    elif not isinstance(layer, keras.layers.LayerNormalization):
        names = ("",)  # LayerScale of ConvNeXt
    parts = []
    for name, weight in zip(names, layer.weights, strict=False):
        shape = tuple(weight.shape)
        order = kernel if kernel is not None and name == "weight" else tuple(range(len(shape)))
        in_pytorch = tuple(shape[order.index(axis)] for axis in range(len(shape)))
        parts.append(_Part(f"{prefix}.{name}".rstrip("."), order, in_pytorch))
    return parts


def _is_column(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a tensor is the vector `shape` with axes of one element behind it."""
    return len(shape) == 1 and found == (*shape, *[1] * (len(found) - 1))


def _laid_out(values: np.ndarray, part: _Part) -> np.ndarray:
    if values.ndim != len(part.order):
        return values.reshape(part.shape)
    return values.transpose(part.order)
