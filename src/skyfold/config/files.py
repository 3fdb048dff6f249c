"""Reads config files: `base:` files and overrides put together, and every fault named with its file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.errors import explain
from skyfold.config.experiment import TableConfig
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest

AnyConfig = RunConfig | BlendConfig | TableConfig | ForecastConfig | DatasetConfig


def load_config(path: Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a config of any kind; ConfigError names the file, the key, and the nearest known one."""
    values = _read(path, seen=())
    for override in overrides:
        _override(values, override)
    kinds: dict[str, type[AnyConfig]] = {
        "runs": BlendConfig,
        "models": TableConfig,
        "forecasts": ForecastConfig,
        "model": RunConfig,
    }
    kind = next((kind for key, kind in kinds.items() if key in values), None)
    if kind is None:
        hints = {key: hint for key in values if key != "data" and (hint := nearest(str(key), list(kinds)))}
        if hints:
            raise ConfigError(f"{path}:\n{listing([f'unknown key {key!r}{hint}.' for key, hint in hints.items()])}")
        kind = DatasetConfig
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{listing(explain(kind, error))}") from None


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    config = load_config(path, overrides)
    if not isinstance(config, RunConfig):
        raise ConfigError(f"{path}: not the config of a training run (it has no 'model').")
    return config


def load_forecasts(path: Path, overrides: Sequence[str] = ()) -> ForecastConfig:
    config = load_config(path, overrides)
    if not isinstance(config, ForecastConfig):
        raise ConfigError(f"{path}: not a config of forecasts (it has no 'forecasts').")
    return config


def load_blend(path: Path) -> BlendConfig:
    config = load_config(path)
    if not isinstance(config, BlendConfig):
        raise ConfigError(f"{path}: not the config of a blend (it has no 'runs').")
    return config


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands in a table twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'base' leads back to this file.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such config file{f', which {seen[-1]} names' if seen else ''}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        what = "nothing" if values is None else type(values).__name__
        raise ConfigError(f"{path}: expected keys and values, got {what}.")
    base = values.pop("base", None)
    if base is None:
        return values
    return _merge(_read(path.parent / str(base), (*seen, path.resolve())), values)


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in own.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write it as key=value, for instance training.epochs=5.")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: '{parent}' is a value, not a table of keys.")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not valid YAML.") from None
