"""Read config files: bases merged, sweeps expanded, members read, every error named with its file.

A config is addressed as FILE.yaml, or as FILE.yaml#NAME where it is a run or a blend written inline in that file.
Within a file, NAME is enough. File names are relative to the file that is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.errors import explain
from skyfold.config.experiment import TableConfig
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.merging import Values, merge, override
from skyfold.config.plugin_options import AnyConfig, option_problems
from skyfold.config.run import RunConfig
from skyfold.config.sweep import expand_sweeps
from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest

Kind = TypeVar("Kind", bound=AnyConfig)
Seen = tuple[Path, ...]  # the configs whose `base` led to the one that is read

KINDS: dict[str, type[AnyConfig]] = {
    "runs": BlendConfig,
    "models": TableConfig,
    "forecasts": ForecastConfig,
    "model": RunConfig,
}
NOT_OF_KIND: dict[type, str] = {
    RunConfig: "not the config of a training run (it has no 'model')",
    BlendConfig: "not the config of a blend (it has no 'runs')",
    ForecastConfig: "not a config of forecasts (it has no 'forecasts')",
}
# Keys of a run that may stand beside runs, models or forecasts: every run written inline there starts from them.
SHARED = tuple(key for key in RunConfig.model_fields if key != "name")


def load_config(path: Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a config of any kind with its members; ConfigError names the file, the key, and the nearest known one.

    path: FILE.yaml or FILE.yaml#NAME; overrides: key=value, for instance training.epochs=5.
    """
    file, kind, values = _find(path)
    for text in overrides:
        values = override(values, text)
    if kind is None:
        file, kind = _File(file.path, values), _kind_of(values, path)
    return _build(file, kind, values, path)


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    return _of_kind(RunConfig, load_config(path, overrides), path)


def load_forecasts(path: Path, overrides: Sequence[str] = ()) -> ForecastConfig:
    return _of_kind(ForecastConfig, load_config(path, overrides), path)


def load_blend(path: Path) -> BlendConfig:
    return _of_kind(BlendConfig, load_config(path), path)


def _of_kind(kind: type[Kind], config: AnyConfig, path: Path) -> Kind:
    if isinstance(config, kind):
        return config
    inline = [f"{path}#{name}" for name, (own, _) in _inline(_find(path)[0]).items() if own is kind]
    hint = f" It contains {', '.join(inline)}." if inline else ""
    raise ConfigError(f"{path}: {NOT_OF_KIND[kind]}.{hint}")


@dataclass(frozen=True)
class _File:
    """A config file: its keys, with bases merged and sweeps expanded."""

    path: Path
    values: Values


def _find(path: Path, seen: Seen = ()) -> tuple[_File, type[AnyConfig] | None, Values]:
    """The file that a config stands in, its kind (None for a file, whose keys tell), and its keys with bases merged."""
    name, _, member = str(path).partition("#")
    file = _read(Path(name), seen)
    return (file, *_find_inline(file, member, seen)) if member else (file, None, file.values)


