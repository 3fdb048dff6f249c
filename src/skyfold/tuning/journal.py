"""The journal that an Optuna study is kept in, and how one whose last line was torn off is mended.

A journal is a file of JSON lines, each synced to disk before the study goes on. A process killed while it writes, a
full disk or a power cut can leave half a line (or zeros) at the end; Optuna then refuses the journal as soon as
anything follows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from skyfold.errors import DamagedFile
from skyfold.tuning.file_lock import exclusive

Say = Callable[[str], None]


class MendedJournal(JournalFileBackend):
    """Optuna's journal file, mended when it is opened and before each line that is added.

    Before each line, since another worker may have died half-way through its own. DamagedFile where a line before
    the last cannot be read.
    """

    def __init__(self, path: Path, say: Say) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._say = path, say
        super().__init__(str(path), lock_obj=_HeldOutside(str(path)))
        with exclusive(_lock(path)):
            mend(path, say)
            check(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with exclusive(_lock(self._path)):
            mend(self._path, self._say)
            super().append_logs(logs)


def mend(path: Path, say: Say) -> None:
    """Cut off a last line that is not whole, keeping it beside the journal as `<name>.torn-<time>`; say so.

    A whole record that only lacks its line end gets one. Nothing before the last line is touched.
    """
    with open(path, "rb+") as file:
        start, last = _last_line(path, file.seek(0, os.SEEK_END))
        if not last or (last.endswith(b"\n") and _is_record(last)):
            return
        if _is_record(last):
            file.write(b"\n")
        else:
            kept = path.with_name(f"{path.name}.torn-{time.strftime('%Y%m%d-%H%M%S')}-{start}")
            kept.write_bytes(last)
            file.truncate(start)
            say(
                f"{path}: the last line was torn off ({len(last)} bytes, kept in {kept.name}); cut, all before it is "
                "there."
            )
        file.flush()
        os.fsync(file.fileno())


def check(path: Path) -> None:
    """DamagedFile naming the first line that cannot be read; the last one has been mended."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not _is_record(line):
                raise DamagedFile(
                    f"{path}: line {number} is not a record of a study ({line[:40]!r}). Remove this line with an "
                    "editor (its one record is lost), or put the study's folder away and begin again."
                )


def _last_line(path: Path, size: int) -> tuple[int, bytes]:
    """Where the last line begins, and its bytes with the line end if it has one."""
    with open(path, "rb") as file:
        begin = size
        tail = b""
        while begin and tail.rstrip(b"\n").count(b"\n") == 0:
            step = min(begin, 1 << 16)
            begin -= step
            file.seek(begin)
            tail = file.read(step) + tail
    without_end = tail[:-1] if tail.endswith(b"\n") else tail
    start = without_end.rfind(b"\n") + 1
    return begin + start, tail[start:]


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


class _HeldOutside(JournalFileOpenLock):
    """In the place of Optuna's own lock, which stays behind for 30 s when its holder is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
