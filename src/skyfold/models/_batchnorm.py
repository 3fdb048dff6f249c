"""How fast the statistics that BatchNorm predicts with follow those of the batches."""

from __future__ import annotations

from typing import Any


def set_batchnorm_momentum(network: Any, momentum: float | None) -> None:
    """Of every BatchNorm layer of `network`, in place, before it is traced; None leaves them as they are."""
    import keras

    if momentum is None:
        return
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
