"""Read config files: bases merged, sweeps expanded, members read, every error named with its file.

A config is addressed as FILE.yaml, or as FILE.yaml#NAME where it is a run or a blend written inline in that file.
Within a file, NAME is enough. File names are relative to the file that is read, and so are the folders of `plugins`.
"""

from __future__ import annotations

import copy
import glob
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from skyfold import plugins
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DataConfig, DatasetConfig
from skyfold.config.errors import explain
from skyfold.config.experiment import TableConfig
from skyfold.config.forecasts import FORECASTING, ForecastConfig
from skyfold.config.merging import Values, expand_sweeps, merge, override
from skyfold.config.options import configured
from skyfold.config.run import RunConfig
from skyfold.config.yaml_text import parse
from skyfold.errors import ConfigError, listing
from skyfold.files import read_json, require_file
from skyfold.plugins import nearest

AnyConfig = RunConfig | BlendConfig | TableConfig | ForecastConfig | DatasetConfig
Kind = TypeVar("Kind", bound=AnyConfig)
LARGEST = 4 << 20  # bytes of a config
Seen = tuple[Path, ...]  # the configs whose `base` led to the one that is read

# Kinds of configs by the key that tells them, and what to call them.
KINDS: dict[str, tuple[type[AnyConfig], str]] = {
    "runs": (BlendConfig, "the config of a blend"),
    "models": (TableConfig, "a table of models"),
    "forecasts": (ForecastConfig, "a config of forecasts"),
    "model": (RunConfig, "the config of a training run"),
}
# Keys of a run that may stand beside runs, models or forecasts: every run written inline there starts from them.
SHARED = tuple(key for key in RunConfig.model_fields if key != "name")


def load_config(path: Path, overrides: Sequence[str] = (), *, own: Values | None = None) -> AnyConfig:
    """Read a config of any kind with its members; ConfigError names the file, the key, and the nearest known one.

    path: FILE.yaml or FILE.yaml#NAME; overrides: key=value, for instance training.epochs=5; own: nested keys that
    replace those of the file, as in a file that has it as its base.
    """
    file, kind, values = _find(path)
    values = merge(values, own or {})
    for text in overrides:
        values = override(values, text)
    if kind is None:
        file, kind = _File(file.path, values), _kind_of(values, path)
    return _build(file, kind, values, path)


def load_run(path: Path, overrides: Sequence[str] = (), *, own: Values | None = None) -> RunConfig:
    """The config of a run, read as `load_config`; ConfigError if it is of another kind."""
    return _of_kind(RunConfig, load_config(path, overrides, own=own), path)


def load_forecasts(path: Path, overrides: Sequence[str] = ()) -> ForecastConfig:
    """The config of a comparison of forecasts, read as `load_config`; ConfigError if it is of another kind."""
    return _of_kind(ForecastConfig, load_config(path, overrides), path)


def load_blend(path: Path) -> BlendConfig:
    """The config of a blend, read as `load_config`, or of a run that predicts masks, which is blended alone.

    ConfigError if it is of another kind.
    """
    config = load_config(path)
    if isinstance(config, RunConfig) and plugins.load("tasks", config.task).TASK.MASKS:
        return BlendConfig.of_run(config)
    return _of_kind(BlendConfig, config, path)


def load_data(text: str, root: Path | None) -> DataConfig:
    """The data set that `text` names: the `data` of a config file, a competition with its defaults, or a data set with
    runs in the project folder `root`. ConfigError where there is none."""
    if Path(text.partition("#")[0]).suffix in {".yaml", ".yml"} or Path(text).is_file():
        return load_config(Path(text)).data
    known = plugins.names("competitions")
    made = sorted(root.glob(f"oof/{glob.escape(text)}/*/run.json")) if root and text not in known else []
    if made and isinstance(data := read_json(made[0]).get("config", {}).get("data"), dict):
        return DataConfig.model_validate(data)
    if text not in known:
        raise ConfigError(
            f"no competition '{text}'{nearest(text, known)}. There are: {', '.join(known)}; "
            "or give a config file with a `data` block."
        )
    return DataConfig(competition=text)


def load_packable(path: Path) -> BlendConfig | ForecastConfig:
    """The config of what can be packed, read as `load_config`: of a blend, of forecasts, or of a run by itself.

    ConfigError if it is of another kind.
    """
    config = load_pictured(path)
    return config if isinstance(config, ForecastConfig) else load_blend(path)


def load_pictured(path: Path) -> RunConfig | BlendConfig | ForecastConfig:
    """The config of what can be drawn, read as `load_config`: of a blend, of a run by itself, or of forecasts.

    ConfigError if it is of another kind.
    """
    config = load_config(path)
    if isinstance(config, RunConfig) and plugins.load("tasks", config.task).TASK.TARGETS == FORECASTING:
        return ForecastConfig.of_run(config)
    return config if isinstance(config, RunConfig | ForecastConfig) else _of_kind(BlendConfig, config, path)


def read_yaml(path: Path, named_by: str = "") -> Values:
    """The keys and values of a YAML file; ConfigError if it is missing, not YAML, or holds no table of keys.

    named_by: which file refers to it, for the message, for instance ", which study.yaml names".
    """
    if path.exists() and not path.is_dir():
        require_file(path, "a config file", ConfigError)
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such config file{named_by}.") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: more than {LARGEST >> 20} MB, which no config has{named_by}. Name another file.")
    try:
        values = parse(text.decode())
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        what = "nothing" if values is None else type(values).__name__
        raise ConfigError(f"{path}: expected keys and values, got {what}.")
    return values


