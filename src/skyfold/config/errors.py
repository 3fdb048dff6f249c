"""Validation errors of configs in words: each with its key, and an unknown key with the nearest known one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from skyfold.plugins import nearest


def explain(kind: type[BaseModel], error: ValidationError, also: Sequence[str] = (), *, where: str = "") -> list[str]:
    """What is wrong with the values of a config of this kind, one line per problem.

    error: of pydantic; also: further keys that the config may have; where: the key that its values stand under.
    """
    above = [where] if where else []
    messages = []
    # Entries of a list that are wrong are not counted, which does not make the list too short.
    above_others = {problem["loc"][:depth] for problem in error.errors() for depth in range(len(problem["loc"]))}
    problems = [
        problem for problem in error.errors() if problem["type"] != "too_short" or problem["loc"] not in above_others
    ]
    unknown = {problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"}
    for problem in problems:
        keys, known = _locate(kind, problem["loc"])
        key = ".".join([*above, *keys])
        if problem["loc"] in unknown:
            hint = nearest(keys[-1], [*known, *also])
            messages.append(f"unknown key '{key}'{hint}. Known: {', '.join(known) or 'none'}.")
        elif problem["type"] == "missing":
            # A key that is misspelt is missing, too; one message is enough.
            beside = [str(loc[-1]) for loc in unknown if loc[:-1] == problem["loc"][:-1]]
            if not nearest(str(problem["loc"][-1]), beside):
                messages.append(f"'{key}' is missing.")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message.replace("valid tuple", "list").replace("Tuple should", "List should")
            message = re.sub("^Input should be a valid dictionary.*", "expected a table of keys and values", message)
            message = re.sub("^Unable to extract tag using discriminator '?([a-z]+).*", r"'\1' is missing", message)
            if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
                message = f'expected text; quote it: "{problem["input"]}"'
            if problem["type"] == "literal_error":
                message += nearest(str(problem["input"]), re.findall(r"'([^']*)'", message))
            given = repr(problem["input"])
            given = given if len(given) <= 80 else f"{given[:77]}..."
            # A message about several keys names them itself, and the whole config would be no help.
            at_key = f"'{key}': {message}; got {given}."
            messages.append(at_key if problem["loc"] else ".".join([*above, f"{message}."]))
    return messages


def _locate(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The keys on the way to an error, without the tags of unions, and the known keys beside the last one."""
    inside, keys, known = [kind], [], sorted(kind.model_fields)
    for part in location:
        known = sorted(inside[0].model_fields)
        tagged = [model for model in inside if part in _tags(model)]
        if part in inside[0].model_fields:
            inside = _models_in(inside[0].model_fields[str(part)].annotation) or inside
        if tagged:
            inside = tagged
        else:
            keys.append(str(part))
    return keys or [*map(str, location[-1:])], known  # an unknown key may be called like a tag


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Values of its field `kind`, the discriminator of a union."""
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: itself, those of a list or table, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
