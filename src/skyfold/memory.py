"""Whether something fits into memory or on a disk, asked before it is made, and how much memory was taken."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
M_ARENA_MAX = -8  # of <malloc.h>


def too_large(needed: int) -> str:
    """'it takes 130.4 GB, and 2.1 GB of memory are free' where `needed` bytes do not fit into memory; else ''."""
    return _shortage(needed, free_memory(), "of memory")


def too_large_for_disk(folder: Path, needed: int) -> str:
    """As `too_large`, for a file of `needed` bytes in `folder`, which exists."""
    return _shortage(needed, shutil.disk_usage(folder).free, "of disk space")


def free_memory() -> int | None:
    """Bytes that this process may still take: the least that any limit leaves; None where the system tells of none."""
    found: list[int] = []
    for limit in (_of_the_machine, _of_the_control_group, _of_the_process):
        with suppress(OSError, KeyError, ValueError, ImportError):  # not Linux, or without this limit
            found.append(limit())
    return max(0, min(found)) if found else None


def peak_memory() -> float | None:
    """MB of memory (resident set) that this process has taken at most since it began; None where it is not told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def share_one_heap() -> None:
    """Let all threads that are started from now on allocate from one heap, where the C library gives each its own.

    What one thread has freed is then used again by the others: glibc only; other libraries are left as they are.
    """
    with suppress(OSError, AttributeError, TypeError):  # Windows, musl
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _of_the_machine() -> int:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "SwapFree"))


def _of_the_control_group() -> int:
    """As containers and batch systems set it; pages of files are given back where memory is needed."""
    own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    group = CGROUPS / own if (CGROUPS / own / "memory.max").is_file() else CGROUPS
    used, pages = (group / "memory.current").read_text(), (group / "memory.stat").read_text()
    of_files = sum(int(line.split()[1]) for line in pages.splitlines() if line.startswith(("active_f", "inactive_f")))
    return int((group / "memory.max").read_text()) - int(used) + of_files  # ValueError: "max", no limit


def _of_the_process() -> int:
    """`ulimit -v`: of addresses."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        raise ValueError("no limit")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * os.sysconf("SC_PAGE_SIZE")


def _shortage(needed: int, free: int | None, what: str) -> str:
    if free is None or needed <= free:
        return ""
    return f"it takes {_size(needed)}, and {_size(free)} {what} are free"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