def _of_kind(kind: type[Kind], config: AnyConfig, path: Path) -> Kind:
    if isinstance(config, kind):
        return config
    inline = [f"{path}#{name}" for name, (own, _) in _inline(_find(path)[0]).items() if own is kind]
    raise _not_of_kind(kind, path, f" It contains {', '.join(inline)}." if inline else "")


def _not_of_kind(kind: type, path: Path, hint: str = "") -> ConfigError:
    key, what = next((key, what) for key, (known, what) in KINDS.items() if known is kind)
    return ConfigError(f"{path}: not {what} (it has no '{key}').{hint}")


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
    own, file = read_yaml(path, f", which {seen[-1]} names" if seen else ""), _File(path, {})
    _use_plugins(own, path)
    for holder, key, _ in _slots(own, inner=True):
        member = holder[key]
        if isinstance(member, str) and (address := _address(member, file)):
            holder[key] = str(address.resolve())  # this file may be the base of one in another folder
        elif key == "run" and isinstance(member, dict) and "name" in holder:  # a forecast, which names its run
            holder[key] = {"name": holder["name"], **member}
    return _File(path, expand_sweeps(_on_bases({}, own, file, (*seen, path)), where=str(path)))


def _use_plugins(own: Values, path: Path) -> None:
    """Find the plug-ins in the folders that a config names, relative to its own; ConfigError names what is wrong."""
    plugins.search(path.parent)
    folders = own.pop("plugins", [])
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise ConfigError(f"{path}: plugins: expected a list of folders, got {folders!r}.")
    for folder in folders:
        try:
            plugins.add_folder(path.parent / folder)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


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
    """The keys of a config for use in another file: members of one written inline get the address of its file."""
    file, kind, values = _find(path, seen)
    values = copy.deepcopy(values)
    for holder, key, _ in _slots(values) if kind is not None else ():
        name = holder[key]["name"] if isinstance(holder[key], dict) else holder[key]
        if not _address(str(name), file):
            holder[key] = f"{file.path.resolve()}#{name}"
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
    problems = []
    for check in _option_checks(config):
        try:
            check()
        except ConfigError as error:
            problems += str(error).splitlines()
    if problems:
        raise ConfigError(f"{path}:\n{listing(problems)}")
    return config


def _option_checks(config: AnyConfig) -> Iterator[Callable[[], object]]:
    """Calls that raise ConfigError where a plug-in that the config names is unknown, or one of its options wrong."""
    yield partial(configured, "competitions", config.data.competition, config.data.options, where="data.options")
    if isinstance(config, RunConfig):
        yield partial(configured, "models", config.model.family, config.model.options, where="model.options")
        if not config.imported:
            yield partial(plugins.load("tasks", config.task).TASK.make_loss, config)
        for place, logger in enumerate(config.loggers):
            yield partial(configured, "loggers", logger.name, logger.options, where=f"loggers.{place}.options")
        if config.frame_adapter is not None:
            adapter, where = config.frame_adapter, "frame_adapter.options"
            yield partial(configured, "forecasting.frame_adapters", adapter.name, adapter.options, where=where)
    if isinstance(config, ForecastConfig):
        for place, model in enumerate(config.forecasts):
            if model.family is not None:
                where = f"forecasts.{place}.options"
                yield partial(configured, "forecasting.baselines", model.family, model.options, where=where)


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
        raise _not_of_kind(kind, path)
    return _build(file, kind, values, path)


def _inline(file: _File) -> dict[str, tuple[type[AnyConfig], Values]]:
    """The runs and blends that are written in a file, by name: their kind, and the keys that stand there."""
    found: dict[str, tuple[type[AnyConfig], Values]] = {}
    for holder, key, kind in _slots(file.values, inner=True):
        own = holder[key]
        if not isinstance(own, dict):
            continue
        if "name" not in own:
            place = f"runs.{key}" if isinstance(key, int) else key
            raise ConfigError(f"{file.path}: '{place}': what is written inline needs a name; got {own}.")
        if str(own["name"]) in found:
            raise ConfigError(f"{file.path}: two runs or blends have the name '{own['name']}'. Rename one.")
        found[str(own["name"])] = kind, own
    return found


def _slots(values: Values, *, inner: bool = False) -> Iterator[tuple[Any, Any, type[AnyConfig]]]:
    """Where configs of runs and blends stand in `values`, by name or inline: holder, key in it, kind.

    inner: in those that are written inline, too.
    """
    runs, *lists = (values[key] if isinstance(values.get(key), list) else [] for key in ("runs", "models", "forecasts"))
    slots: list[tuple[Any, Any, type[AnyConfig]]] = [(runs, place, RunConfig) for place in range(len(runs))]
    slots += [(values, "classifier_gate", RunConfig)] if "classifier_gate" in values else []
    for entry in itertools.chain(*lists):
        for key, member in (("run", RunConfig), ("blend", BlendConfig)):
            slots += [(entry, key, member)] if isinstance(entry, dict) and key in entry else []
    for holder, key, kind in slots:
        yield holder, key, kind
        if inner and isinstance(holder[key], dict):
            yield from _slots(holder[key], inner=True)


def _kind_of(values: Values, path: Path) -> type[AnyConfig]:
    kind = next((kind for key, (kind, _) in KINDS.items() if key in values), None)
    hints = {key: hint for key in values if key != "data" and (hint := nearest(str(key), list(KINDS)))}
    if kind is None and hints:
        raise ConfigError(f"{path}:\n{listing([f'unknown key {key!r}{hint}.' for key, hint in hints.items()])}")
    return kind or DatasetConfig


def _refuse_circle(path: Path, seen: Seen) -> None:
    if path.resolve() in [config.resolve() for config in seen]:
        raise ConfigError(f"{path}: 'base' leads back to this config.")
