"""Digests of what samples are made from: of the bytes of their files, read once and kept till a file changes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from skyfold.errors import DataLayoutError
from skyfold.files import digest, file_digest, write_json
from skyfold.progress import map_in_threads
from skyfold.store.contents import Contents, PartContents
from skyfold.types import ArraySequence, Samples

# A file that was written within so short a time before it is read could change again without another time of change.
SETTLED_NS = 2 * 10**9


@runtime_checkable
class FromFiles(Protocol):
    """Arrays that are read from files."""

    def sources(self, index: int) -> Sequence[Path | str]:
        """What array `index` is made from: files, whose bytes count, and texts."""
        ...


class FileChecksums:
    """SHA-256 of files, kept in the JSON file `path` by the files' paths, sizes, times of change and inodes.

    The time of change (ctime) cannot be set by a program, so that a file with an old one holds what it held. verify:
    read every byte again all the same; DataLayoutError names a file that holds other bytes than its entry says.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        self._path, self._verify = path, verify
        self._known: dict[str, list[Any]] = _read(path)
        self._seen: dict[Path, str] = {}

    def of(self, files: Sequence[Path]) -> dict[Path, str]:
        """The checksum of each file; those that are not known are read in threads."""
        unread = [file for file in dict.fromkeys(files) if file not in self._seen]
        states = {file: _state(file) for file in unread}
        new = []
        for file, state in states.items():
            known = self._known.get(str(file))
            if known is not None and known[:-1] == state and not self._verify:
                self._seen[file] = known[-1]
            else:
                new.append(file)
        if new:
            self._seen |= zip(new, map_in_threads("reading files", file_digest, new, "files"), strict=True)
            self._keep(new, states)
        return {file: self._seen[file] for file in files}

    def _keep(self, new: Sequence[Path], states: Mapping[Path, list[int]]) -> None:
        now, kept = time.time_ns(), False
        for file in new:
            known = self._known.get(str(file))
            if self._verify and known is not None and known[:-1] == states[file] and known[-1] != self._seen[file]:
                raise DataLayoutError(
                    f"{file}: its bytes changed, although its size and times did not (disk fault?). Get it again, and "
                    f"delete {self._path.parent}, which holds what was decoded from it."
                )
            if _state(file) == states[file] and now - max(states[file][1:3]) > SETTLED_NS:
                self._known[str(file)] = [*states[file], self._seen[file]]
                kept = True
        if kept:
            write_json(self._path, self._known)


def contents_of(parts: Mapping[str, Samples], checksums: FileChecksums) -> Contents:
    """Digests of inputs and targets of the samples of each part."""
    return Contents({part: _of_samples(samples, checksums) for part, samples in parts.items()})


def _of_samples(samples: Samples, checksums: FileChecksums) -> PartContents:
    found: dict[str, dict[str, str]] = {"inputs": {}, "targets": {}}
    names: dict[str, dict[str, str]] = {"inputs": {}, "targets": {}}
    for of, arrays in (("inputs", samples.inputs), ("targets", samples.targets)):
        if arrays is None:
            continue
        ids = samples.ids.tolist()
        if not isinstance(arrays, FromFiles):
            found[of] = dict(zip(ids, _of_arrays(arrays), strict=True))
            continue
        sources = [arrays.sources(i) for i in range(len(ids))]
        of_file = checksums.of([part for parts in sources for part in parts if isinstance(part, Path)])
        for name, parts in zip(ids, sources, strict=True):
            found[of][name] = digest(*(of_file[part] if isinstance(part, Path) else part for part in parts))
            files = [part.name for part in parts if isinstance(part, Path)]
            if len(files) == 1:  # of several it is not known which changed
                names[of][name] = files[0]
    return PartContents(**found, names=names)


def _of_arrays(arrays: ArraySequence) -> list[str]:
    """Digests of arrays that come from no files of their own; those of one checksum share it."""
    own = getattr(arrays, "digests", None)
    if own is not None:
        return list(own)
    shared = getattr(arrays, "checksum", None)
    if isinstance(shared, str):
        return [shared] * len(arrays)
    rows = (np.ascontiguousarray(arrays[i]) for i in range(len(arrays)))
    return [digest(repr((row.shape, row.dtype.str)), row.tobytes()) for row in rows]


def _state(file: Path) -> list[int]:
    try:
        found = file.stat()
    except OSError as error:
        raise DataLayoutError(f"{file}: cannot be read ({error.strerror}). Get it again.") from None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _read(path: Path) -> dict[str, list[Any]]:
    """Entries of the file; a file that is damaged is begun anew, since it can be made again."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = stored.items() if isinstance(stored, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 5}
