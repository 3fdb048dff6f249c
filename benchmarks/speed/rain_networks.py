"""Training of the networks of rain, by each backend of Keras: samples a second.

Batches of 8 samples of four frames of 120 x 120, prepared before the clock starts; the loss is the mean absolute error,
the optimizer Adam, float32, each network as it comes by default. Each candidate is a process of its own that waits
until it is its turn. A backend is taken from the Python that $SKYFOLD_TENSORFLOW_PYTHON, $SKYFOLD_JAX_PYTHON or
$SKYFOLD_TORCH_PYTHON names, which has to have Keras too, else from this one.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from timing import Line, spoken

from speed._worker import Worker

SOURCE = Path(__file__).parents[2] / "src"
WORKER = Path(__file__).parent / "_rain_networks_worker.py"
BACKENDS = ("tensorflow", "jax", "torch")
NETWORKS = ("rain_unet", "convlstm", "trajgru", "simvp", "rainnet")
FRAMES = 4


def lines(*, quick: bool) -> list[Line]:
    side, batch, steps, rounds = (32, 2, 1, 1) if quick else (120, 8, 1, 5)
    pythons = {backend: python for backend in BACKENDS if (python := _python(backend))}
    found = []
    for network in NETWORKS:
        what = f"train {network}, {batch} x {side} x {side} x {FRAMES}"
        measured = _samples_a_second(network, pythons, side, batch, steps, rounds)
        for backend in BACKENDS:
            if backend in measured:
                speeds, weights = measured[backend]
                note = f"{spoken(1 / median(speeds))} a sample, {weights:,.0f} weights"
                found.append(Line(what, backend, median(speeds), min(speeds), max(speeds), "samples/s", note=note))
            else:
                found.append(Line(what, backend, math.nan, math.nan, math.nan, "samples/s", note="not installed"))
    return found


def _samples_a_second(
    network: str, pythons: dict[str, str], side: int, batch: int, steps: int, rounds: int
) -> dict[str, tuple[list[float], float]]:
    """Of each backend, round by round, and how many weights the network has there."""
    workers: dict[str, Worker] = {}
    try:
        for backend, python in pythons.items():
            workers[backend] = Worker(
                [python, str(WORKER), network, str(side), str(batch), str(FRAMES)], _environment(backend)
            )
        assert len({worker.weights for worker in workers.values()}) <= 1, f"these are not the same {network}"
        speeds: dict[str, list[float]] = {backend: [] for backend in workers}
        for _ in range(rounds):
            for backend, worker in workers.items():
                speeds[backend].append(steps * batch / worker.ask(f"train {steps}"))
        return {backend: (speeds[backend], worker.weights) for backend, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.end()


def _python(backend: str) -> str | None:
    """The Python that has this backend and Keras, if there is one."""
    python = os.environ.get(f"SKYFOLD_{backend.upper()}_PYTHON", sys.executable)
    command = [python, "-c", f"import keras, {backend}"]
    done = subprocess.run(command, capture_output=True, check=False, env=_environment(backend))
    return python if done.returncode == 0 else None


def _environment(backend: str) -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(SOURCE)}
