"""Losses, one file a kind of task: segmentation and image labels in `segmentation`, frames in `forecasting`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.training.losses.forecasting import make_forecast_loss
from skyfold.training.losses.named import Loss
from skyfold.training.losses.segmentation import make_mask_loss, make_presence_loss


def make_loss(name: str, options: Mapping[str, Any], *, task: str, classes: int | None = None) -> Loss:
    """The loss `name` with its options, as `loss(target, logits)`. task: segmentation, classification or
    forecasting."""
    if task == "forecasting":
        return make_forecast_loss(name, options)
    make = make_mask_loss if task == "segmentation" else make_presence_loss
    return make(name, options, classes=classes)
