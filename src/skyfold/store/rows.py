"""Memory-mapped arrays, one row per sample, with a completeness flag and a CRC-32 per row.

Parts of a memory map that were never written read as zeros. Here the checksum is written after the row and the flag
after the checksum, so that a process killed at any moment leaves rows that are whole or not complete.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np

from skyfold.errors import DamagedFile, NewerFile, OofMismatch, TooLarge
from skyfold.files import crc32, digest, write_atomic
from skyfold.memory import too_large_for_disk
from skyfold.progress import Progress
from skyfold.store.records import RowsRecord, read_record, write_record
from skyfold.types import JsonDict

CHUNK_BYTES = 64 << 20
Shape = tuple[int, ...]
REMEDY = (
    "The command that wrote it does so again: skyfold train CONFIG, skyfold blend CONFIG, of forecasts skyfold run "
    "CONFIG; a cache may be deleted at any time."
)


# Which rows this process has verified, bool (n,), by the state of a store's files.
_verified: dict[tuple[object, ...], np.ndarray] = {}


class RowStore:
    """Rows `values[i]` of one dtype for `ids[i]`, of one shape or each of its own, in a folder of `.npy` files.

    Open with `RowStore.open_or_create` to write (complete rows are kept) or `RowStore.open` to read.

    Attributes: ids (n,) str; values (n, *shape) memory map, or `RowsOfShapes`; complete (n,) bool; fingerprint: what
    the rows were made from.
    """

    def __init__(self, folder: Path, *, writable: bool) -> None:
        meta = read_record(folder / "rows.json", RowsRecord, remedy=REMEDY)
        mode: Literal["r+", "r"] = "r+" if writable else "r"
        self.folder = folder
        self.fingerprint = meta["fingerprint"]
        self.ids = np.array(meta["ids"], dtype=str)
        count = len(self.ids)
        dtype, shapes = np.dtype(meta["dtype"]), meta.get("shapes")
        if shapes is None:
            self.values = _map(folder / "values.npy", (count, *meta["shape"]), dtype, mode)
        else:
            flat = _map(folder / "values.npy", (sum(map(math.prod, shapes)),), dtype, mode)
            self.values = cast(np.ndarray, RowsOfShapes(flat, [tuple(shape) for shape in shapes]))
        self._crc = _map(folder / "crc32.npy", (count,), np.dtype(np.uint32), mode)
        self._complete = _map(folder / "complete.npy", (count,), np.dtype(np.uint8), mode)

    @classmethod
    def open(cls, folder: Path) -> RowStore:
        """Open to read; OofMismatch where `folder` holds no store."""
        if not (folder / "rows.json").is_file():
            raise OofMismatch(f"{folder}: no stored rows here. Run `skyfold train` or `skyfold prepare` first.")
        return cls(folder, writable=False)

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        *,
        ids: Sequence[str] | np.ndarray,
        shape: Shape | Sequence[Shape],
        dtype: str,
        fingerprint: str,
    ) -> RowStore:
        """Open to write. A store of other ids, shape, dtype or `fingerprint` is created anew, and so is one that is
        truncated; else its complete rows are kept, except those that no longer hold what was written. Where `ids` are
        those of the store and more, rows are added to it.

        shape: of each row; a list of shapes, one a row, where they differ.
        """
        names = [str(i) for i in ids]
        wanted = {"ids": names, "shape": list(shape), "dtype": np.dtype(dtype).str, "fingerprint": fingerprint}
        size: Shape = (len(names), *shape) if isinstance(shape, tuple) else (sum(map(math.prod, shape)),)
        if not isinstance(shape, tuple):
            wanted |= {"shape": [], "shapes": [list(one) for one in shape]}
        if len(set(names)) != len(names):
            raise OofMismatch(f"{folder}: an id is listed twice; every row needs an id of its own.")
        meta, grown = folder / "rows.json", folder.with_name(f".grown-{folder.name}")
        if grown.is_dir() and not meta.is_file():  # killed before it took the place of the former
            shutil.rmtree(folder, ignore_errors=True)
            grown.rename(folder)
        try:
            stored = read_record(meta, RowsRecord, remedy=REMEDY) if meta.is_file() else None
            if stored == wanted:
                store = cls(folder, writable=True)
                store._complete[list(store._damaged())] = 0
                return store
            if stored is not None and _is_grown(stored, wanted):
                store = cls(folder, writable=False)
                growing = folder.with_name(f".growing-{folder.name}")
                beside = cls.open_or_create(growing, ids=ids, shape=shape, dtype=dtype, fingerprint=fingerprint)
                store._copy_to(beside)
                shutil.rmtree(grown, ignore_errors=True)
                beside.folder.rename(grown)
                meta.unlink()
                shutil.rmtree(folder)
                grown.rename(folder)
                return cls(folder, writable=True)
        except NewerFile:
            raise
        except DamagedFile:
            pass  # its rows can be made again
        meta.unlink(missing_ok=True)
        count = len(names)
        _create(folder / "values.npy", size, np.dtype(dtype))
        _create(folder / "crc32.npy", (count,), np.dtype(np.uint32))
        _create(folder / "complete.npy", (count,), np.dtype(np.uint8))
        write_record(meta, wanted)  # last: without it the folder counts as empty
        return cls(folder, writable=True)

    @property
    def complete(self) -> np.ndarray:
        """Whether each row was written: bool (n,)."""
        return np.asarray(self._complete, dtype=bool)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.checked[index]

    def write(self, rows: np.ndarray, values: np.ndarray | Sequence[np.ndarray]) -> None:
        """Write `values[j]` into row `rows[j]`, then its checksum, then its flag.

        As bytes of the file, not by way of the memory map, in which every page would be touched by itself.
        """
        for row, value in zip(rows, values, strict=True):
            if value.dtype.kind == "f" and not np.isfinite(value).all():  # a cast would make whole numbers of them
                raise OofMismatch(
                    f"{self.folder}: values for '{self.ids[row]}' are NaN or infinite; nothing was written. Look at "
                    "this sample, and at what is predicted for it."
                )
        self._complete[rows] = 0
        checksums = []
        with open(self.folder / "values.npy", "r+b") as file:
            for row, value in zip(rows.tolist(), values, strict=True):
                if value.shape != (shape := row_shape(self.values, row)):
                    raise ValueError(f"{self.folder}: row {row} has shape {shape}, got values {value.shape}")
                stored = np.ascontiguousarray(value, dtype=self.values.dtype)
                file.seek(self._offset(row))
                file.write(stored.data)
                checksums.append(crc32(stored.data))
        self._crc[rows] = checksums
        self._complete[rows] = 1

    def fill(self, chunks: Iterable[tuple[np.ndarray, np.ndarray]], *, count: int, label: str) -> None:
        """Write chunks as they come, (row numbers, values) each, and flush; shows progress over `count` rows."""
        with Progress(label, count, "rows") as progress:
            for rows, values in chunks:
                self.write(rows, values)
                release_pages(self.values)
                progress.advance(len(rows))
        self.flush()

    def read(self, rows: np.ndarray) -> np.ndarray:
        """A copy of `rows`, which are of one shape, (len(rows), *shape).

        Of the file, not by way of the memory map, of which pages that are not in memory come a few at a time.
        """
        shape = row_shape(self.values, rows[0])
        found = np.empty((len(rows), *shape), self.values.dtype)
        free = found.reshape(-1).view(np.uint8)
        with open(self.folder / "values.npy", "rb") as file:
            for row in rows.tolist():
                if row_shape(self.values, row) != shape:
                    raise ValueError(f"{self.folder}: row {row} has shape {row_shape(self.values, row)}, not {shape}")
                file.seek(self._offset(row))
                if file.readinto(free[: found[0].nbytes].data) < found[0].nbytes:
                    raise self._differs(row)
                free = free[found[0].nbytes :]
        return found

    def _offset(self, row: int) -> int:
        """Bytes before a row in values.npy."""
        if isinstance(self.values, RowsOfShapes):
            start, file = self.values.start(row), self.values.flat
        else:
            start, file = row * math.prod(self.values.shape[1:]), self.values
        return int(file.offset + start * file.dtype.itemsize)  # type: ignore[attr-defined]  # a memmap

    def checksum(self) -> str:
        """A digest of the rows' checksums: the same for the same values, whenever they were written."""
        return _checksum(self._crc, self._complete)

    def row_checksum(self, row: int) -> str:
        """The checksum that row i was written with, which is known without reading the row."""
        return f"{int(self._crc[row]):08x}"

    def flush(self) -> None:
        """Force rows, checksums and flags to disk, in that order."""
        for array in (self.values, self._crc, self._complete):
            array.flush()  # type: ignore[attr-defined]  # a memmap, typed as the ndarray it is used as
        _verified[self._identity()] = self.complete  # verified when it was opened, or written since

    @cached_property
    def checked(self) -> CheckedRows:
        """The rows, each verified when it is first read."""
        return CheckedRows(self)

    def verified(self) -> np.ndarray:
        """Rows that this process has verified in this state of the files: bool (n,), to be marked by who verifies."""
        return _verified.setdefault(self._identity(), np.zeros(len(self), dtype=bool))

    def holds(self, row: int, values: np.ndarray) -> bool:
        """Whether `values`, read from `row`, are what was written there; of a row that is not complete, yes."""
        return not self._complete[row] or crc32(np.ascontiguousarray(values).data) == self._crc[row]

    def _differs(self, row: int) -> OofMismatch:
        return OofMismatch(
            f"{self.folder}: row {row} ('{self.ids[row]}') differs from what was written (disk fault or foreign edit). "
            f"{REMEDY}"
        )

    def _identity(self) -> tuple[object, ...]:
        """Changes with any write to the files that does not come by way of this store."""
        states = [(self.folder / name).stat() for name in ("values.npy", "crc32.npy", "complete.npy")]
        return (self.folder, *((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states))

    def _copy_to(self, other: RowStore) -> None:
        """Write the complete rows that hold what was written into those of the same ids of another store."""
        row_of = {name: row for row, name in enumerate(other.ids.tolist())}
        damaged = set(self._damaged())
        for row in np.flatnonzero(self.complete).tolist():
            if row not in damaged:
                other.write(np.array([row_of[str(self.ids[row])]]), [np.asarray(self.values[row])])
                release_pages(self.values)
        other.flush()

    def _damaged(self) -> Iterator[int]:
        """The complete rows whose values have another checksum than when they were written."""
        verified = self.verified()
        for rows in self.chunks(np.flatnonzero(self.complete & ~verified)):
            for row in rows.tolist():
                verified[row] = self.holds(row, self.values[row])
                if not verified[row]:
                    yield row
            release_pages(self.values)

    def chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """`rows` in pieces of about 64 MB of values."""
        return pieces([self.values], rows, CHUNK_BYTES)


def rows_checksum(folder: Path) -> str:
    """`checksum` of the store in `folder`, whose ids, which take longest to read, are left alone."""
    crc = _map(folder / "crc32.npy", None, np.dtype(np.uint32), "r")
    return _checksum(crc, _map(folder / "complete.npy", crc.shape, np.dtype(np.uint8), "r"))


def _checksum(crc: np.ndarray, complete: np.ndarray) -> str:
    return digest(np.ascontiguousarray(crc).tobytes(), np.ascontiguousarray(complete).tobytes())


class RowsOfShapes:
    """Rows that differ in shape, one after the other in a flat memory map: `rows[i]` is a view of row i.

    A slice or list of rows is read stacked, where all of these are of one shape. shape: as of an array (n, ...), None
    where rows differ.
    """

    def __init__(self, flat: np.ndarray, shapes: Sequence[Shape]) -> None:
        self.flat, self.shapes, self.base = flat, shapes, flat.base
        self.dtype, self.ndim = flat.dtype, 1 + len(shapes[0]) if shapes else 1
        sides = [set(side) for side in zip(*shapes, strict=True)]
        self.shape = (len(shapes), *(next(iter(side)) if len(side) == 1 else None for side in sides))
        self._ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, int | np.integer):
            shape = self.shapes[int(index)]
            return self.flat[self.start(int(index)) : self._ends[index]].reshape(shape)
        return np.stack([self[row] for row in np.arange(len(self))[index]])

    def row_shape(self, row: int) -> Shape:
        """Shape of row i."""
        return self.shapes[row]

    def start(self, row: int) -> int:
        """Where row i begins in `flat`."""
        return int(self._ends[row]) - math.prod(self.shapes[row])

    def flush(self) -> None:
        """Force all to disk."""
        self.flat.flush()  # type: ignore[attr-defined]  # a memmap, typed as the ndarray it is used as


