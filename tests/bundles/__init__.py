"""Bundles: what `skyfold pack` writes and `skyfold predict` reads."""
