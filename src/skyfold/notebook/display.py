"""How objects show themselves in a notebook: HTML tables and PNG pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture that a notebook draws; png: the bytes of the file."""

    png: bytes

    def save(self, path: str | Path) -> Path:
        """Write the PNG to `path`."""
        Path(path).write_bytes(self.png)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"Picture of {len(self.png)} bytes; save(path) writes it"


def html_table(columns: Mapping[str, Any], note: str = "") -> str:
    """A table of `columns`, a sequence each, numbers to four decimals, texts escaped, and a `note` below it."""
    table = pd.DataFrame(dict(columns)).to_html(index=False, border=0, float_format="{:.4f}".format, na_rep="")
    return f"{table}<p>{html.escape(note)}</p>" if note else table
