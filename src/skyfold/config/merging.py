"""Merge the keys of one config into those of another, and set single keys."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from skyfold.config.training import LossConfig, OptimizerConfig, ScheduleConfig
from skyfold.errors import ConfigError

Values = dict[str, Any]

# The key that says what a table configures, and its default. The table's other keys belong to that value: they are
# dropped where another one is set.
NAMED_TABLES: dict[str, tuple[str, str | None]] = {
    "data": ("competition", None),
    "frame_adapter": ("name", None),
    "model": ("family", None),
    "loss": ("name", LossConfig().name),
    "optimizer": ("name", OptimizerConfig().name),
    "schedule": ("name", ScheduleConfig().name),
}


def merge(base: Values, own: Values) -> Values:
    """`own` over `base`, table by table; a table of NAMED_TABLES that names something else replaces the base's."""
    return _merged({key: value for key, value in base.items() if not _renamed(key, value, own.get(key))}, own)


def set_key(values: Values, key: str, value: Any) -> Values:
    """`values` with `value` at a dotted key; TypeError where a parent of the key is not a table."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**values, key: value}
    inner = values.get(first, {})
    if not isinstance(inner, dict):
        raise TypeError(f"'{first}' is a value, not a table of keys")
    return {**values, first: set_key({} if _renamed(first, inner, {rest: value}) else inner, rest, value)}


def override(values: Values, text: str) -> Values:
    """`values` with one key set as `--set key=value` says; ConfigError where it cannot be read."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write it as key=value, for instance training.epochs=5.")
    try:
        return set_key(values, key, yaml.safe_load(value))
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value is not valid YAML.") from None
    except TypeError as error:
        raise ConfigError(f"--set {text}: {error}.") from None


def _merged(base: Values, own: Values) -> Values:
    merged = copy.deepcopy(base)
    for key, value in own.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables else copy.deepcopy(value)
    return merged


def _renamed(table: str, base: Any, own: Any) -> bool:
    if table not in NAMED_TABLES or not isinstance(base, dict) or not isinstance(own, dict):
        return False
    key, default = NAMED_TABLES[table]
    known = base.get(key, default)
    return known is not None and own.get(key, known) != known