def _read(path: Path, seen: Seen) -> _File:
    _refuse_circle(path, seen)
    try:
        own = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such config file{f', which {seen[-1]} names' if seen else ''}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(own, dict):
        what = "nothing" if own is None else type(own).__name__
        raise ConfigError(f"{path}: expected keys and values, got {what}.")
    values = _on_bases({}, own, _File(path, {}), (*seen, path))
    try:
        values = expand_sweeps(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for holder, key, _ in _slots(values):
        if key == "run" and isinstance(holder[key], dict) and "name" in holder:  # a forecast, which names its run
            holder[key] = {"name": holder["name"], **holder[key]}
    return _File(path, values)


def _find_inline(file: _File, name: str, seen: Seen) -> tuple[type[AnyConfig], Values]:
    path = Path(f"{file.path}#{name}")
    _refuse_circle(path, seen)
    inline = _inline(file)
    if name not in inline:
        there_are = f"There are: {', '.join(inline)}." if inline else "None is. A file is named with its ending, .yaml."
        raise ConfigError(
            f"{file.path}: no run or blend '{name}' is written in it{nearest(name, list(inline))}. {there_are}"
        )
    kind, own = inline[name]
    shared = SHARED if kind is RunConfig else ("data",)
    start = {key: value for key, value in file.values.items() if key in shared}
    return kind, _on_bases(start, own, file, (*seen, path))


def _on_bases(start: Values, own: Values, file: _File, seen: Seen) -> Values:
    """`own`, keys of a config in `file`, over its bases in their order, and these over `start`."""
    bases = own.get("base", [])
    for base in bases if isinstance(bases, list) else [bases]:
        path = _address(str(base), file)
        start = merge(start, _from_elsewhere(path, seen) if path else _find_inline(file, str(base), seen)[1])
    return merge(start, {key: value for key, value in own.items() if key != "base"})


def _from_elsewhere(path: Path, seen: Seen) -> Values:
    """The keys of a config for use in another file: what they refer to stands there with its full address."""
    file, kind, values = _find(path, seen)

    def locate(values: Values) -> None:
        for holder, key, _ in _slots(values):
            own = holder[key]
            if isinstance(own, dict) and kind is None:  # written inline in the other file, too
                locate(own)
                continue
            reference = own.get("name") if isinstance(own, dict) else own
            if isinstance(reference, str) and (found := _address(reference, file)):
                holder[key] = str(found.resolve())
            elif kind is not None:
                holder[key] = f"{file.path.resolve()}#{reference}"

    values = copy.deepcopy(values)
    locate(values)
    return values


def _address(reference: str, file: _File) -> Path | None:
    """Where a reference in `file` leads; None: to a config that is written inline in the same file."""
    name = Path(reference.partition("#")[0])
    return file.path.parent / reference if name.suffix in {".yaml", ".yml"} else None


def _build(file: _File, kind: type[AnyConfig], values: Values, path: Path) -> AnyConfig:
    """The config at `path`, whose keys are `values`, checked; members first, whose errors name them."""
    inline = _inline(file)
    if kind is not RunConfig:
        beside = [key for key in SHARED if key in values and key not in kind.model_fields]
        if beside and RunConfig not in [own for own, _ in inline.values()]:
            raise ConfigError(f"{path}: {', '.join(beside)}: keys of a run, and no run is written inline in this file.")
        values = {key: value for key, value in values.items() if key not in beside}
    values = copy.deepcopy(values)
    for holder, key, member_kind in _slots(values):
        holder[key] = _member(holder[key], member_kind, file)
    try:
        config = kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{listing(explain(kind, error, () if kind is RunConfig else SHARED))}") from None
    if problems := option_problems(config):
        raise ConfigError(f"{path}:\n{listing(problems)}")
    return config


def _member(entry: Any, kind: type[AnyConfig], file: _File) -> Any:
    """The config that an entry names or holds; what is neither stays, to be refused with its key."""
    if not isinstance(entry, str | dict):
        return entry
    if isinstance(entry, str) and (path := _address(entry, file)):
        return load_run(path) if kind is RunConfig else load_blend(path)
    name = entry if isinstance(entry, str) else str(entry["name"])
    path = Path(f"{file.path}#{name}")
    found, values = _find_inline(file, name, ())
    if found is not kind:
        raise ConfigError(f"{path}: {NOT_OF_KIND[kind]}.")
    return _build(file, kind, values, path)


def _inline(file: _File) -> dict[str, tuple[type[AnyConfig], Values]]:
    """The runs and blends that are written in a file, by name: their kind, and the keys that stand there."""
    found: dict[str, tuple[type[AnyConfig], Values]] = {}

    def collect(values: Values) -> None:
        for holder, key, kind in _slots(values):
            own = holder[key]
            if not isinstance(own, dict):
                continue
            if "name" not in own:
                place = f"runs.{key}" if isinstance(key, int) else key
                raise ConfigError(f"{file.path}: '{place}': what is written inline needs a name; got {own}.")
            if str(own["name"]) in found:
                raise ConfigError(f"{file.path}: two runs or blends have the name '{own['name']}'. Rename one.")
            found[str(own["name"])] = kind, own
            collect(own)

    collect(file.values)
    return found


def _slots(values: Values) -> Iterator[tuple[Any, Any, type[AnyConfig]]]:
    """Where configs of runs and blends stand in `values`, by name or inline: holder, key in it, kind."""
    runs = values.get("runs")
    for place in range(len(runs) if isinstance(runs, list) else 0):
        yield runs, place, RunConfig
    if "classifier_gate" in values:
        yield values, "classifier_gate", RunConfig
    for entries in (values.get("models"), values.get("forecasts")):
        for entry in entries if isinstance(entries, list) else []:
            for key, kind in (("run", RunConfig), ("blend", BlendConfig)):
                if isinstance(entry, dict) and key in entry:
                    yield entry, key, kind


def _kind_of(values: Values, path: Path) -> type[AnyConfig]:
    kind = next((kind for key, kind in KINDS.items() if key in values), None)
    hints = {key: hint for key in values if key != "data" and (hint := nearest(str(key), list(KINDS)))}
    if kind is None and hints:
        raise ConfigError(f"{path}:\n{listing([f'unknown key {key!r}{hint}.' for key, hint in hints.items()])}")
    return kind or DatasetConfig


def _refuse_circle(path: Path, seen: Seen) -> None:
    if path.resolve() in [config.resolve() for config in seen]:
        raise ConfigError(f"{path}: 'base' leads back to this config.")


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
