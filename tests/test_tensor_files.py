"""Files of tensors: those of PyTorch, safetensors and NumPy are read; hostile ones end in an error, and in no more."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pytorch_tensors import small_tensors
from skyfold.errors import ConfigError
from skyfold.models._tensor_files import read_tensors
from skyfold.models._weight_mismatch import oversized

GOLDEN = Path(__file__).parent / "golden"  # files that torch 2.13.0 and safetensors 0.8.0 wrote
MOST = 2_000_000  # bytes of memory that a hostile file of a few kilobytes may take


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "checkpoint.pt", "small.safetensors", "small.npz"])
def test_every_format_gives_the_tensors_that_were_written(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name
    if name == "small.npz":
        path = tmp_path / name
        np.savez_compressed(path, **small_tensors())
    found = read_tensors(path, key="weights")
    expected = small_tensors()
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].shape == values.shape
        np.testing.assert_array_equal(found[key].read(), values)


class Executes:
    """A pickle of it makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


FLOAT = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def of_tensor(*, length: int = 4, offset: int = 0, shape: bytes, strides: bytes) -> bytes:
    """The pickle of {"a": a tensor on storage "0"}."""
    storage = b"(" + text("storage") + FLOAT + text("0") + text("cpu") + number(length) + b"tQ"
    view = b"(" + storage + number(offset) + shape + strides + b"\x89Nt"
    return b"\x80\x02}" + text("a") + REBUILD + view + b"Rs."


def pair(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def archive(
    pickled: bytes, numbers: bytes = bytes(16), *, compression: int = zipfile.ZIP_STORED, twice: bool = False
) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", compression) as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", numbers)
        if twice:
            file.writestr("a/data/0", numbers)
    return raw.getvalue()


def legacy(pickled: bytes, tail: bytes) -> bytes:
    magic, protocol = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    return magic + protocol + pickle.dumps({"little_endian": True}, 2) + pickled + pickle.dumps(["0"], 2) + tail


def safetensors(header: Any, numbers: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + numbers


def npz(*, header: dict[str, Any] | None = None, objects: bool = False) -> bytes:
    raw = io.BytesIO()
    if objects:
        np.savez(raw, a=np.array([Executes(Path("executed"))], dtype=object))
        return raw.getvalue()
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header or {})
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", array.getvalue() + bytes(64))
    return raw.getvalue()


def floats(shape: list[int], start: int = 0, stop: int = 16) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}}


