"""Write a NetCDF file as a listing of `ncdump -h` shows it: dimensions, variables, attributes and groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np

TYPES = {"ubyte": "u1", "short": "i2", "int": "i4", "float": "f4", "double": "f8", "char": "S1"}
SUFFIXES = {"UB": "u1", "s": "i2", "f": "f4"}
GROUP = re.compile(r"group: (\w+) \{")
VARIABLE = re.compile(r"(\w+) (\w+)(?:\(([\w, ]*)\))? ;")
ATTRIBUTE = re.compile(r"(\w*):(\w+) = (.*) ;")


def write_listing(path: Path, listing: str, values: Mapping[str, np.ndarray]) -> None:
    """values: by the path of each variable; their shapes give the lengths of the dimensions, in the place of those of
    the listing. A variable without values is left at its fill value."""
    lines = [line.strip() for line in listing.splitlines()]
    with h5netcdf.File(path, "w") as file:
        for name, length in _lengths(lines, values).items():
            file.dimensions[name] = None if f"{name} = UNLIMITED" in listing else length
            if file.dimensions[name].isunlimited():
                file.resize_dimension(name, length)
        group: Any = file
        for line in lines:
            if found := GROUP.match(line):
                group = file.create_group(found[1])
            elif found := VARIABLE.match(line):
                dimensions = _dimensions(found)
                fill = re.search(rf"{found[2]}:_FillValue = (.*) ;", listing)
                packing = {"compression": "gzip", "shuffle": True} if len(dimensions) > 1 else {}
                value = _value(fill[1]) if fill else None
                made = group.create_variable(found[2], dimensions, TYPES[found[1]], fillvalue=value, **packing)
                own = "" if group is file else group.name.strip("/") + "/"
                if own + found[2] in values:
                    made[...] = values[own + found[2]]
            elif (found := ATTRIBUTE.match(line)) and found[2] != "_FillValue":
                (group.variables[found[1]] if found[1] else group).attrs[found[2]] = _value(found[3])


def _lengths(lines: list[str], values: Mapping[str, np.ndarray]) -> dict[str, int]:
    lengths, own = {}, ""
    for line in lines:
        if found := GROUP.match(line):
            own = f"{found[1]}/"
        elif found := VARIABLE.match(line):
            shape = values[own + found[2]].shape if own + found[2] in values else ()
            lengths |= dict(zip(_dimensions(found), shape, strict=bool(shape)))
    return lengths


def _dimensions(found: re.Match[str]) -> tuple[str, ...]:
    return tuple(found[3].split(", ")) if found[3] else ()


def _value(text: str) -> Any:
    if text.startswith('"'):
        return text.strip('"')
    suffix = next((suffix for suffix in SUFFIXES if text.endswith(suffix)), "")
    numbers = np.array([float(part.strip().removesuffix(suffix)) for part in text.split(",")])
    numbers = numbers.astype(SUFFIXES.get(suffix, "f8" if "." in text else "i4"))
    return numbers if len(numbers) > 1 else numbers[0]
