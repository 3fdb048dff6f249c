"""`keras.ops`, imported at the first call, so that the options of a loss are checked without loading Keras."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import keras

    return getattr(keras.ops, name)
