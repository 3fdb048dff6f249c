"""Submissions that are a folder with one mask image a sample, written beside their table of run-length text."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from skyfold.submission.formats import RleTable


@dataclass(frozen=True)
class TiffFolder(RleTable):
    """As `RleTable`, of a single class; writing `name.csv` also writes `name/<id>.tif`, uint8 0 and 1.

    The folder is what is handed in; the table is what skyfold compares, checks and records.
    """

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write the table and the folder, each completely, or leave what is there."""
        folder = path.with_suffix("")
        beside = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
        ids = np.array(self.ids_of(table), dtype=str)
        try:
            beside.mkdir(parents=True)
            for name, mask in zip(ids.tolist(), iter(self.decode(table, ids)), strict=True):
                tifffile.imwrite(beside / f"{name}.tif", mask[..., 0].astype(np.uint8), compression="zlib")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        super().write(path, table)
