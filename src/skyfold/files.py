"""Write files atomically: a killed process leaves the old file or the new one, never half of either."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import socket
import stat
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from skyfold.errors import DamagedFile, DataLayoutError, SkyfoldError

if TYPE_CHECKING:
    import pandas as pd

UNFINISHED = ".writing-"
CHECKSUM = ",checksum"  # how the header of a table with checksums ends


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, flush what it wrote to disk, and rename it into place.

    The temporary name ends as `path` does, since some writers choose their format by it. OSError names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{UNFINISHED}{host()}-{os.getpid()}-{path.name}")
    try:
        write(beside)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:  # those of a full or failing disk name no file
        if error.filename not in (None, str(beside)):
            raise
        what = os.strerror(error.errno) if error.errno else str(error)  # HDF5 tells its own story in the other one
        raise OSError(error.errno or errno.EIO, what, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV with Unix line ends; the first row holds the names of the columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def write_checked_csv(path: Path, table: pd.DataFrame, *, float_format: str | None = None) -> None:
    """Write a table as CSV with one column more, a checksum of each row, which `read_csv` verifies."""
    text = table.to_csv(index=False, float_format=float_format)
    head, *lines = text.split("\n")[:-1]
    if len(lines) == len(table):  # no cell holds a line end
        text = "".join(f"{line}\n" for line in (f"{head}{CHECKSUM}", *(f"{line},{digest(line)}" for line in lines)))
    write_text(path, text)


def _without_checksums(path: Path, remedy: str) -> io.StringIO | Path:
    """The table in `path`, without its checksums where it has some; DamagedFile where a row does not match its own."""
    head, *lines = path.read_bytes().decode(errors="replace").rstrip("\n").split("\n")
    if not head.endswith(CHECKSUM):
        return path
    rows = [head.removesuffix(CHECKSUM)]
    for number, line in enumerate(lines, start=2):
        row, _, checksum = line.rpartition(",")
        if digest(row) != checksum:
            raise DamagedFile(f"{path}: line {number} was edited since it was written. {remedy}")
        rows.append(row)
    return io.StringIO("\n".join(rows))


def read_csv(path: Path, *, text: Sequence[str], remedy: str, empty: bool = False) -> pd.DataFrame:
    """A table that `write_csv` or `write_checked_csv` wrote: the columns `text`, which must be there, as str, others as
    numbers.

    empty: whether a cell may hold no number, NaN then. DamagedFile, with `remedy`, where the file is no such table.
    """
    import numpy as np
    import pandas as pd

    not_numbers = "" if empty else None
    try:
        whole = _without_checksums(path, remedy)
        table = pd.read_csv(whole, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=not_numbers)
        if not isinstance(table.index, pd.RangeIndex):  # so pandas takes rows with more fields than columns
            raise ValueError(f"rows have more fields than the {len(table.columns)} columns")
    except ValueError as error:  # of pandas, where the file is empty or no table
        raise DamagedFile(f"{path}: no table ({error}). {remedy}") from None
    for name in text:
        if name not in table:
            raise DamagedFile(f"{path}: there is no column '{name}'. {remedy}")
    for name in table.columns.difference(list(text), sort=False):
        column = table[name]
        numeric = column.dtype.kind in "iuf"
        if not numeric or not (np.isfinite(column) | (empty & column.isna())).all():
            raise DamagedFile(f"{path}: column '{name}' holds something other than numbers. {remedy}")
    return table


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write `value` as indented JSON; NaN is refused, since it is not JSON."""
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as JSON holds them, and a digest of them, so that an edit of the file is noticed."""
    held = json.loads(json.dumps(values, allow_nan=False))
    return {**held, "checksum": values_checksum(held)}


def values_checksum(held: Mapping[str, Any]) -> str:
    """The digest that `with_checksum` adds to values, as JSON holds them."""
    return digest(json.dumps(held, sort_keys=True))


def read_json(path: Path, *, remedy: str = "Delete it and run the stage that writes it again.") -> Any:
    """What `write_json` wrote; DamagedFile, with `remedy`, where the file is cut off or is not JSON."""
    try:
        values = from_json(path.read_bytes(), allow_inf_nan=False)
        json.dumps(values, allow_nan=False)  # 1e999 is read as infinity
    except ValueError as error:
        raise DamagedFile(f"{path}: not whole JSON ({error}). {remedy}") from None
    return values


def require_file(path: Path, expected: str, refuse: type[SkyfoldError] = DataLayoutError) -> None:
    """`refuse` unless `path` is a plain file: one that is missing, a folder, or a pipe that would never answer.

    expected: what to call it in the message.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        gone = ": a link to a file that is not there. Remove it, or bring the file back." if path.is_symlink() else ""
        raise refuse(f"{path}{gone or ': no such file.'}") from None
    except (OSError, ValueError) as error:  # a link to itself, a folder that may not be entered, an impossible name
        why = error.strerror if isinstance(error, OSError) else error
        raise refuse(f"{path}: cannot be read ({why}). Remove it, or change its permissions.") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise refuse(f"{path}: {kind}, expected {expected}. Rename or remove it.")


def read_bytes(path: Path, expected: str, *, most: int = -1) -> bytes:
    """The first `most` bytes of a file, -1: all; DataLayoutError where it is missing, a folder or empty.

    expected: for the message.
    """
    require_file(path, expected)
    try:
        with open(path, "rb") as file:
            data = file.read(most)
    except OSError as error:
        raise DataLayoutError(
            f"{path}: cannot be read ({error.strerror}). Copy it again, or change its rights."
        ) from None
    if not data:
        raise DataLayoutError(f"{path}: the file is empty. Download it again.")
    return data


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes of this host left of `write_atomic` at `path`, beside it, and below it."""
    for left in (*path.parent.glob(f"{UNFINISHED}*"), *path.rglob(f"{UNFINISHED}*")):
        # Older versions named no host.
        named = re.match(rf"{re.escape(UNFINISHED)}(?:([\w.]+)-)?(\d+)-", left.name)
        if named and named[1] in (None, host()) and not process_lives(int(named[2])):
            left.unlink(missing_ok=True)


def host() -> str:
    """Name of this machine, of letters, digits, dots and underscores."""
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())


def process_lives(pid: int) -> bool:
    """Whether a process of this host has this number; on Windows, where asking would end it, yes."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def digest(*parts: bytes | str) -> str:
    """The first 16 hex digits of a sha256: enough to tell configs, folds and files apart."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()[:16]


def crc32(data: bytes | memoryview, start: int = 0) -> int:
    """CRC-32 as `zlib.crc32`, whose result for the bytes before is `start`; by libdeflate, 10 to 20 times as fast,
    where imagecodecs was built with it."""
    import imagecodecs

    if not imagecodecs.DEFLATE.available:
        return zlib.crc32(data, start)
    return int(imagecodecs.deflate_crc32(data, start))  # type: ignore[arg-type]  # any buffer


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
