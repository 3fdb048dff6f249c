"""What a fit is made with: versions, backend, device, precision, determinism, threads, and the project's commit."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from skyfold.training import backend
from skyfold.types import JsonDict
from skyfold.version import __version__
from skyfold.workspace import commit_of


def environment(folder: Path, *, precision: str, deterministic: bool) -> JsonDict:
    """`store.records.Environment` of a fit that this process makes in `folder`, once the backend has been started."""
    import keras

    name = keras.backend.backend()
    libraries = {"keras": keras, name: sys.modules[name], "numpy": np}
    own = {"python": platform.python_version(), "skyfold": __version__}
    return {
        "versions": {**own, **{library: str(module.__version__) for library, module in libraries.items()}},
        "backend": name,
        "device": backend.device(),
        "precision": precision,
        "deterministic": deterministic,
        "threads": backend.threads_in_use(),
        "commit": commit_of(folder),
    }