FIT = of_tensor(shape=pair(2, 2), strides=pair(2, 1))
HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a call where the state dict should be": (
        ".pth",
        lambda: pickle.dumps(Executes(Path("executed"))),
        "names (posix|nt)",
    ),
    "a call in a zip archive": (
        ".pt",
        lambda: archive(pickle.dumps(Executes(Path("executed")), 2)),
        "names (posix|nt)",
    ),
    "a call in the old format": (
        ".pth",
        lambda: legacy(pickle.dumps(Executes(Path("executed")), 2), b""),
        "names (posix|nt)",
    ),
    "a call by the opcode INST": (".pt", lambda: archive(b"(S'touch executed'\nios\nsystem\n."), "opcode"),
    "a call by a name made of text": (
        ".pt",
        lambda: archive(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R."),
        r"names os\.system",
    ),
    "a call of what a state dict may name": (
        ".pt",
        lambda: archive(b"\x80\x02" + FLOAT + number(1) + b"\x85R."),
        "calls",
    ),
    "an object made without a call": (".pt", lambda: archive(b"\x80\x02" + FLOAT + b")\x81."), "opcode NEWOBJ"),
    "a name of a registry": (".pt", lambda: archive(b"\x80\x02\x82\x01."), "opcode EXT1"),
    "arrays of numpy": (".pth", lambda: archive(pickle.dumps({"a": np.zeros(2)}, 2)), "names numpy"),
    "a storage longer than its part": (
        ".pt",
        lambda: archive(of_tensor(length=1 << 40, shape=pair(1 << 40), strides=pair(1))),
        "",
    ),
    "a shape larger than its storage": (
        ".pt",
        lambda: archive(of_tensor(shape=pair(3, 2), strides=pair(2, 1))),
        "larger than storage",
    ),
    "a negative stride": (".pt", lambda: archive(of_tensor(shape=pair(2, 2), strides=pair(-2, 1))), "no whole number"),
    "a negative offset": (
        ".pt",
        lambda: archive(of_tensor(offset=-9, shape=pair(2), strides=pair(1))),
        "no whole number",
    ),
    "a stride beyond the storage": (
        ".pt",
        lambda: archive(of_tensor(shape=pair(2), strides=pair(1 << 50))),
        "larger than storage",
    ),
    "one number shown often": (
        ".pt",
        lambda: archive(of_tensor(shape=pair(1 << 40), strides=pair(0))),
        "larger than storage",
    ),
    "text longer than the file": (".pt", lambda: archive(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a."), ""),
    "a memo of four billion places": (".pt", lambda: archive(b"\x80\x02}r\xff\xff\xff\xff."), "no tensor"),
    "tuples in tuples": (".pt", lambda: archive(b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."), "other kinds"),
    "a zip bomb": (".pt", lambda: archive(FIT, bytes(50_000_000), compression=zipfile.ZIP_DEFLATED), "compressed"),
    "parts of one name": (".pt", lambda: archive(FIT, twice=True), "overlap"),
    "a zip archive cut off": (".pt", lambda: archive(FIT)[:-40], ""),
    "the old format cut off": (".pth", lambda: legacy(FIT, struct.pack("<q", 4) + bytes(9)), "cut off"),
    "the old format with another length": (
        ".pth",
        lambda: legacy(FIT, struct.pack("<q", 1 << 40) + bytes(16)),
        "as large as",
    ),
    "an empty file": (".bin", lambda: b"", ""),
    "a header without end": (".safetensors", lambda: safetensors(b"{}", length=1 << 62), "longer than the file"),
    "braces in braces": (".safetensors", lambda: safetensors(b'{"a":' * 100_000), ""),
    "numbers behind the end": (
        ".safetensors",
        lambda: safetensors(floats([4], 1 << 40, (1 << 40) + 16), bytes(16)),
        "not where",
    ),
    "a shape of no size": (".safetensors", lambda: safetensors(floats([1 << 40]), bytes(16)), "not where"),
    "sides below zero": (".safetensors", lambda: safetensors(floats([-2, -2]), bytes(16)), "no shape"),
    "tensors that overlap": (
        ".safetensors",
        lambda: safetensors({**floats([4]), "b": floats([4], 4, 20)["a"]}, bytes(20)),
        "not where",
    ),
    "objects in an array": (".npz", lambda: npz(objects=True), "no array of numbers"),
    "an array of a terabyte": (
        ".npz",
        lambda: npz(header={"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)}),
        "as large as",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_executes_nothing_and_takes_no_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suffix, make, message = HOSTILE[name]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(make())
    with pytest.raises(ConfigError):  # what the first reading imports takes memory, too
        read_tensors(path, key="weights")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=rf"weights: .*cannot be read \(.*{message}.*torch\.save"):
            read_tensors(path, key="weights")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MOST + 100 * path.stat().st_size
    assert not (tmp_path / "executed").exists()


def test_the_pickles_of_these_tests_do_call_where_they_are_loaded(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Executes(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_the_fitting_file_that_the_hostile_ones_are_made_of_is_read(tmp_path: Path) -> None:
    values = np.arange(4, dtype=np.float32)
    for name, raw in (
        ("a.pt", archive(FIT, values.tobytes())),
        ("b.pth", legacy(FIT, struct.pack("<q", 4) + values.tobytes())),
    ):
        (tmp_path / name).write_bytes(raw)
        np.testing.assert_array_equal(read_tensors(tmp_path / name, key="weights")["a"].read(), values.reshape(2, 2))


def test_an_array_of_hdf5_that_is_larger_than_its_file_is_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("fits", data=np.zeros(4))
    assert oversized(tmp_path / "a.h5") == ""
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.create_dataset("kernel", (1 << 20, 1 << 20), chunks=(8, 8))
    assert oversized(tmp_path / "a.h5").startswith("'kernel' takes 4398046511104 bytes")


def test_a_part_that_was_changed_is_found_when_it_is_read(tmp_path: Path) -> None:
    values = np.arange(4, dtype=np.float32).tobytes()
    (tmp_path / "a.pt").write_bytes(archive(FIT, values).replace(values, values[::-1]))
    tensor = read_tensors(tmp_path / "a.pt", key="weights")["a"]
    with pytest.raises(ConfigError, match=r"a\.pt cannot be read \(Bad CRC-32"):
        tensor.read()
