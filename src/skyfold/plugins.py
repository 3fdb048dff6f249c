"""Plug-ins: the modules of a package, found by file name, so that adding one is adding a file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from skyfold.errors import ConfigError
from skyfold.files import digest


def names(package: str) -> list[str]:
    """Names of the modules in `skyfold.<package>`, sorted; nothing of them is imported."""
    root = importlib.import_module(f"skyfold.{package}")
    return sorted(module.name for module in pkgutil.iter_modules(root.__path__) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import `skyfold.<package>.<name>`; ConfigError with the nearest name where there is none."""
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2]
        raise ConfigError(f"{kind}: there is no '{name}'{nearest(name, known)}. There are: {', '.join(known)}.")
    return importlib.import_module(f"skyfold.{package}.{name}")


def source_digest(package: str, name: str) -> str:
    """Digest of the source file of plug-in `name`."""
    file = load(package, name).__file__
    assert file is not None
    return digest(Path(file).read_bytes())


def nearest(name: str, known: list[str]) -> str:
    """A hint such as " (did you mean 'unet'?)", or '' where nothing is close.

    >>> nearest("unett", ["unet", "fpn"])
    " (did you mean 'unet'?)"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
