"""How a procedural sample comes to lie in a folder: whole, once, and never over other files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skyfold.errors import ConfigError, DataLayoutError
from skyfold.files import read_json, write_json
from skyfold.types import IntPair, JsonDict

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


def sample_settings(given: Mapping[str, Any], known: Mapping[str, IntPair]) -> dict[str, int]:
    """Settings of a sample: those `given`, and the defaults of all others.

    known: default and least value by name. ConfigError for an unknown name, or a value that is no whole number from the
    least one on.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"unknown sample setting '{unknown[0]}'. Known: {', '.join(known)}.")
    for name, value in given.items():
        least = known[name][1]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"data.sample.{name}: expected a whole number from {least} on, got {value!r}.")
    return {name: default for name, (default, _) in known.items()} | dict(given)
