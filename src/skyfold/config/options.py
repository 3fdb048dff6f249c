"""Plug-ins and their options: a plug-in is a class whose fields are the options that a config may set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, ValidationError

from skyfold import plugins
from skyfold.config.errors import explain
from skyfold.config.fields import Strict
from skyfold.errors import ConfigError

Plugin = TypeVar("Plugin", bound="Options")


class Options(Strict):
    """Base of every plug-in: a model family, a baseline, a frame adapter, a competition.

    A module declares its plug-in as `PLUGIN`, a subclass.
    """


def configured(package: str, name: str, options: Mapping[str, Any], *, where: str) -> Any:
    """The plug-in `skyfold.<package>.<name>` with the options that stand in a config under the key `where`.

    ConfigError as `plugins.load` and `checked`.
    """
    return checked(plugins.load(package, name).PLUGIN, options, where=where)


def checked(kind: type[Plugin], options: Mapping[str, Any], *, where: str) -> Plugin:
    """A `kind` with these options; ConfigError with a line for each that is unknown, missing or of another type."""
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(kind, error, where=where))) from None


def one_of(
    known: Iterable[str] | Callable[[], Iterable[str]], *, refused: Mapping[str, str] | None = None
) -> AfterValidator:
    """Restricts text to the names of a table, or to those that `known()` returns when a config is read.

    refused: names that one might expect, and why they are not there. As a part of a pydantic annotation:
    `Annotated[str, one_of(["mean", "median"])]`.
    """

    def check(name: str) -> str:
        names = list(known() if callable(known) else known)
        if refused and name in refused:
            raise ValueError(f"cannot be used here: {refused[name]}")
        if name not in names:
            raise ValueError(f"unknown{plugins.nearest(name, names)}. There are: {', '.join(names)}")
        return name

    return AfterValidator(check)
