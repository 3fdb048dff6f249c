"""How the options of a forecast are checked before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.plugins import nearest


def checked(family: str, options: Mapping[str, Any], at_least: Mapping[str, int]) -> None:
    """ConfigError on an option that is not in `at_least`, or not a whole number of that size or more.

    >>> checked("mean_of_years", {"years": 5}, {"years": 1})
    """
    known = list(at_least)
    for name, value in options.items():
        if name not in at_least:
            there_are = f"Known: {', '.join(known)}." if known else "It has none."
            raise ConfigError(f"forecast options: {family} has no option '{name}'{nearest(name, known)}. {there_are}")
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least[name]:
            raise ConfigError(
                f"forecast options.{name}: {family} wants a whole number of {at_least[name]} or more, got {value!r}."
            )
