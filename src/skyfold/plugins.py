"""Plug-ins: the modules of a package, found by file name, so that adding one is adding a file.

Files outside the package count, too: `add_folder` names a folder with subfolders `competitions`, `models`, `rules`
and `loggers`, whose modules are then found like skyfold's own, and with files of metrics.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from skyfold.errors import ConfigError
from skyfold.files import digest

VARIABLE = "SKYFOLD_PLUGINS"  # folders, separated as in PATH
# Subfolders of a folder of plug-ins, and the packages that their modules join.
PACKAGES = {"competitions": "competitions", "models": "models", "rules": "postprocess.rules", "loggers": "loggers"}
OWN = Path(__file__).parent

_searched: list[Path] = []  # folders in which files of metrics are looked for


def names(package: str) -> list[str]:
    """Names of the modules in `skyfold.<package>`, sorted; nothing of them is imported."""
    _add_folders_of_environment()
    root = importlib.import_module(f"skyfold.{package}")
    return sorted({module.name for module in pkgutil.iter_modules(root.__path__) if not module.name.startswith("_")})


def load(package: str, name: str) -> ModuleType:
    """Import `skyfold.<package>.<name>`; ConfigError with the nearest name where there is none, or where a file outside
    the package cannot be imported."""
    loaded = sys.modules.get(f"skyfold.{package}.{name}")
    if loaded is not None and name.isidentifier() and not name.startswith("_"):
        return loaded
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2]
        raise ConfigError(f"{kind}: there is no '{name}'{nearest(name, known)}. There are: {', '.join(known)}.")
    try:
        return importlib.import_module(f"skyfold.{package}.{name}")
    except Exception as error:
        path = _file_outside(package, name)
        if path is None:
            raise
        raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error}). Mend the file.") from error


def add_folder(folder: Path) -> None:
    """Find plug-ins in `folder`, too.

    ConfigError where it is missing, holds none of the subfolders, or a module in it has the name of another plug-in.
    """
    search(folder)
    subfolders = {name: folder / name for name in PACKAGES if (folder / name).is_dir()}
    if not subfolders and not any(folder.glob("*.py")):
        raise ConfigError(f"plugins: {folder}: no such folder, or none of {', '.join(PACKAGES)} in it.")
    for name, own in subfolders.items():
        package = importlib.import_module(f"skyfold.{PACKAGES[name]}")
        if str(own.resolve()) in package.__path__:
            continue
        there = set(names(PACKAGES[name]))
        for module in pkgutil.iter_modules([str(own)]):
            if module.name in there:
                raise ConfigError(f"plugins: {own / module.name}.py: there is a plug-in of this name. Rename it.")
        package.__path__.append(str(own.resolve()))
    importlib.invalidate_caches()


def add_project(root: Path) -> None:
    """Find the plug-ins in the folder `plugins` of the project `root`, and files of metrics beside its configs."""
    if (root / "plugins").is_dir():
        add_folder(root / "plugins")
    for folder in sorted((root / "configs").glob("*/")):
        search(folder)


def search(folder: Path) -> None:
    """Look for files of metrics in `folder`, too."""
    if folder.resolve() not in _searched:
        _searched.append(folder.resolve())


def folders() -> list[Path]:
    """Folders outside skyfold in which plug-ins and files of metrics were looked for, and are."""
    return [one for one in _searched if any(one.glob("*.py")) or any((one / name).is_dir() for name in PACKAGES)]


def from_file(reference: str) -> object:
    """The object that `FILE.py:NAME` names, for instance a metric; FILE lies beside the config or in a folder of
    plug-ins. ConfigError where there is none."""
    file, _, name = reference.partition(":")
    places = [folder / file for folder in (*_searched, Path.cwd())]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ConfigError(f"{reference}: no such file beside the config or in a folder of plug-ins.")
    key = f"skyfold_plugin_{digest(str(path), path.read_text(errors='replace'))}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[key] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[key]
            raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error}). Mend it.") from error
    found = vars(sys.modules[key])
    if name not in found:
        raise ConfigError(f"{path}: there is no '{name}'{nearest(name, list(found))}. Name a class of the file.")
    return found[name]


def source_digest(package: str, name: str) -> str:
    """Digest of the code of plug-in `name`; comments, docstrings and layout do not change it."""
    file = load(package, name).__file__
    assert file is not None
    return _code_digest(Path(file))


def class_digest(kind: type) -> str:
    """Digest of the file in which a class outside skyfold is written; '' of others, and where there is no file."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return _code_digest(Path(file)) if file is not None and outside(Path(file)) else ""


def outside(path: Path) -> bool:
    """Whether a file is not one of skyfold's own."""
    return not path.is_relative_to(OWN)


def _code_digest(file: Path, without: str = "") -> str:
    """without: name of a class in the file that does not count."""
    code = ast.parse(file.read_bytes())
    code.body = [node for node in code.body if not (isinstance(node, ast.ClassDef) and node.name == without)]
    for node in ast.walk(code):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return digest(ast.dump(code))


def outside_digest(package: str, name: str, *, without: str = "") -> str:
    """`source_digest` of a plug-in that lies outside skyfold, whose code changes with no version; '' of others.

    without: name of a class that does not count.
    """
    file = _file_outside(package, name)
    return "" if file is None else _code_digest(file, without)


def _file_outside(package: str, name: str) -> Path | None:
    """The file of a plug-in that lies outside skyfold; None of others."""
    spec = importlib.util.find_spec(f"skyfold.{package}.{name}")
    path = Path(spec.origin) if spec and spec.origin else OWN
    return path if outside(path) else None


def _add_folders_of_environment() -> None:
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        if Path(text).resolve() not in _searched:
            add_folder(Path(text))


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text by itself, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def nearest(name: str, known: list[str]) -> str:
    """A hint such as " (did you mean 'unet'?)", or '' where nothing is close.

    >>> nearest("unett", ["unet", "fpn"])
    " (did you mean 'unet'?)"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
