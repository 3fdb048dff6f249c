"""A loss by its name and options, checked before any data are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.plugins import nearest

Loss = Callable[[Any, Any], Any]


def named_loss(
    name: str,
    options: Mapping[str, Any],
    kinds: Mapping[str, Callable[..., Any]],
    *,
    purpose: str,
    check_value: Callable[[str, Any], None],
) -> Loss:
    """The loss of this name among `kinds`, with its options; the options of a kind are its arguments after the second.

    check_value: refuses values of an option by ConfigError. ConfigError on a name or option that is not known, and
    where an option without a default is left out.
    """
    if name not in kinds:
        raise ConfigError(
            f"loss.name: no loss '{name}' for {purpose}{nearest(name, list(kinds))}. There are: {', '.join(kinds)}."
        )
    kind = kinds[name]
    accepted = dict(list(inspect.signature(kind).parameters.items())[2:])
    for key, value in options.items():
        if key not in accepted:
            raise ConfigError(
                f"loss.options: {name} has no option '{key}'{nearest(key, list(accepted))}. "
                f"Known: {', '.join(accepted) or 'none'}."
            )
        check_value(key, value)
    for key, parameter in accepted.items():
        if parameter.default is parameter.empty and key not in options:
            raise ConfigError(f"loss.options: {name} wants '{key}' to be set.")

    def loss(target: Any, output: Any) -> Any:
        return kind(target, output, **options)

    loss.__name__ = name
    return loss
