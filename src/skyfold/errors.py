"""Exceptions for users, one class per kind; each message names what is wrong, where, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

# What a terminal obeys or turns around, and bytes of a name that are no UTF-8; tabs and line ends stay.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class SkyfoldError(Exception):
    """Base of every error that a user can fix; commands print its message without a traceback.

    exit_code: of a command that ends with it; 2: arguments, a config or input files are wrong.
    """

    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(SkyfoldError):
    """A config file has an unknown key, a wrong value, or asks for something that is not there."""


class MissingWeights(ConfigError):
    """Initial weights are not where a config says; a fit that is finished predicts without them."""


class DataLayoutError(SkyfoldError):
    """Contest files are missing, broken, or disagree with each other. kind: the heading of such errors in a list."""

    def __init__(self, message: str, *, kind: str = "files that cannot be read") -> None:
        super().__init__(message)
        self.kind = kind


class UnfitFolds(DataLayoutError):
    """folds.csv is damaged, or no longer fits the data or the config."""

    exit_code = 3


class OofMismatch(SkyfoldError):
    """Stored predictions do not belong together: other ids, shape, folds, unit, or rows missing."""

    exit_code = 3


class InvalidSubmission(SkyfoldError):
    """A submission or a truth file would be refused, or silently score zero."""


class OtherRows(InvalidSubmission):
    """A submission or a truth file has other rows than were asked for; either of the two may be the wrong one."""


class DamagedFile(SkyfoldError):
    """A file of skyfold's own is cut off or was changed by hand."""

    exit_code = 3


class TooLarge(SkyfoldError):
    """Something does not fit into memory or on the disk."""


class Locked(SkyfoldError):
    """Another process writes what a command would read or write."""

    exit_code = 4


class NewerFile(DamagedFile):
    """A file of skyfold's own was written by a newer version, which this one does not read."""


def printable(text: str) -> str:
    r"""`text` with escapes in the place of what must not reach a terminal, in the name of a file for instance.

    >>> print(printable("a\x1b[31m.png"))
    a\x1b[31m.png
    """

    def escape(found: re.Match[str]) -> str:
        byte = ord(found[0]) - 0xDC00  # how Python keeps a byte that is no UTF-8
        return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else found[0].encode("unicode_escape").decode()

    return UNPRINTABLE.sub(escape, text)


class Problems:
    """What is wrong with the files of a folder, collected by kind, to be refused together."""

    def __init__(self) -> None:
        self.by_kind: dict[str, list[str]] = {}

    def add(self, kind: str, *messages: str) -> None:
        """Messages of one `kind`, the heading that they are listed under; each is kept once."""
        if messages:
            self.by_kind[kind] = list(dict.fromkeys([*self.by_kind.get(kind, []), *messages]))

    def add_error(self, error: DataLayoutError) -> None:
        """The message of `error`, under its own heading."""
        self.add(error.kind, str(error))

    def __len__(self) -> int:
        return sum(map(len, self.by_kind.values()))

    def refuse(self, folder: Path) -> None:
        """DataLayoutError that counts the problems with the files of `folder` and lists the first ten of each kind,
        if there are any."""
        if self:
            count = f"{len(self)} problem{'s' if len(self) > 1 else ''}"
            kinds = "\n".join(f"{kind} ({len(some)}):\n{listing(some)}" for kind, some in self.by_kind.items())
            raise DataLayoutError(f"{folder}: {count} with its files\n{kinds}")


def listing(problems: Sequence[str], limit: int = 10) -> str:
    """Join problems into one message, one line each, with the number of those beyond `limit`."""
    shown = [f"  - {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        shown.append(f"  - and {len(problems) - limit} more")
    return "\n".join(shown)


def shortened(names: Sequence[object], limit: int = 3) -> str:
    """Join names into one line, with the number of those beyond `limit`.

    >>> shortened(["a", "b", "c"], limit=1)
    'a and 2 more'
    """
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + rest
