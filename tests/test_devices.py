"""Batches divided among devices come to what one device comes to; tried on two logical devices of a CPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.training import backend

CHILD = Path(__file__).parent / "devices_child.py"


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed (requirements-dev.txt)")
def test_two_devices_come_to_what_one_comes_to(tmp_path):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
    }
    command = [sys.executable, CHILD, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = []
    for devices in (1, 2):
        with np.load(tmp_path / f"{devices}.npz", allow_pickle=False) as stored:
            found.append({name: stored[name] for name in stored.files})
    one, two = found
    assert one.pop("spread").tolist() == [1]
    assert two.pop("spread").tolist() == [2]
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-5, err_msg=name)
    assert max(np.abs(one[f"end{i}"] - one[f"start{i}"]).max() for i in range(4)) > 1e-3


def test_more_devices_than_there_are_and_batches_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="3 are wanted, there are 2: gpu:0, gpu:1"):
        backend._divided(["gpu:0", "gpu:1"], 3, 6)
    with pytest.raises(ConfigError, match="5 images cannot be divided evenly among 2 devices"):
        backend._divided(["gpu:0", "gpu:1"], "all", 5)
    assert backend._divided(["cpu:0"], "all", 5) is None


@pytest.mark.skipif(backend.name() == "jax", reason="Keras divides batches with JAX")
def test_a_backend_that_keras_cannot_divide_with_is_refused():
    here = f"training.devices: all needs the JAX backend, here it is {keras.backend.backend()}"
    with pytest.raises(ConfigError, match=here):
        backend.prepare(precision="float32", devices="all")


@pytest.mark.parametrize(
    ("wanted", "on_cpu", "found"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_results_are_deterministic_on_a_cpu_or_where_it_is_asked_for(monkeypatch, wanted, on_cpu, found):
    monkeypatch.setattr(backend, "_kind", lambda: "cpu" if on_cpu else "gpu")
    assert backend.is_deterministic(wanted) is found
