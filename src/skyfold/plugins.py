"""Plug-ins: the modules of a package, found by file name, so that adding one is adding a file."""

from __future__ import annotations

import ast
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
    """Digest of the code of plug-in `name`; comments, docstrings and layout do not change it."""
    file = load(package, name).__file__
    assert file is not None
    code = ast.parse(Path(file).read_bytes())
    for node in ast.walk(code):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return digest(ast.dump(code))


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
