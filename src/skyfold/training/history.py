"""The record of a fit, epoch by epoch: a CSV, and its curves as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from skyfold.files import write_atomic, write_text

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "lr", "seconds", "images_per_second")

HistoryRow = dict[str, float]


def write_history(path: Path, history: list[HistoryRow]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows([{name: f"{row[name]:.6g}" for name in COLUMNS} for row in history])
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[HistoryRow]:
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def draw_history(path: Path, history: list[HistoryRow], *, title: str, score: str) -> None:
    """Losses on the left, validation score on the right, over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], marker=".", label="training")
    left.plot(epochs, [row["val_loss"] for row in history], marker=".", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    right.plot(epochs, [row["val_score"] for row in history], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel=score)
    figure.suptitle(title)
    write_atomic(path, FigureCanvasAgg(figure).print_png)
