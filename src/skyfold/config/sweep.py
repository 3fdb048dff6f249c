"""Sweeps: one entry of a list of runs, models or forecasts that stands for several.

    - name: lstm_{units}
      sweep: {run.model.options.units: [128, 256, 512]}
      run: {model: {family: ice_codes, options: {core: lstm}}}

The keys are dotted keys of the entry. `{units}`, the last part of such a key, stands for the value in all texts of the
entry. Several keys give every combination of their values.
"""

from __future__ import annotations

import itertools
from typing import Any

from skyfold.config.merging import Values, set_key
from skyfold.errors import ConfigError

LISTS = ("runs", "models", "forecasts")


def expand_sweeps(values: Values) -> Values:
    """`values` with each entry that has a `sweep` replaced by those it stands for; ConfigError where it has none."""
    values = {**values}
    for key in LISTS:
        if isinstance(values.get(key), list):
            values[key] = [expanded for entry in values[key] for expanded in _entries(entry)]
    return values


def _entries(entry: Any) -> list[Any]:
    if not isinstance(entry, dict):
        return [entry]
    if isinstance(entry.get("blend"), dict):
        entry = {**entry, "blend": expand_sweeps(entry["blend"])}
    if "sweep" not in entry:
        return [entry]
    sweep = entry["sweep"]
    if not isinstance(sweep, dict) or not all(isinstance(choices, list) and choices for choices in sweep.values()):
        raise ConfigError(f"sweep: write it as {{key: [value, value]}}, for instance model.options.units; got {sweep}.")
    swept = []
    for values in itertools.product(*sweep.values()):
        expanded = {key: value for key, value in entry.items() if key != "sweep"}
        for key, value in zip(sweep, values, strict=True):
            expanded = _filled(expanded, "{" + key.rpartition(".")[2] + "}", _text(value))
            try:
                expanded = set_key(expanded, key, value)
            except TypeError as error:
                raise ConfigError(f"sweep.{key}: {error}.") from None
        swept.append(expanded)
    return swept


def _filled(value: Any, placeholder: str, text: str) -> Any:
    if isinstance(value, str):
        return value.replace(placeholder, text)
    if isinstance(value, dict):
        return {key: _filled(inner, placeholder, text) for key, inner in value.items()}
    return [_filled(inner, placeholder, text) for inner in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    """A value as part of a name: [8, 16] is 8_16."""
    return "_".join(map(_text, value)) if isinstance(value, list) else str(value)
