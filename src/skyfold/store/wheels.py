"""Wheels of installed distributions, written without a network: what `pip install --no-index` takes elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

from skyfold import plugins
from skyfold.errors import ConfigError

OWN = "skyfold"
ABOUT = "Wheel-Version: 1.0\nGenerator: skyfold\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
# Of this installation, not of the distribution.
LEFT_OUT = {"INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json"}
COMPILED = (".dll", ".dylib", ".pyd", ".so")


def wheel(name: str) -> tuple[str, bytes]:
    """File name and bytes of the wheel of an installed distribution; of the same files the same bytes.

    ConfigError where it is not installed, is not pure Python, or is installed as a link to its source.
    """
    found = installed(name)
    stem = f"{re.sub('[-_.]+', '_', found.metadata['Name'])}-{found.version}"
    own = plugins.OWN if canonical(name) == OWN else None  # an editable installation does not list its code
    contents = {f"{stem}.dist-info/WHEEL": ABOUT.encode()}
    for file in found.files or ():
        if file.parts[0].endswith(".dist-info"):
            if file.name not in LEFT_OUT:
                contents["/".join((f"{stem}.dist-info", *file.parts[1:]))] = file.read_binary()
        elif own is None and not {"..", "__pycache__"} & set(file.parts):
            contents[file.as_posix()] = file.read_binary()
    if own is not None:
        code = [path for path in own.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
        contents |= {path.relative_to(own.parent).as_posix(): path.read_bytes() for path in code}
    pure = "Root-Is-Purelib: true" in str(found.read_text("WHEEL"))
    if not pure or any(path.endswith(COMPILED) for path in contents):
        raise ConfigError(f"{name}: not pure Python, so that its wheel would fit this machine only. Do without it.")
    if not any(path.endswith(".py") for path in contents):
        raise ConfigError(f"{name}: installed as a link to its source. Install it: pip install {name}.")
    return f"{stem}-py3-none-any.whl", _zip(contents, f"{stem}.dist-info/RECORD")


def installed(name: str) -> Distribution:
    """The distribution as pip installed it; ConfigError where it is not there."""
    for found in distributions(name=name):
        if found.read_text("WHEEL"):
            return found
    raise ConfigError(f"{name}: not installed by pip, and a bundle needs it. Install it: pip install {name}.")


def required(names: Iterable[str]) -> set[str]:
    """Canonical names of what the distributions `names` require themselves, without their extras."""
    lines = [line for name in names for line in installed(name).requires or () if "extra" not in line.partition(";")[2]]
    return {canonical(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}


def canonical(name: str) -> str:
    """The name of a distribution as package indexes compare it.

    >>> canonical("Keras_Applications")
    'keras-applications'
    """
    return re.sub("[-_.]+", "-", name).lower()


def _zip(contents: dict[str, bytes], record: str) -> bytes:
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    for path, data in sorted(contents.items()):
        checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={checksum}", len(data)))
    rows.writerow((record, "", ""))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:  # stored: deflated bytes differ between versions of zlib
        for path, data in (*sorted(contents.items()), (record, lines.getvalue().encode())):
            entry = zipfile.ZipInfo(path)  # of the year 1980
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            file.writestr(entry, data)
    return written.getvalue()
