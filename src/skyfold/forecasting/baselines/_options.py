"""How the options of a forecast are checked before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.plugins import check_known


def checked(family: str, options: Mapping[str, Any], at_least: Mapping[str, int]) -> None:
    """ConfigError on an option that is not in `at_least`, or not a whole number of that size or more.

    >>> checked("mean_of_years", {"years": 5}, {"years": 1})
    """
    check_known(options, list(at_least), where=f"forecast options: {family}")
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least[name]:
            raise ConfigError(
                f"forecast options.{name}: {family} wants a whole number of {at_least[name]} or more, got {value!r}."
            )
