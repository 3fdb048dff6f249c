"""Files of a folder: those that are read, by name; what cannot be one of them; and what is left aside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from skyfold.errors import UNPRINTABLE, DataLayoutError, Problems
from skyfold.files import require_file
from skyfold.progress import note
from skyfold.tables import plain

SHOWN = 3  # names of files beside their number


def files_in(folder: Path, suffixes: Sequence[str], problems: Problems, *, expected: str = "images") -> list[Path]:
    """Files of `folder` with one of `suffixes` (in any capitals), by name; hidden ones are left out.

    Added to `problems`: a folder that is missing or holds none, names that no table or terminal can hold, folders,
    pipes and broken links with the name of a file. expected: what to call the files.
    """
    if not folder.is_dir():
        problems.add("missing folders", f"{folder}: no such folder. {expected.capitalize()} are expected in it.")
        return []
    found, unfit = [], len(problems)
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if path.suffix.lower() not in suffixes:
            continue
        if UNPRINTABLE.search(entry.name) or any(name != name.strip() for name in (entry.name, path.stem)):
            what = "bytes that are no UTF-8, characters that cannot be shown, or blanks around it"
            problems.add("names that cannot be used", f"{path}: the name has {what}. Rename it.")
            continue
        if not entry.is_file(follow_symlinks=False):  # else no further look at it is needed
            try:
                require_file(path, "a file")
            except DataLayoutError as error:
                problems.add_error(error)
                continue
        found.append(path)
    if not found and len(problems) == unfit:
        problems.add("missing files", f"{folder}: no {expected} in this folder ({', '.join(suffixes)}).")
    return found


def note_others(folder: Path, suffixes: Sequence[str], *, expected: str = "images") -> None:
    """Say what lies in `folder` besides its files with `suffixes`, by kind, hidden files among them."""
    if not folder.is_dir():
        return
    kind_of = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = Path(entry.name).suffix.lower()
            if entry.name.startswith(".") or suffix not in suffixes:
                hidden = "hidden " * entry.name.startswith(".")
                kind_of[entry.name] = (
                    f"{hidden}folder" if entry.is_dir() else "hidden file" if hidden else suffix or "file"
                )
    kinds = []
    for kind, count in sorted(Counter(kind_of.values()).items()):
        names = sorted(name for name, own in kind_of.items() if own == kind)
        shown = ", ".join(names[:SHOWN]) + ", ..." * (count > SHOWN)
        kinds.append(f"{count} {kind}{'s' * (count > 1 and not kind.startswith('.'))} ({shown})")
    if kinds:
        note(f"{folder}: left aside {', '.join(kinds)}; read as {expected} are {', '.join(suffixes)}.")


def unread(folder: Path, name: str) -> str:
    """Says that a file called `name`, but for its suffix, is there and not read; '' where there is none."""
    found = [entry.name for entry in _entries(folder) if plain(Path(entry.name).stem) == name]
    return f"; {found[0]} is not read, write it as PNG" if found else ""


def file_id(path: Path) -> str:
    """The name of a file without its suffix, in the one form that names are compared in."""
    return plain(path.stem)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]
