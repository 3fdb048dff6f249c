"""Damage to files: what disks, networks, spreadsheets and editors do to them, and what a hostile file would say.

`mutate(data, kind, rng)` gives one damaged version of `data`. Where a kind has checksums or is packed (PNG, NPZ, gzip),
most versions are damaged inside and closed again, since readers would go no further than the checksum otherwise. Some
of HDF5 are whole files of other contents.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import yaml

from skyfold.files import with_checksum

Rng = np.random.Generator
Damage = Callable[[bytes, Rng], bytes]

EXTREME = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS = (
    "0",
    "-1",
    "1e308",
    "-1e308",
    "nan",
    "inf",
    "9" * 25,
    "2147483648",
    "1.5",
    "1e-320",
    "0x10",
    "1_0",
    "٣",
    "１２",
)
WORDS = (
    *NUMBERS,
    "",
    " ",
    "true",
    "null",
    "NA",
    "a/b",
    "..",
    "\x1b[31m",
    "\ud55c",
    "e\u0301",
    "=1+1",
    '"',
    "#",
    "&a",
    "*a",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**30, 0.5, -0.0, 1e308, math.nan, math.inf, "", "x", "1", "yes", "\x1b[2J"),
    *([], {}, [[]], [None], {"a": 1}, {"": {}}, ["x", 1], "../x", "x" * 300, list(range(50))),
)


def mutate(data: bytes, kind: str, rng: Rng) -> bytes:
    """`data` of this kind, damaged once to four times."""
    if kind == "hdf5" and rng.random() < 0.4:
        return other_hdf5(data, rng)
    for _ in range(min(4, int(rng.geometric(0.6)))):
        damages = DAMAGES[kind]
        data = damages[int(rng.integers(len(damages)))](data, rng)
    return with_right_checksum(data) if kind == "json" and rng.random() < 0.8 else data


def with_right_checksum(data: bytes) -> bytes:
    """A record of JSON with the checksum of the values it has now; anything else as it is."""
    try:
        values = json.loads(data)
        if isinstance(values, dict):
            return json.dumps(with_checksum({key: values[key] for key in values if key != "checksum"})).encode()
    except (ValueError, RecursionError):
        pass
    return data


def flip_bits(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, max(len(data), 1), size=int(rng.integers(1, 9))):
        if changed:
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def _span(data: bytes, rng: Rng) -> slice:
    start = int(rng.integers(0, len(data) + 1))
    return slice(start, start + int(rng.integers(1, max(2, min(len(data), 64)))))


def double_chunk(data: bytes, rng: Rng) -> bytes:
    span = _span(data, rng)
    return data[: span.stop] + data[span] * int(rng.choice([1, 1, 1, 50])) + data[span.stop :]


def delete_chunk(data: bytes, rng: Rng) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def overwrite_chunk(data: bytes, rng: Rng) -> bytes:
    span = _span(data, rng)
    size = len(data[span])
    filling = (bytes(size), b"\xff" * size, rng.bytes(size))[int(rng.integers(3))]
    return data[: span.start] + filling + data[span.stop :]


def extreme_number(data: bytes, rng: Rng) -> bytes:
    """A number of 1 to 8 bytes, of either byte order, half of the time among the first 64 bytes."""
    size, order = int(rng.choice([1, 2, 4, 8])), ("little", "big")[int(rng.integers(2))]
    number = (int(rng.choice(EXTREME)) if rng.random() < 0.8 else -1) % (1 << 8 * size)
    reach = min(len(data), 64) if rng.random() < 0.5 else len(data)
    place = int(rng.integers(0, max(reach, 1)))
    return data[:place] + number.to_bytes(size, order) + data[place + size :]  # type: ignore[arg-type]


def replace_token(data: bytes, rng: Rng) -> bytes:
    tokens = list(re.finditer(rb"[^\s,;:\"'{}\[\]]+", data))
    if not tokens:
        return data
    token = tokens[int(rng.integers(len(tokens)))]
    return data[: token.start()] + _word(rng) + data[token.end() :]


def insert_word(data: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(0, len(data) + 1))
    return data[:place] + _word(rng) + data[place:]


def _word(rng: Rng) -> bytes:
    if rng.random() < 0.1:  # bytes that are no UTF-8, a null, ends of lines, a cell where spreadsheets cut
        return (b"\xb0\xa1", b"\xff", b"\x00", b"\r", b"\n\n", b"1 1 " * 8192, b"\xef\xbb\xbf")[int(rng.integers(7))]
    return WORDS[int(rng.integers(len(WORDS)))].encode("utf-8", "surrogatepass")


def shuffle_lines(data: bytes, rng: Rng) -> bytes:
    """A line is left out, doubled, or moved."""
    lines = data.split(b"\n")
    line = lines.pop(int(rng.integers(len(lines))))
    for _ in range(int(rng.integers(3))):
        lines.insert(int(rng.integers(len(lines) + 1)), line)
    return b"\n".join(lines)


def other_separator(data: bytes, rng: Rng) -> bytes:
    pairs = [(b",", b";"), (b",", b"\t"), (b"\n", b"\r\n"), (b"\n", b"\r"), (b",", b", "), (b",", b',"'), (b",", b"")]
    old, new = pairs[int(rng.integers(len(pairs)))]
    return data.replace(old, new, int(rng.choice([-1, 1])))


def other_encoding(data: bytes, rng: Rng) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(str(rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp949"])), "replace")


def other_values(tree: Any, rng: Rng) -> Any:
    """A tree of lists and tables with one node left out, doubled, renamed, wrapped, or of another type."""
    tree = copy.deepcopy(tree)
    holders: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict | list) and not any(node is known for known in holders):  # one for all its aliases
            holders.append(node)
            for inner in node.values() if isinstance(node, dict) else node:
                walk(inner)

    walk(tree)
    holder = holders[int(rng.integers(len(holders)))] if holders else []
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    value = VALUES[int(rng.integers(len(VALUES)))]
    if not keys:
        return value
    key = keys[int(rng.integers(len(keys)))]
    what = int(rng.integers(6))
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {"x": holder[key]}
    elif what == 2 and isinstance(holder, dict):
        holder[str(value)[:20] if rng.random() < 0.5 else f"{key}s"] = holder.pop(key)
    elif what == 2:
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = copy.deepcopy(value)
    return tree


def other_json(data: bytes, rng: Rng) -> bytes:
    if rng.random() < 0.02:
        return b"[" * 200_000 if rng.random() < 0.5 else b'{"a":' * 100_000
    try:
        return json.dumps(other_values(json.loads(data), rng)).encode()
    except (ValueError, RecursionError):
        return replace_token(data, rng)


def other_yaml(data: bytes, rng: Rng) -> bytes:
    if rng.random() < 0.03:
        return BOMBS[int(rng.integers(len(BOMBS)))]
    try:
        return yaml.safe_dump(other_values(yaml.safe_load(data), rng), sort_keys=False, allow_unicode=True).encode()
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, OverflowError, TypeError):
        return replace_token(data, rng)


BOMBS = (
    b"[" * 20_000,
    b"a: " * 3_000,
    b"- " * 5_000,
    b"".join(b"x%d: &x%d [%s]\n" % (i, i, b",".join([b"*x%d" % (i - 1)] * 9) if i else b"1,1") for i in range(30)),
    b"a: &a [*a]\n",
    b"a: &a {b: *a}\n<<: *a\n",
    b"<<: [1, 2]\n",
    b"? {a: 1}\n: 2\n? [1]\n: 3\n",
    b"name: !!python/object/apply:os.system [true]\n",
    b"a: 2020-99-99\n",
    b"a: 1e99999\nb: 0b2\nc: 1:99:99\n",
    b"a: !!binary x\nb: !!timestamp x\nc: !!int x\nd: !!float x\ne: !!set [1]\n",
)


def other_npy_header(data: bytes, rng: Rng) -> bytes:
    """The header of a .npy file with another type, order or shape."""
    if not data.startswith(b"\x93NUMPY") or len(data) < 12:
        return flip_bits(data, rng)
    size = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + size].decode("latin-1").rstrip()
    types = ("|O", "<f8", "<f4", ">i2", "<U5", "|S3", "<M8[D]", "|V8", "<c16", "|b1", "<f2", "<u8", "x", "<i99")
    shapes = (
        "()",
        "(0,)",
        "(-1,)",
        "(1, 1)",
        f"({2**40},)",
        f"({2**31}, {2**31})",
        "(True,)",
        "(1.5,)",
        "'x'",
        "(2, 3, 4)",
    )
    if rng.random() < 0.5:
        header = re.sub(r"'descr': [^,]*", f"'descr': '{rng.choice(types)}'", header)
    else:
        header = re.sub(r"\([^)]*\)", str(rng.choice(shapes)), header)
    if rng.random() < 0.2:
        header = header.replace("False", "True")
    if rng.random() < 0.05:
        header = "(" * 20_000
    text = header.encode("latin-1") + b" " * (-(len(header) + 11) % 64) + b"\n"
    return data[:8] + (len(text) % 65536).to_bytes(2, "little") + text + data[10 + size :]


def within_npz(data: bytes, rng: Rng) -> bytes:
    """One array of a .npz archive is damaged, or left out; the archive is whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, OSError):
        return flip_bits(data, rng)
    if not members:
        return data
    name = list(members)[int(rng.integers(len(members)))]
    members[name] = mutate(members[name], "npy", rng)
    if rng.random() < 0.1:
        del members[name]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def with_right_checksums(data: bytes, rng: Rng) -> bytes:
    """A PNG damaged within its chunks, their checksums made right again; its size, depth or kind in a third of them."""
    chunks = list(_png_chunks(data))
    if not chunks:
        return flip_bits(data, rng)
    place = 0 if rng.random() < 0.34 else int(rng.integers(len(chunks)))
    kind, content = chunks[place]
    chunks[place] = (kind, BYTES[int(rng.integers(len(BYTES)))](content, rng))
    if rng.random() < 0.1:
        chunks.insert(int(rng.integers(len(chunks) + 1)), chunks[int(rng.integers(len(chunks)))])
    parts = [data[:8]]
    for kind, content in chunks:
        parts += [len(content).to_bytes(4, "big"), kind, content, zlib.crc32(kind + content).to_bytes(4, "big")]
    return b"".join(parts)


