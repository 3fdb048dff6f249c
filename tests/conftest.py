"""What has to be set once in each process of tests."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def reproducible_tensorflow():
    """Which file a worker tests first is chance, so TensorFlow's threads are set before any; else where it is used."""
    if "PYTEST_XDIST_WORKER" in os.environ or "keras" in sys.modules:
        from skyfold.training import backend

        backend.start(deterministic=True)
