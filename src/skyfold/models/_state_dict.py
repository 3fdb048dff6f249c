"""PyTorch state dicts without PyTorch: an interpreter of the few pickle opcodes that they are made of.

The files are pickles, in which programs may be hidden. Nothing of them is imported or called here: the names that a
state dict needs are known, every other name and opcode is refused, and each size is compared with the file before
memory is taken. Both formats are read: the zip archive of PyTorch 1.6 and later, and the one before.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BFLOAT16 = "bfloat16"  # which NumPy has not
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
_DICT, _TENSOR, _PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)
_NAMES = {_DICT, _TENSOR, _PARAMETER, *_STORAGES}
_WRAPPED = ("state_dict", "model")  # keys of a training checkpoint that hold the state dict
_MOST_AXES = 8
_MARK = object()


@dataclass(frozen=True)
class Tensor:
    """shape: known before `read` takes the memory of the values."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class _Name(NamedTuple):
    text: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name; of a training checkpoint, those under its key `state_dict` or `model`.

    ValueError, and what zipfile raises, where the file is anything else, damaged, or holds more than it may.
    """
    with open(path, "rb") as file:
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    value, numbers = _from_zip(path, len(held)) if held[:4] == b"PK\x03\x04" else _from_legacy(held)
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary of tensors")
    for key in _WRAPPED:
        value = value[key] if isinstance(value.get(key), dict) else value
    views = {name: view for name, view in value.items() if isinstance(name, str) and isinstance(view, _View)}
    if not views:
        raise ValueError("it holds no tensor")
    return {name: Tensor(view.shape, partial(_values, view, numbers)) for name, view in views.items()}


def widened(values: np.ndarray) -> np.ndarray:
    """float32 of bfloat16 numbers, given as uint16: the upper half of their bits."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _from_zip(path: Path, size: int) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    archive = zipfile.ZipFile(path)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(
        entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
        for entry in entries.values()
    ):
        raise ValueError("parts of it are compressed, as PyTorch writes none")
    if len(entries) != len(archive.infolist()) or sum(entry.file_size for entry in entries.values()) > size:
        raise ValueError("its parts overlap")
    found = [name for name in entries if name.endswith("data.pkl")]
    if len(found) != 1:
        raise ValueError("it is a zip archive, but not of PyTorch")
    folder = found[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in entries and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian")

    @cache
    def numbers(storage: _Storage) -> np.ndarray:
        return _typed(archive.read(f"{folder}data/{storage.key}"), storage, 0)

    storages: dict[str, _Storage] = {}
    value = _interpreted(io.BytesIO(archive.read(found[0])), storages)
    for key, storage in storages.items():
        entry = entries.get(f"{folder}data/{key}")
        if entry is None or entry.file_size < storage.length * _item_size(storage):
            raise ValueError(f"storage {key} is not as large as it says")
    return value, numbers


def _from_legacy(held: mmap.mmap) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    if _interpreted(held) != _MAGIC or _interpreted(held) != _PROTOCOL:
        raise ValueError("it is no file of PyTorch")
    about = _interpreted(held)
    if not isinstance(about, dict) or about.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    storages: dict[str, _Storage] = {}
    value, keys = _interpreted(held, storages), _interpreted(held)
    if not isinstance(keys, list) or set(keys) != storages.keys() or len(keys) != len(storages):
        raise ValueError("it does not list its storages")
    places, place = {}, held.tell()
    for key in keys:
        storage = storages[key]
        size = storage.length * _item_size(storage)
        if int.from_bytes(held[place : place + 8], "little") != storage.length or place + 8 + size > len(held):
            raise ValueError(f"storage {key} is not as large as it says, or the file is cut off")
        places[storage] = place + 8
        place += 8 + size
    return value, cache(lambda storage: _typed(held, storage, places[storage]))


def _typed(raw: bytes | mmap.mmap, storage: _Storage, place: int) -> np.ndarray:
    """The numbers of a storage, which begin at byte `place`; not copied."""
    dtype = "<u2" if storage.dtype == BFLOAT16 else storage.dtype
    values = np.frombuffer(raw, dtype, storage.length, place)
    return widened(values) if storage.dtype == BFLOAT16 else values


def _values(view: _View, numbers: Callable[[_Storage], np.ndarray]) -> np.ndarray:
    """The numbers that a tensor shows of its storage; none is outside of it, and there are no more than it has."""
    values = numbers(view.storage)[view.offset :]
    strides = [step * values.itemsize for step in view.strides]
    return np.lib.stride_tricks.as_strided(values, view.shape, strides, writeable=False)


def _item_size(storage: _Storage) -> int:
    return 2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize


def _interpreted(file: Any, storages: dict[str, _Storage] | None = None) -> Any:
    """The value of the pickle that `file` goes on with: numbers, text, lists, dictionaries, storages, tensors.

    file: reads no more than it has, however much is asked for, as mmap and BytesIO do. storages: gets those found.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                (value,) = stack
                return value
            case "MARK":
                stack.append(_MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode.name]())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL" | "STACK_GLOBAL":
                name = argument if argument is not None else " ".join(reversed([stack.pop(), stack.pop()]))
                if name not in _NAMES:
                    raise ValueError(f"it names {name.replace(' ', '.')}, which no state dict needs")
                stack.append(_Name(name))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(_since_mark(stack)))
            case "BINPERSID":
                stack.append(_storage_of(stack.pop(), storages))
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_rebuilt(name, arguments))
            case "BUILD":
                stack.pop()  # attributes, such as `_metadata`
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode.name == "APPEND" else _since_mark(stack)
                _of_kind(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(), stack.pop()][::-1] if opcode.name == "SETITEM" else _since_mark(stack)
                for key, item in zip(items[::2], items[1::2], strict=True):
                    _of_kind(stack[-1], dict)[_of_kind(key, str | int)] = item
            case other:
                raise ValueError(f"it holds the pickle opcode {other}, which no state dict needs")
    raise ValueError("it is cut off")


def _since_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _storage_of(found: Any, storages: dict[str, _Storage] | None) -> _Storage:
    what, kind, key, _, count, *view = _of_kind(found, tuple)
    known = isinstance(kind, _Name) and kind.text in _STORAGES
    if what != "storage" or not known or not isinstance(key, str) or any(part is not None for part in view):
        raise ValueError("a storage is of no known kind")
    storage = _Storage(_STORAGES[kind.text], key, _natural(count))
    if storages is not None and storages.setdefault(key, storage) != storage:
        raise ValueError(f"storage {key} is of two kinds")
    return storage


def _rebuilt(name: Any, arguments: Any) -> Any:
    match name, arguments:
        case _Name(text=text), () if text == _DICT:
            return {}
        case _Name(text=text), (_View() as view, *_) if text == _PARAMETER:
            return view
        case _Name(text=text), (_Storage() as storage, offset, tuple() as shape, tuple() as strides, *_) if (
            text == _TENSOR
        ):
            return _view(storage, _natural(offset), tuple(map(_natural, shape)), tuple(map(_natural, strides)))
    raise ValueError("it calls what no state dict needs")


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> _View:
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if len(shape) > _MOST_AXES or math.prod(shape) > storage.length or (0 not in shape and last >= storage.length):
        raise ValueError(f"a tensor of shape {shape[:_MOST_AXES]} is larger than storage {storage.key}")
    return _View(storage, offset, shape, strides)


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError("a size is no whole number from 0")
    return value


def _of_kind(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError("its parts are of other kinds than a state dict's")
    return value
