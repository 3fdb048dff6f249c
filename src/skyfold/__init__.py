"""From a folder of earth-observation competition files to a scored, validated submission."""

from typing import TYPE_CHECKING, Any

from skyfold.version import __version__ as __version__

if TYPE_CHECKING:
    from skyfold.notebook.bundle import Bundle as Bundle
    from skyfold.notebook.bundle import load_bundle as load_bundle
    from skyfold.notebook.commands import open as open
    from skyfold.notebook.commands import pack as pack
    from skyfold.notebook.commands import prepare as prepare
    from skyfold.notebook.commands import run as run
    from skyfold.notebook.display import Picture as Picture
    from skyfold.notebook.members import Blend as Blend
    from skyfold.notebook.members import Run as Run
    from skyfold.notebook.results import Results as Results
    from skyfold.notebook.scores import Score as Score
    from skyfold.notebook.scores import Thresholds as Thresholds

# Modules of `skyfold.notebook` that hold the public names; loaded when a name is first used.
_MODULES = {
    "Blend": "members",
    "Bundle": "bundle",
    "Picture": "display",
    "Results": "results",
    "Run": "members",
    "Score": "scores",
    "Thresholds": "scores",
    "load_bundle": "bundle",
    "open": "commands",
    "pack": "commands",
    "prepare": "commands",
    "run": "commands",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'skyfold' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"skyfold.notebook.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
