"""Files of named tensors: PyTorch, safetensors, NumPy's .npz. Shapes are known before memory is taken."""

from __future__ import annotations

import json
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.models._state_dict import BFLOAT16, Tensor, read_state_dict, widened

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".npz")
_SAFETENSORS = {
    **{
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": BFLOAT16,
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
    },
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
}
_LONGEST_HEADER = 100_000_000  # as the format has it


def read_tensors(path: Path, *, key: str) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing of it is executed.

    ConfigError, which begins with the config's `key`, where it is damaged, or holds anything else.
    """
    read = {".safetensors": _safetensors, ".npz": _npz}.get(path.suffix, read_state_dict)
    with _as_config_error(path, key):
        tensors = read(path)

    def values(tensor: Tensor) -> np.ndarray:
        with _as_config_error(path, key):
            return tensor.read()

    return {name: Tensor(tensor.shape, partial(values, tensor)) for name, tensor in tensors.items()}


@contextmanager
def _as_config_error(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile, numpy and json raise whatever they meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{key}: {path} cannot be read ({reason}). Expected the named tensors of a network: of PyTorch what "
            "torch.save(model.state_dict(), FILE) writes, a safetensors file, or an .npz file."
        ) from None


def _safetensors(path: Path) -> dict[str, Tensor]:
    """The format of github.com/huggingface/safetensors: 8 bytes of length, a JSON header, the numbers without gaps."""
    with open(path, "rb") as file:
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (length,) = struct.unpack("<Q", held[:8])
    if length > min(len(held) - 8, _LONGEST_HEADER):
        raise ValueError("its header is longer than the file")
    header = json.loads(held[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (start, stop) = _SAFETENSORS[about["dtype"]], tuple(about["shape"]), about["data_offsets"]
        size = np.dtype("<u2" if dtype == BFLOAT16 else dtype).itemsize
        if not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 32:
            raise ValueError(f"'{name}' has no shape")
        if start != end or stop - start != math.prod(shape) * size or 8 + length + stop > len(held):
            raise ValueError(f"'{name}' is not where its header says, or the file is cut off")
        tensors[name] = Tensor(shape, partial(_mapped, held, dtype, shape, 8 + length + start))
        end = stop
    if 8 + length + end != len(held):
        raise ValueError("it is longer than its header says")
    return tensors


def _mapped(held: mmap.mmap, dtype: str, shape: tuple[int, ...], place: int) -> np.ndarray:
    values = np.frombuffer(held, "<u2" if dtype == BFLOAT16 else dtype, math.prod(shape), place).reshape(shape)
    return widened(values) if dtype == BFLOAT16 else values


def _npz(path: Path) -> dict[str, Tensor]:
    archive = zipfile.ZipFile(path)
    tensors = {}
    for entry in archive.infolist():
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(file)
            if dtype.kind not in "fiub" or file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
                raise ValueError(f"'{entry.filename}' is no array of numbers, or not as large as its header says")
        tensors[entry.filename.removesuffix(".npy")] = Tensor(shape, partial(_unpacked, archive, entry))
    return tensors


def _unpacked(archive: zipfile.ZipFile, entry: Any) -> np.ndarray:
    with archive.open(entry) as file:
        values: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return values
