"""Merge the keys of one config into those of another, set single keys, and expand sweeps."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

from skyfold.config.training import LossConfig, OptimizerConfig, ScheduleConfig
from skyfold.config.yaml_text import parse
from skyfold.errors import ConfigError

Values = dict[str, Any]
MOST_SWEPT = 1000

# The key that names what a table configures, and its default. The table's other keys belong to that value: they are
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
    return deep_merge({key: value for key, value in base.items() if not _renamed(key, value, own.get(key))}, own)


def set_key(values: Values, key: str, value: Any, *, where: str) -> Values:
    """`values` with `value` at a dotted key; ConfigError, which begins with `where`, if a parent is not a table."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**values, key: value}
    inner = values.get(first, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{where}: '{first}' is a value, not a table of keys.")
    inner = {} if _renamed(first, inner, {rest: value}) else inner
    return {**values, first: set_key(inner, rest, value, where=where)}


def override(values: Values, text: str) -> Values:
    """`values` with one key set as `--set key=value` asks; ConfigError where it cannot be read."""
    return set_key(values, *parse_override(text), where=f"--set {text}")


def parse_override(text: str) -> tuple[str, Any]:
    """Key and value of `--set key=value`; ConfigError where it cannot be read.

    >>> parse_override("training.seeds=[0, 1]")
    ('training.seeds', [0, 1])
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write it as key=value, for instance training.epochs=5.")
    try:
        return key, parse(value)
    except ValueError:
        raise ConfigError(f"--set {text}: the value is not valid YAML.") from None


def dotted(values: Values, prefix: str = "") -> Values:
    """Nested tables as one with dotted keys.

    >>> dotted({"model": {"family": "unet", "options": {"filters": 8}}})
    {'model.family': 'unet', 'model.options.filters': 8}
    """
    flat: Values = {}
    for key, value in values.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def nested(values: Values) -> Values:
    """The inverse of `dotted`; a key in a table wins over the whole table.

    >>> nested({"image.size": 8, "tta": [], "image": {"crop": None}})
    {'tta': [], 'image': {'crop': None, 'size': 8}}
    """
    tables: Values = {}
    for key in sorted(values, key=lambda key: key.count(".")):
        table = values[key]
        for part in reversed(key.split(".")):
            table = {part: table}
        tables = deep_merge(tables, table)
    return tables


def expand_sweeps(values: Values, *, where: str) -> Values:
    """`values` with each entry of `runs`, `models` and `forecasts` that has a `sweep` replaced by those it stands for.

        - name: lstm_{units}
          sweep: {run.model.options.units: [128, 256, 512]}
          run: {model: {family: ice_codes, options: {core: lstm}}}

    The keys are dotted keys of the entry. `{units}`, the last part of such a key, stands for the value in all texts of
    the entry. Several keys give every combination of their values. ConfigError, which begins with `where`, if the sweep
    is not a table of lists.
    """
    lists = {key: values[key] for key in ("runs", "models", "forecasts") if isinstance(values.get(key), list)}
    return {
        **values,
        **{key: [one for entry in entries for one in _entries(entry, where)] for key, entries in lists.items()},
    }


def _entries(entry: Any, where: str) -> list[Any]:
    if not isinstance(entry, dict):
        return [entry]
    if isinstance(entry.get("blend"), dict):
        entry = {**entry, "blend": expand_sweeps(entry["blend"], where=where)}
    sweep = entry.get("sweep", {})
    lists = isinstance(sweep, dict) and all(isinstance(choices, list) and choices for choices in sweep.values())
    if not lists or not all(isinstance(key, str) for key in sweep):  # yes and no are no text in YAML
        raise ConfigError(
            f"{where}: sweep: write it as {{key: [value, value]}}, for instance model.options.units; got {sweep}."
        )
    if math.prod(map(len, sweep.values())) > MOST_SWEPT:
        raise ConfigError(f"{where}: sweep: more than {MOST_SWEPT} combinations of values. Give fewer.")
    swept = []
    for values in itertools.product(*sweep.values()):
        expanded = {key: value for key, value in entry.items() if key != "sweep"}
        for key, value in zip(sweep, values, strict=True):
            expanded = _filled(expanded, "{" + key.rpartition(".")[2] + "}", _text(value))
            expanded = set_key(expanded, key, value, where=f"{where}: sweep.{key}")
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


def deep_merge(base: Values, own: Values) -> Values:
    """`own` over `base`, table by table; neither is changed."""
    merged = copy.deepcopy(base)
    for key, value in own.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = deep_merge(merged[key], value) if both_tables else copy.deepcopy(value)
    return merged


def _renamed(table: str, base: Any, own: Any) -> bool:
    if table not in NAMED_TABLES or not isinstance(base, dict) or not isinstance(own, dict):
        return False
    key, default = NAMED_TABLES[table]
    known = base.get(key, default)
    return known is not None and own.get(key, known) != known
