"""The encoder of the package ukis-csmask, which has learned clouds from satellite scenes, read into Keras.

The package (Apache-2.0, German Aerospace Center; Wieland et al., doi.org/10.1016/j.rse.2019.05.022) ships a U-Net on
EfficientNet-B4 as ONNX. It saw reflectance at the top of the atmosphere, 0 to 1, at about 30 m a pixel, in the bands
blue, green, red and near infrared, each less its mean and over its deviation (data/normalization.py: reflectance).
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import MissingWeights
from skyfold.models import WEIGHTS_KEY
from skyfold.models._bands import adapted
from skyfold.models._pytorch_layers import efficientnet_prefixes, layer_weights

SOURCE = "ukis_csmask"
LAYERS = "ukis_csmask, layers only"  # in the place of SOURCE: the same network, initialised at random
ENCODER = "efficientnetb4"
SCALING = "reflectance"
_FILE = "model_4b_l1c.onnx"
_SIDE = 380  # of the images that its paddings were computed for
_RED_FIRST = [2, 1, 0, 3]
_LEARNED_BANDS = 4


def weights_file() -> Path:
    """The ONNX file in the installed package; MissingWeights where it is not there."""
    spec = find_spec(SOURCE)
    if spec is None or find_spec("onnx") is None:
        raise MissingWeights(
            f"{WEIGHTS_KEY}: {SOURCE} needs the packages ukis-csmask and onnx. Install them: pip install -e .[weights]."
        )
    path = Path(str(spec.origin)).parent / _FILE
    if not path.is_file():
        raise MissingWeights(f"{WEIGHTS_KEY}: the installed ukis-csmask has no {path}. Version 1.0.0 has it.")
    return path


def encoder(bands: int, *, learned: bool = True) -> Any:
    """keras.applications.EfficientNetB4 without top for images of `bands` bands, red, green, blue, near infrared first.

    learned: with the weights of the package; else at random, as what lies behind the last block (top_conv, top_bn) and
    is not in the package always begins.
    """
    import keras

    # Made for 380 pixels, the layer block3a_dwconv_pad pads alike on both sides, as the learned network did.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
        network = keras.applications.EfficientNetB4(include_top=False, weights=None, input_shape=(_SIDE, _SIDE, bands))
    if not learned:
        return network
    weights = _read(weights_file())
    prefixes = efficientnet_prefixes(network)
    for layer in network.layers:
        if layer.name in prefixes and not layer.name.startswith("top_"):
            layer.set_weights(_of_layer(layer, weights, f"model.encoder.{prefixes[layer.name]}", bands))
    return network


def for_bands(kernel: np.ndarray, bands: int) -> np.ndarray:
    """kernel (kh, kw, 4, F) for blue, green, red and near infrared. Returns (kh, kw, bands, F), red first.

    A scene alike in all bands is answered alike. Of three bands each takes a third of what the infrared had; fewer
    share the mean of those three; to more, see `adapted`.
    """
    ordered = kernel[:, :, _RED_FIRST]
    if bands < _LEARNED_BANDS:
        ordered = ordered[:, :, :3] + ordered[:, :, 3:] / 3
    return adapted(ordered, (*kernel.shape[:2], bands, kernel.shape[3]), learned=ordered.shape[2])


def _read(file: Path) -> dict[str, np.ndarray]:
    """By PyTorch's names; they are kept in 16 bits."""
    import onnx

    tensors = onnx.load(file).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float32) for tensor in tensors}


def _of_layer(layer: Any, weights: dict[str, np.ndarray], prefix: str, bands: int) -> list[np.ndarray]:
    kernel, *others = layer_weights(layer, prefix, weights.__getitem__)
    return [for_bands(kernel, bands) if layer.name == "stem_conv" else kernel, *others]
