"""A loss by its name and options, checked before any data are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import create_model

from skyfold.config.options import Options, checked
from skyfold.errors import ConfigError
from skyfold.plugins import nearest

Loss = Callable[[Any, Any], Any]


def named_loss(name: str, options: Mapping[str, Any], kinds: Mapping[str, Callable[..., Any]], *, purpose: str) -> Loss:
    """The loss of this name among `kinds`, with its options.

    ConfigError on an unknown name or option, on a wrong value, and where an option without a default is left out.
    """
    if name not in kinds:
        raise ConfigError(
            f"loss.name: no loss '{name}' for {purpose}{nearest(name, list(kinds))}. There are: {', '.join(kinds)}."
        )
    kind = kinds[name]
    values = checked(options_of(kind), options, where="loss.options").model_dump()

    def loss(target: Any, output: Any) -> Any:
        return kind(target, output, **values)

    loss.__name__ = name
    return loss


def options_of(loss: Callable[..., Any]) -> type[Options]:
    """The options of a loss: its arguments after the second, with their types and defaults."""
    hints = get_type_hints(loss, include_extras=True)
    arguments = list(inspect.signature(loss).parameters.values())[2:]
    fields: dict[str, Any] = {
        argument.name: (hints[argument.name], ... if argument.default is argument.empty else argument.default)
        for argument in arguments
    }
    return create_model(loss.__name__, __base__=Options, **fields)
