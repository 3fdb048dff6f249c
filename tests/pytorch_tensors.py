"""Tensors that are the same wherever they are made, for a network of a name here and there."""

from __future__ import annotations

import zlib

import numpy as np


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a size that keeps a network's maps of one size, drawn by the name."""
    rng, end = np.random.default_rng(zlib.crc32(name.encode())), name.rpartition(".")[2]
    if end == "num_batches_tracked":
        return np.array(7, np.int64)
    if end in ("gamma", "layer_scale"):
        return rng.uniform(0.3, 0.7, shape).astype(np.float32)
    if end in ("bias", "running_mean"):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.standard_normal(shape, dtype=np.float32) / np.sqrt(np.prod(shape[1:]) / 2)).astype(np.float32)


def image() -> np.ndarray:
    """float32 (1, 64, 96, 3)."""
    return np.random.default_rng(0).standard_normal((1, 64, 96, 3), dtype=np.float32)


def small_tensors() -> dict[str, np.ndarray]:
    """Numbers that 16 bits hold, in tensors of several types and layouts."""
    return {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "strided": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "half": np.arange(5, dtype=np.float32) / 4,
        "brain": np.arange(-2, 3, dtype=np.float32) / 2,
        "scalar": np.array(9, np.int64),
        "double": np.array([0.1, 0.2]),
        "empty": np.zeros((0, 4), np.float32),
    }
