"""How segmentation-models and efficientnet, written for Keras 2, are imported beside Keras 3."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

from skyfold.errors import ConfigError

EFFICIENTNET = ("efficientnet", "Keras-Applications", "six")  # which it does not declare
SEGMENTATION_MODELS = ("segmentation-models", "image-classifiers", *EFFICIENTNET)


def segmentation_models() -> ModuleType:
    _prepare()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints which framework it found
        return importlib.import_module("segmentation_models")


def segmentation_models_encoder(name: str, *, input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """The network of an encoder of segmentation-models alone, without top."""
    package = segmentation_models()
    factory = importlib.import_module("segmentation_models.backbones.backbones_factory").Backbones
    build = package.inject_global_submodules(factory.get_backbone)
    return build(name, input_shape=input_shape, weights=weights, include_top=False)


def efficientnet() -> ModuleType:
    _prepare()
    return importlib.import_module("efficientnet.tfkeras" if _has_tensorflow() else "efficientnet.keras")


def _prepare() -> None:
    warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
    if _has_tensorflow():
        os.environ["SM_FRAMEWORK"] = "tf.keras"
        return
    if importlib.util.find_spec("six") is None:  # efficientnet does not declare it, and TensorFlow brings it
        raise ConfigError(
            "segmentation-models and efficientnet need the package six where TensorFlow is not installed. Install it: "
            "pip install six."
        )
    import keras

    os.environ["SM_FRAMEWORK"] = "keras"
    if not hasattr(keras.utils, "generic_utils"):  # where Keras 2 kept the table of custom objects
        keras.utils.generic_utils = SimpleNamespace(get_custom_objects=keras.saving.get_custom_objects)
    if not hasattr(keras.backend, "sigmoid"):  # where Keras 2 kept what is now keras.ops
        keras.backend.sigmoid = keras.ops.sigmoid


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None
