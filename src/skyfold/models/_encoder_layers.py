"""The layers of a network that are its encoder's: those that may have learned before, and train apart from the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def mark_encoder(layers: Iterable[Any]) -> None:
    """Make `layers` known as an encoder's, wherever they are used."""
    for layer in layers:
        layer.of_encoder = True


def encoder_layers(model: Any) -> list[Any]:
    """The layers of `model` that were marked, those of networks within it too."""
    return [layer for layer in model._flatten_layers(include_self=False) if getattr(layer, "of_encoder", False)]
