"""The record of a fit, epoch by epoch: a CSV, and its curves as a picture."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from skyfold.files import write_atomic, write_text

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "lr", "seconds", "images_per_second")

HistoryRow = dict[str, float]


def write_history(path: Path, history: list[HistoryRow]) -> None:
    """A row an epoch; what was not measured in it (NaN) is left empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows([{name: _written(row[name]) for name in COLUMNS} for row in history])
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[HistoryRow]:
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


def draw_history(path: Path, history: list[HistoryRow], *, title: str, score: str) -> None:
    """Losses on the left, validation score on the right, over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    measured = [row for row in history if not math.isnan(row["val_loss"])]
    validated = [row["epoch"] for row in measured]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], marker=".", label="training")
    left.plot(validated, [row["val_loss"] for row in measured], marker=".", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    right.plot(validated, [row["val_score"] for row in measured], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel=score)
    figure.suptitle(title)
    write_atomic(path, FigureCanvasAgg(figure).print_png)


def _written(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
