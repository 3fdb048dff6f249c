"""Losses by name and options, checked before any data are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import create_model

from skyfold.config.options import Options, checked
from skyfold.errors import ConfigError
from skyfold.plugins import nearest

Loss = Callable[[Any, Any], Any]


def make_loss(
    losses: Mapping[str, Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    *,
    task: str,
    classes: int | None = None,
) -> Loss:
    """The loss `name` of the table `losses` with its options, as `loss(target, output)`.

    task: named in errors. classes: their number, where it is known. ConfigError on an unknown name or option, a wrong
    value, a missing option without default, and where `class_weights` are not as many as the classes.
    """
    if name not in losses:
        raise ConfigError(
            f"loss.name: no loss '{name}' for {task}{nearest(name, list(losses))}. There are: {', '.join(losses)}."
        )
    function = losses[name]
    values = checked(options_of(function), options, where="loss.options").model_dump()
    weights = values.get("class_weights")
    if weights is not None and classes not in (None, len(weights)):
        raise ConfigError(
            f"loss.options.class_weights: give one factor for each of the {classes} classes, not "
            f"{options['class_weights']}."
        )

    def loss(target: Any, output: Any) -> Any:
        return function(target, output, **values)

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
