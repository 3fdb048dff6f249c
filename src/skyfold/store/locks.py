"""Locks between processes: one command writes a run, blend, forecast, submission or folds.csv, or several read it.

Each holder has a file of its own, `.locks/<name>@<host>-<pid>-<random>.lock` beside what it holds, with a lock that the
system releases when the process ends, however it ends. Beside it a record says who that is. On a file system without
locks the file itself is the lock (`SoftFileLock`): of a dead process it is stale, and of another host where it has not
been touched for `STALE_SECONDS`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from skyfold.errors import Locked
from skyfold.files import host, process_lives, remove_unfinished, write_text

HEARTBEAT_SECONDS = 15
STALE_SECONDS = 120  # without a heartbeat: a process that swaps, or a slow network, may miss some
POLL_SECONDS = 0.05
TOLD_SECONDS = 5  # of waiting
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@dataclass(frozen=True)
class Holder:
    """Who holds a lock file. writes: alone; else beside others that read; soft: the file system carries no locks."""

    host: str
    pid: int
    since: str
    command: str
    writes: bool
    soft: bool

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} ({self.command})"


@contextmanager
def held(*, writes: Sequence[Path] = (), reads: Sequence[Path] = ()) -> Iterator[None]:
    """Write these files and folders, which nobody else may read or write meanwhile, and read those.

    Locked, at once, where another process holds one of them. What killed processes began to write is removed.
    """
    with ExitStack() as stack:
        for path in sorted({*writes, *reads}):
            stack.enter_context(_one_held(path, writes=path in writes))
        for path in writes:
            remove_unfinished(path)
        yield


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, once nobody else does: for work that is short, or that both processes would do."""
    with _file_held(path, writes=True, wait=True):
        yield


@contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which no other process takes, so that others see that this one is alive."""
    with _file_held(path, writes=False, wait=False):
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file `path`; one that nobody holds is removed."""
    who = _holder(path)
    if who is not None and who.soft:
        alive = not _is_stale(path, who)
    else:
        try:
            with FileLock(path, blocking=False):
                alive = False
        except Timeout:
            alive = True
    if not alive:
        path.unlink(missing_ok=True)
        _record(path).unlink(missing_ok=True)
    return alive


def holders(folder: Path) -> dict[str, list[Holder]]:
    """Living processes that hold files and folders in `folder`, by their names."""
    found: dict[str, list[Holder]] = {}
    locks = folder / ".locks"
    if locks.is_dir():
        with waited_for(locks / "gate.lock"):
            for name, who in _living(locks):
                found.setdefault(name, []).extend([who] if who else [])
    return found


def living_holder(path: Path) -> Holder | None:
    """Who holds the lock file `path`; None where nobody does."""
    return _holder(path) if is_held(path) else None


def _living(folder: Path, name: str | None = None) -> Iterator[tuple[str, Holder | None]]:
    """What is held by the locks in `folder`, None: anything, and by whom, as far as that is known; under the gate."""
    for path in sorted(folder.glob("*@*.lock")) if folder.is_dir() else ():
        held_name = path.name.rpartition("@")[0]
        if name in (None, held_name) and is_held(path):
            yield held_name, _holder(path)


@contextmanager
def _one_held(target: Path, *, writes: bool) -> Iterator[None]:
    folder = target.parent / ".locks"
    with ExitStack() as stack:
        with waited_for(folder / "gate.lock"):  # between looking and taking nobody else may take
            for _, who in _living(folder, target.name):
                if writes or who is None or who.writes:
                    raise _refusal(target, who)
            path = folder / f"{target.name}@{host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
            stack.enter_context(_file_held(path, writes=writes, wait=False))
        yield


def _refusal(target: Path, who: Holder | None) -> Locked:
    remedy = "Wait until it has ended, then run the same command again."
    if who is None:
        return Locked(f"{target}: locked by another process. {remedy}")
    use = "writes" if who.writes else "reads"
    return Locked(f"{target}: locked since {who.since} by {who}, which {use} it. {remedy}")


@contextmanager
def _file_held(path: Path, *, writes: bool, wait: bool) -> Iterator[None]:
    """Hold the lock file `path`, with its record. Timeout where another process does and `wait` is False."""
    lock = _acquired(path, wait=wait)
    soft, ended = isinstance(lock, SoftFileLock), threading.Event()
    try:
        write_text(_record(path), json.dumps(asdict(_myself(writes=writes, soft=soft))))
        if soft:
            threading.Thread(target=_beat, args=(_record(path), ended), daemon=True).start()
        yield
    finally:
        ended.set()
        _record(path).unlink(missing_ok=True)
        if not soft:  # while it is held: filelock takes no lock on a file that is gone; Windows keeps an open file
            with suppress(OSError):
                path.unlink()
        lock.release()


def _acquired(path: Path, *, wait: bool) -> BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock: BaseFileLock = FileLock(path)
    started, told = time.monotonic(), False
    while True:
        try:
            lock.acquire(blocking=False)
            return lock
        except Timeout:
            if (who := _holder(path)) is not None and who.soft and _is_stale(path, who):
                path.unlink(missing_ok=True)
            elif not wait:
                raise
            else:
                if not told and (told := time.monotonic() - started > TOLD_SECONDS):
                    name = who or "another process"
                    print(f"waiting for {name} to end with {path.with_suffix('')}", file=sys.stderr, flush=True)
                time.sleep(POLL_SECONDS)
        except (NotImplementedError, OSError) as error:
            if isinstance(lock, SoftFileLock) or (isinstance(error, OSError) and error.errno not in NO_LOCKS):
                raise
            lock = SoftFileLock(path)


def _is_stale(path: Path, who: Holder) -> bool:
    if who.host == host():
        return not process_lives(who.pid)
    with suppress(FileNotFoundError):
        return time.time() - _record(path).stat().st_mtime > STALE_SECONDS
    return True


def _beat(record: Path, ended: threading.Event) -> None:
    """Show other hosts that this process is alive."""
    while not ended.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(record)


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _holder(path: Path) -> Holder | None:
    """Whom the record beside a lock file names; None where there is none, or none that is whole."""
    try:
        return Holder(**json.loads(_record(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _myself(*, writes: bool, soft: bool) -> Holder:
    program = Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.name  # python -m skyfold
    without_password = re.sub(r"://[^/@\s]*@", "://", shlex.join([name, *sys.argv[1:]]))
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return Holder(host(), os.getpid(), since, without_password, writes, soft)
