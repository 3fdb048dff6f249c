"""Exceptions for users, one class per kind; each message names what is wrong, where, and the remedy."""

from collections.abc import Sequence
from typing import ClassVar


class SkyfoldError(Exception):
    """Base of every error that a user can fix; commands print its message without a traceback.

    exit_code: of a command that ends with it; 2: arguments, a config or input files are wrong.
    """

    exit_code: ClassVar[int] = 2


class ConfigError(SkyfoldError):
    """A config file has an unknown key, a wrong value, or asks for something that is not there."""


class DataLayoutError(SkyfoldError):
    """Contest files are missing, broken, or disagree with each other."""


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


class Locked(SkyfoldError):
    """Another process writes what a command would read or write."""

    exit_code = 4


class NewerFile(DamagedFile):
    """A file of skyfold's own was written by a newer version, which this one does not read."""


def listing(problems: list[str], limit: int = 10) -> str:
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
