"""How a procedural sample comes to lie in a folder: whole, once, and never over other files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skyfold.errors import ConfigError, DataLayoutError
from skyfold.files import read_json, write_json
from skyfold.types import JsonDict

ABOUT = "sample.json"


def write_whole(folder: Path, settings: JsonDict, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder beside `folder`, and move it there when it is done.

    A folder that holds the sample of the same settings is left as it is; DataLayoutError where it holds anything else.
    """
    if folder.exists() and any(folder.iterdir()):
        about = folder / ABOUT
        if about.is_file() and read_json(about) == settings:
            return
        raise DataLayoutError(f"{folder}: holds other files already. Delete it, or name another folder with --data.")
    beside = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        write(beside)
        write_json(beside / ABOUT, settings)
        os.replace(beside, folder)  # an empty folder is replaced
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def whole_numbers(given: Mapping[str, Any], least: Mapping[str, int]) -> dict[str, int]:
    """`given` settings, each a whole number; ConfigError for one that `least` does not name, or below what it says."""
    unknown = sorted(set(given) - set(least))
    if unknown:
        raise ConfigError(f"unknown sample setting '{unknown[0]}'. Known: {', '.join(least)}.")
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least[name]:
            raise ConfigError(f"data.sample.{name}: expected a whole number from {least[name]} on, got {value!r}.")
    return dict(given)
