"""Files of a folder by a pattern of their paths, such as `{id}/{band}.tif`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from skyfold.data.folder import entries_below, is_usable
from skyfold.errors import Problems
from skyfold.tables import plain

PLACEHOLDERS = re.compile(r"(\{\w+\}|\*)")


@dataclass(frozen=True)
class FilePattern:
    """A path below a folder, in which `{id}` and `{band}` stand for a part of a name, and `*` for any.

    Without one of `suffixes` at its end any of them is meant, in any capitals. bands: what `{band}` may be;
    placeholder: another name of it.

    >>> FilePattern("{id}/{band}.tif", (".tif",), ("B02", "B8A")).match("chip 1/B8A.tif")
    ('chip 1', 'B8A')
    """

    text: str
    suffixes: tuple[str, ...]
    bands: tuple[str, ...] = ()
    placeholder: str = "{band}"

    def match(self, relative: str) -> tuple[str, str] | None:
        """Id and band of a path below the folder; None where it is no such path."""
        found = self._regex.fullmatch(unicodedata.normalize("NFC", relative))
        return None if found is None else (plain(found["id"]), found["band"] if self.bands else "")

    def example(self, name: str, band: str = "") -> str:
        """The path of the file of id `name`, PNG where any kind would do."""
        path = self.text.replace("{id}", name).replace(self.placeholder, band)
        return path if self._suffix else f"{path}.png"

    @property
    def depth(self) -> int:
        """Folders and file on the way: 1 for files of the folder itself."""
        return self.text.count("/") + 1

    @property
    def _suffix(self) -> str:
        suffix = PurePosixPath(self.text).suffix
        return suffix if suffix.lower() in self.suffixes else ""

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts, seen = [], set()
        stem = plain(self.text)[: len(self.text) - len(self._suffix)]
        meaning = {"{id}": "(?P<id>[^/]+)", self.placeholder: f"(?P<band>{'|'.join(map(re.escape, self.bands))})"}
        for part in PLACEHOLDERS.split(stem):
            if part in seen:  # the same id in a folder and in the name of a file
                parts.append(f"(?P={part[1:-1]})")
            elif part in meaning:
                seen.add(part)
                parts.append(meaning[part])
            else:
                parts.append("[^/]*" if part == "*" else re.escape(part))
        suffixes = "|".join(map(re.escape, [self._suffix] if self._suffix else self.suffixes))
        return re.compile(f"{''.join(parts)}(?i:{suffixes})")


def refuse_pattern(text: str, *, bands: bool, placeholder: str = "{band}") -> None:
    """ValueError where `text` is no pattern of files, with `placeholder` where there are `bands` and not elsewhere."""
    if "{id}" not in text or text.startswith("/") or ".." in text.split("/") or text.count(placeholder) > 1:
        raise ValueError("expected a path below the folder with {id} in it, such as '{id}_mask.png'")
    if (placeholder in text) != bands:
        raise ValueError(f"give {placeholder[1:-1]}s and a path with {placeholder} in it, or none of both")


def find_files(
    folder: Path, pattern: FilePattern, problems: Problems, *, expected: str = "images", besides: Sequence[Path] = ()
) -> dict[str, dict[str, Path]]:
    """Files of `folder` by id and band, in the order of their paths; hidden ones, and those `besides`, are left out.

    Added to `problems`: a folder that is missing or holds none, names that no table or terminal can hold, folders,
    pipes and broken links with the name of a file, and two files of one id and band. expected: what to call the files.
    """
    if not folder.is_dir():
        problems.add("missing folders", f"{folder}: no such folder. {expected.capitalize()} are expected in it.")
        return {}
    found: dict[str, dict[str, Path]] = {}
    unfit, left_out = len(problems), set(besides)
    for relative, entry in entries_below(folder, pattern.depth):
        path, place = folder / relative, pattern.match(relative)
        if place is None or path in left_out or not is_usable(path, entry, problems):
            continue
        first = found.setdefault(place[0], {}).setdefault(place[1], path)
        if first != path:
            beside = first.name if first.parent == path.parent else first.relative_to(folder)
            problems.add("files of one id", f"{path}: {path.name} beside {beside}, two files of one id. Keep one.")
    if not found and len(problems) == unfit:
        named = "" if pattern.text == "{id}" else f" named {pattern.text}"
        problems.add("missing files", f"{folder}: no {expected}{named} in this folder ({', '.join(pattern.suffixes)}).")
    return found
