"""The field of motion of pysteps, where that package is installed: dense Lucas-Kanade on tracked features."""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec

import numpy as np

from skyfold.errors import ConfigError

PADDING = 16  # pixels: features near the edge of a small patch are lost without
DRY_DB, LEAST_RAIN = -15.0, 0.1  # what pysteps' users give to rain below 0.1 mm/h


def lucas_kanade(frames: np.ndarray) -> np.ndarray:
    """frames, result: as `fields.dense_flow`; the rain is widened over the edge and seen in dB.

    ConfigError where pysteps is not installed.
    """
    require_pysteps()
    with contextlib.redirect_stdout(io.StringIO()):  # it says on import where its settings lie
        from pysteps.motion.lucaskanade import dense_lucaskanade
    wide = np.pad(frames.astype(np.float64), ((0, 0), (PADDING, PADDING), (PADDING, PADDING)), mode="edge")
    motion = np.moveaxis(dense_lucaskanade(in_decibels(wide)), 0, -1)[PADDING:-PADDING, PADDING:-PADDING]
    return np.ascontiguousarray(motion, dtype=np.float32)


def require_pysteps() -> None:
    """ConfigError where pysteps is not installed."""
    if find_spec("pysteps") is None:
        raise ConfigError("the motion 'pysteps' needs a package that is not installed: pip install -e .[pysteps].")


def in_decibels(rain: np.ndarray) -> np.ndarray:
    """mm/h to dB, what is below 0.1 mm/h being -15."""
    with np.errstate(divide="ignore"):
        decibels: np.ndarray = np.where(rain < LEAST_RAIN, DRY_DB, 10.0 * np.log10(rain))
    return decibels
