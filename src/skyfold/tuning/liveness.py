"""Which workers of a study are alive: each holds a lock on a file of its own, and touches it.

The kernel gives the lock back when the worker dies, at once and on any host that shares the folder's locks. Where a
file system does not carry locks from host to host, a worker elsewhere passes for alive while its file was touched of
late.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from skyfold.files import write_text

BEAT_SECONDS = 15.0
GRACE_SECONDS = 120.0  # without a beat; a worker that swaps, or a slow file server, may miss some


class Worker:
    """In its `with` block this process is a living worker of the study in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._ended = threading.Event()

    def __enter__(self) -> Worker:
        self._path = _file(self.folder, self.name)
        write_text(self._path, json.dumps({"host": _host(), "pid": os.getpid(), "since": time.time()}) + "\n")
        self._file = open(self._path, "rb")  # open as long as the worker lives
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._beat = threading.Thread(target=self._touch, daemon=True)
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beat.join()
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _touch(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                os.utime(self._path)
            except OSError:  # a file server that is away for a moment; the next beat may reach it
                continue


def alive(folder: Path, name: str, *, now: float) -> bool:
    """Whether the worker `name` lives. now: time by the clock of the file system (see `file_time`)."""
    path = _file(folder, name)
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            here = name.startswith(f"{_host()}-")
            return not here and now - os.fstat(file.fileno()).st_mtime < GRACE_SECONDS
    except FileNotFoundError:
        return False


def forget(folder: Path, name: str) -> None:
    """Remove the file that a dead worker left."""
    _file(folder, name).unlink(missing_ok=True)


def file_time(folder: Path) -> float:
    """The time by the clock that stamps files in `folder`, which may be another host's."""
    probe = folder / f".clock-{os.getpid()}"
    probe.write_bytes(b"")
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _file(folder: Path, name: str) -> Path:
    return folder / "workers" / f"{name}.json"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
