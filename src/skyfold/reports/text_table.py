"""Tables in aligned columns of text."""

from __future__ import annotations

from collections.abc import Sequence

from skyfold.store.fits import FitSummary


def aligned(rows: list[list[str]]) -> str:
    """Cells under each other, a rule below the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def training_columns(summaries: Sequence[FitSummary | None]) -> list[list[str]]:
    """Columns of a table that has networks: each the heading, then a cell a row; none where nothing was trained."""
    if not any(summaries):
        return []
    losses = [None if one is None else one.val_loss for one in summaries]
    return [
        ["validation loss", *("" if loss is None else f"{loss:.5f}" for loss in losses)],
        ["minutes", *("" if one is None else f"{one.minutes:.1f}" for one in summaries)],
    ]
