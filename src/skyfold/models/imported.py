"""Predictions of another framework, which `skyfold import` brought in; nothing is trained."""

from __future__ import annotations

from skyfold.models import ModelFamily


class Imported(ModelFamily):
    """No options."""


PLUGIN = Imported
