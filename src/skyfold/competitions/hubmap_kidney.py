"""Kaggle "HuBMAP: Hacking the Kidney" (2020): glomeruli in kidney slides, each of its own size; its tables alone.

`train.csv` (and a truth file) has the columns id and encoding, `sample_submission.csv` id and predicted, one row a
slide; pixels count from 1 down the columns, an empty mask is an empty cell. `sizes.csv` has the columns id,
width_pixels and height_pixels. No images are read: predictions are imported.
"""

from __future__ import annotations

from pathlib import Path

from skyfold.api import Competition, Contest, MaskTables, MeanDice, RleTable, read_sizes, sizes_file


class HubmapKidney(Contest):
    """sizes: the CSV file of the slides' sizes, in the contest's folder."""

    sizes: str = "sizes.csv"

    def build(self, folder: Path | None) -> Competition:
        """The competition on the size of each slide, scored by mean Dice, both empty = 1."""
        sizes = read_sizes(sizes_file(self.sizes, folder), ("id", "width_pixels", "height_pixels"))
        table = RleTable(("glomeruli",), (1, 1), "id", "predicted", bare_ids=True, sizes=sizes)
        return MaskTables(table, "encoding").competition("hubmap_kidney", MeanDice())


PLUGIN = HubmapKidney