def _png_chunks(data: bytes):  # type: ignore[no-untyped-def]
    place = 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            return
        yield data[place + 4 : place + 8], data[place + 8 : end - 4]
        place = end


def within_gzip(data: bytes, rng: Rng) -> bytes:
    try:
        return gzip.compress(mutate(gzip.decompress(data), "csv", rng), mtime=0)
    except (OSError, EOFError, zlib.error):
        return flip_bits(data, rng)


HDF5_VALUES: tuple[Any, ...] = (
    *(0, -1, 1e308, math.nan, math.inf, 2**63 - 1, True, "", "x", "1", b"\xff\xfe", "x" * 5000, "days since 1-1-1"),
    *([], [1, 2], [0.5] * 300, ["a", "b"], [[1, 2], [3, 4]], h5py.Empty("f8"), np.zeros((), "V9"), 1j),
    *(np.zeros(2, [("a", "i4"), ("b", "f8")]), np.float16(0.004), np.int8(-1), np.array(["a"], dtype=object)),
)
HDF5_TYPES = (*("f2", "f8", ">i2", "u8", "?", "c16", "S3", "V8"), h5py.string_dtype(), h5py.vlen_dtype("i4"))


def other_hdf5(data: bytes, rng: Rng) -> bytes:
    """A whole HDF5 file in which something is of another type, shape or storage, refers elsewhere, or is not there."""
    packed = io.BytesIO(data)
    with h5py.File(packed, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[int(rng.integers(len(names)))]
        if rng.random() < 0.5:
            attributes = file[name].attrs
            keys = [*attributes, "units", "scale_factor", "_FillValue", "gain", "undetect"]
            key = keys[int(rng.integers(len(keys)))]
            attributes.pop(key, None)
            if rng.random() < 0.9:
                attributes[key] = HDF5_VALUES[int(rng.integers(len(HDF5_VALUES)))]
            return _closed(file, packed)
        shape = getattr(file[name], "shape", None) or (1, 4, 3)
        del file[name]
        _other_variable(file, name, shape, rng)
        return _closed(file, packed)


def _closed(file: h5py.File, packed: io.BytesIO) -> bytes:
    file.flush()
    file.close()
    return packed.getvalue()


def _other_variable(file: h5py.File, name: str, shape: tuple[int, ...], rng: Rng) -> None:
    kind = HDF5_TYPES[int(rng.integers(len(HDF5_TYPES)))]
    shapes = ((), (0, *shape), (2**40, *shape), shape[1:], (1, *shape), (*shape[:-1], 2**31), (3, 3))
    other = shapes[int(rng.integers(len(shapes)))]
    chunks = tuple(min(side, 2**10) for side in other) if 0 not in (other or (0,)) else None
    choices: tuple[Callable[[], object], ...] = (
        lambda: None,
        lambda: file.create_group(name),
        lambda: file.create_dataset(name, shape, kind),
        lambda: file.create_dataset(name, other, "u1", chunks=chunks),
        lambda: file.create_dataset(name, shape, "u2", chunks=shape, fletcher32=True, shuffle=True),
        lambda: file.create_dataset(name, shape, "u1", chunks=(1,) * len(shape), compression="lzf"),
        lambda: file.create_dataset(name, shape, "i2", chunks=shape, scaleoffset=4),
        lambda: file.create_dataset(name, shape, "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        lambda: file.create_virtual_dataset(name, h5py.VirtualLayout(shape, "u1")),
        lambda: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
        lambda: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
        lambda: file.create_dataset(name, data=h5py.Empty("u1")),
        lambda: file.create_dataset(name, shape, "u1", chunks=shape, compression=1, data=np.full(shape, 200, "u1")),
    )
    choices[int(rng.integers(len(choices)))]()


BYTES: tuple[Damage, ...] = (
    flip_bits,
    cut,
    double_chunk,
    delete_chunk,
    overwrite_chunk,
    extreme_number,
    extreme_number,
)
TEXT: tuple[Damage, ...] = (replace_token, replace_token, insert_word, shuffle_lines, other_separator, other_encoding)
DAMAGES: dict[str, tuple[Damage, ...]] = {
    "bytes": BYTES,
    "hdf5": BYTES,
    "png": (*[with_right_checksums] * 12, *BYTES),
    "npy": (*[other_npy_header] * 4, *BYTES),
    "npz": (*[within_npz] * 12, *BYTES),
    "csv": (*TEXT, *TEXT, *BYTES),
    "csv.gz": (*[within_gzip] * 12, *BYTES),
    "json": (*[other_json] * 12, *TEXT, *BYTES),
    "yaml": (*[other_yaml] * 12, *TEXT, *BYTES),
}
