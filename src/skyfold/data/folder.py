"""Files of a folder: those that are read, by name; what cannot be one of them; and what is left aside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
    unfit = len(problems)
    entries = [(folder / name, entry) for name, entry in entries_below(folder) if _has_suffix(name, suffixes)]
    found = [path for path, entry in entries if is_usable(path, entry, problems)]
    if not found and len(problems) == unfit:
        problems.add("missing files", f"{folder}: no {expected} in this folder ({', '.join(suffixes)}).")
    return found


def entries_below(folder: Path, depth: int = 1, *, hidden: bool = False) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Entries of `folder` by name, with their paths below it: of sub-folders those in them, down to `depth` levels.

    hidden: those whose name begins with a dot, too.
    """
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            if hidden:
                yield entry.name, entry
        elif depth > 1 and _is_folder(entry):
            below = entries_below(folder / entry.name, depth - 1, hidden=hidden)
            yield from ((f"{entry.name}/{name}", inner) for name, inner in below)
        else:
            yield entry.name, entry


def is_usable(path: Path, entry: os.DirEntry[str], problems: Problems) -> bool:
    """Whether `path` can be read as a file, and its name can stand in a table; else why not is added to `problems`."""
    if UNPRINTABLE.search(entry.name) or any(name != name.strip() for name in (entry.name, path.stem)):
        what = "bytes that are no UTF-8, characters that cannot be shown, or blanks around it"
        problems.add("names that cannot be used", f"{path}: the name has {what}. Rename it.")
        return False
    if not entry.is_file(follow_symlinks=False):  # else no further look at it is needed
        try:
            require_file(path, "a file")
        except DataLayoutError as error:
            problems.add_error(error)
            return False
    return True


def note_others(folder: Path, suffixes: Sequence[str], *, expected: str = "images") -> None:
    """Say what lies in `folder` besides its files with `suffixes`, by kind, hidden files among them."""
    if folder.is_dir():
        entries = entries_below(folder, hidden=True)
        others = [(name, entry) for name, entry in entries if name.startswith(".") or not _has_suffix(name, suffixes)]
        _note(folder, others, f"read as {expected} are {', '.join(suffixes)}.")


def note_unread(folder: Path, taken: Collection[Path], *, depth: int, expected: str) -> None:
    """Say what lies in `folder`, down to `depth` levels, besides the files that are `taken`, by kind.

    expected: what those are, in words.
    """
    if folder.is_dir():
        entries = entries_below(folder, depth, hidden=True)
        _note(folder, [(name, entry) for name, entry in entries if folder / name not in taken], f"{expected}.")


def _note(folder: Path, others: Sequence[tuple[str, os.DirEntry[str]]], read: str) -> None:
    kind_of = {name: _kind(entry) for name, entry in others}
    kinds = []
    for kind, count in sorted(Counter(kind_of.values()).items()):
        names = [name for name, own in kind_of.items() if own == kind]
        shown = ", ".join(names[:SHOWN]) + ", ..." * (count > SHOWN)
        kinds.append(f"{count} {kind}{'s' * (count > 1 and not kind.startswith('.'))} ({shown})")
    if kinds:
        note(f"{folder}: left aside {', '.join(kinds)}; {read}")


def _kind(entry: os.DirEntry[str]) -> str:
    hidden = "hidden " * entry.name.startswith(".")
    if _is_folder(entry):
        return f"{hidden}folder"
    return f"{hidden}file" if hidden else Path(entry.name).suffix.lower() or "file"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    return Path(name).suffix.lower() in suffixes


def unread(folder: Path, name: str) -> str:
    """Says that a file called `name`, but for its suffix, is there and not read; '' where there is none."""
    found = [own for own, _ in entries_below(folder) if plain(Path(own).stem) == name]
    return f"; {found[0]} is not read, write it as PNG" if found else ""


def file_id(path: Path) -> str:
    """The name of a file without its suffix, in the one form that names are compared in."""
    return plain(path.stem)