@runtime_checkable
class OwnShapes(Protocol):
    """Rows that may differ in shape."""

    def row_shape(self, row: int) -> Shape: ...


def row_shape(values: Any, row: int) -> Shape:
    """Shape of one row of an array (n, ...), or of rows that may differ."""
    if isinstance(values, np.ndarray):  # told apart a hundred times faster than by the protocol
        return tuple(values.shape[1:])
    return values.row_shape(row) if isinstance(values, OwnShapes) else tuple(values.shape[1:])


def pieces(arrays: Sequence[Any], rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Split `rows` where their shape changes, and into pieces of at most `most` bytes of any array, at least one row.

    arrays: (N, ...) each, rows of one shape in all but the last axis.
    """
    start = 0
    while start < len(rows):
        shapes = [row_shape(array, rows[start]) for array in arrays]
        largest = max(math.prod(shape) * array.dtype.itemsize for shape, array in zip(shapes, arrays, strict=True))
        end = min(len(rows), start + max(1, most // max(1, largest)))
        if any(None in array.shape for array in arrays):
            alike = (row for row in range(start, end) if row_shape(arrays[0], rows[row]) != shapes[0])
            end = next(alike, end)
        yield rows[start:end]
        start = end


class CheckedRows:
    """Rows of a store, read like an array (n, ...) by row, slice or list of rows.

    A row is verified when this process first reads it, so that nothing is read a second time to be verified;
    OofMismatch names one that no longer holds what was written.
    """

    def __init__(self, store: RowStore) -> None:
        self.store, self.base = store, store.values.base
        self.shape, self.dtype, self.ndim = store.values.shape, store.values.dtype, store.values.ndim
        self._verified = store.verified()

    def row_shape(self, row: int) -> Shape:
        """Shape of row i."""
        return row_shape(self.store.values, row)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            chosen, *within = index
            whole = self[chosen]
            if isinstance(chosen, int | np.integer):  # a part of the map keeps no copy of a whole scene
                return np.asarray(self.store.values[chosen][tuple(within)])
            return np.asarray(whole[(slice(None), *within)])
        rows, one = np.atleast_1d(np.arange(len(self))[index]), isinstance(index, int | np.integer)
        if not isinstance(index, slice) and not self._verified[rows].all():
            copied = self.copied(rows)
            return copied[0] if one else copied
        values = np.asarray(self.store.values[index])
        self._verify(rows, values[np.newaxis] if one else values)
        return values

    def copied(self, rows: np.ndarray) -> np.ndarray:
        """`RowStore.read` of `rows`, each verified when it is first read."""
        values = self.store.read(rows)
        self._verify(rows, values)
        return values

    def _verify(self, rows: np.ndarray, values: np.ndarray) -> None:
        for row, value in zip(rows.tolist(), values, strict=True):
            if not self._verified[row]:
                if not self.store.holds(row, value):
                    raise self.store._differs(row)
                self._verified[row] = True

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def _is_grown(stored: JsonDict, wanted: JsonDict) -> bool:
    """Whether rows of `wanted`, a record of rows, are those of `stored` and more."""
    before, now = (
        dict(zip(of["ids"], of.get("shapes") or [of["shape"]] * len(of["ids"]), strict=True)) for of in (stored, wanted)
    )
    alike = all(stored[key] == wanted[key] for key in ("dtype", "fingerprint"))
    return alike and 0 < len(before) < len(now) and all(now.get(name) == shape for name, shape in before.items())


def _map(path: Path, shape: tuple[int, ...] | None, dtype: np.dtype, mode: Literal["r+", "r"]) -> np.ndarray:
    """shape: None, any."""
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # "r+" would make up what is cut off
        if mode == "r+":
            array = np.lib.format.open_memmap(path, mode="r+")
    except FileNotFoundError:
        raise DamagedFile(f"{path}: missing. {REMEDY}") from None
    except OSError:
        raise
    except Exception as error:  # numpy raises whatever its parser of headers meets
        raise DamagedFile(f"{path}: cut off, or not what was written there ({error}). {REMEDY}") from None
    if array.shape != (shape or array.shape) or array.dtype != dtype:
        raise DamagedFile(f"{path}: holds {array.dtype} {array.shape}, expected {dtype} {shape}. {REMEDY}")
    return array


def _create(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    def write(beside: Path) -> None:
        if shortage := too_large_for_disk(beside.parent, math.prod(shape) * dtype.itemsize):
            raise TooLarge(f"{path}: {shortage}. Free some, or put the project on another disk (--root).")
        np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=shape).flush()
        size = beside.stat().st_size
        if not hasattr(os, "posix_fallocate"):
            return
        with open(beside, "rb+") as file:
            try:
                # Reserve the space: a disk that is full when a mapped page is written kills the process silently.
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise OSError(error.errno, f"{error.strerror}; it takes {size >> 20} MB", path) from None

    write_atomic(path, write)


def release_pages(array: Any) -> None:
    """Return the pages of a memory map that were read to the system; any other array stays as it is.

    They stay in the system's file cache and are read again on demand, but no longer count as memory of this process,
    which otherwise grows to the size of every file it has passed through.
    """
    if isinstance(getattr(array, "base", None), mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
