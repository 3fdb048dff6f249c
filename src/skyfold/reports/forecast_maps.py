"""Maps of a forecast for each lead time, beside the truth with the error or alone; and as an animation.

Scales are fixed by the unit, so that two pictures can be laid side by side. Cells that do not count are grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from PIL import Image

from skyfold.files import write_atomic
from skyfold.metrics.forecast import CONCENTRATION, RAIN_RATE, SUMS, ErrorBySkill, mean_error_of, skill_of

GREY = "#b9b9b4"
EDGE, EDGE_ON_ERROR = "#e4572e", "#3c3c3c"
MOST_COLUMNS = 6
WIDTH, BAR_HEIGHT = 1.9, 0.1  # inches of a map of the sheet, and of the bars below
FRAME_MILLISECONDS, LAST_MILLISECONDS = 450, 1800


@dataclass(frozen=True)
class Scale:
    """How values of a unit, and errors of forecasts, are drawn: colour map, norm and ticks of each.

    Values below the norm's lower end are not drawn.
    """

    colours: str
    norm: Normalize
    ticks: tuple[float, ...]
    error_colours: str
    error_norm: Normalize
    error_ticks: tuple[float, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value of the scale, in the unit; the least is 0 where the scale is linear."""
        assert self.norm.vmin is not None
        assert self.norm.vmax is not None
        return self.norm.vmin, self.norm.vmax


SCALES = {
    CONCENTRATION.name: Scale(
        "Blues_r", Normalize(0, 250), (0, 50, 100, 150, 200, 250),
        "RdBu", Normalize(-125, 125), (-125, -62.5, 0, 62.5, 125),
    ),
    RAIN_RATE.name: Scale(
        "viridis", LogNorm(0.1, 50), (0.1, 0.3, 1, 3, 10, 30),
        "BrBG", SymLogNorm(0.3, vmin=-20, vmax=20), (-10, -1, 0, 1, 10),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DrawnForecast:
    """One forecast to draw. forecast, truth: (H, W, L); valid: bool, the same; known: (T, H, W), the last frames that
    were known; leads, frames: names of the L lead times and of the T known frames."""

    forecast: np.ndarray
    truth: np.ndarray
    valid: np.ndarray
    known: np.ndarray
    leads: tuple[str, ...]
    frames: tuple[str, ...]


def draw_sheet(path: Path, drawn: DrawnForecast, metric: ErrorBySkill, title: str) -> None:
    """Write a PNG: forecast, truth and error below each other, a column a lead time, six side by side at most.

    The line in the maps is the edge of the event in the truth. Above each column stand its error and its skill.
    """
    scale = SCALES[metric.unit.name]
    grid: Any  # matplotlib types a part of it as a list
    height, width, leads = drawn.forecast.shape
    beside = leads == 1  # one lead time: forecast, truth and error in a row
    columns = 3 if beside else min(leads, MOST_COLUMNS)
    rows = 1 if beside else 3 * -(-leads // columns)
    map_width = 2 * WIDTH if beside else WIDTH
    map_height = map_width * height / width
    figure = Figure(figsize=(columns * map_width + 0.4, rows * (map_height + 0.17) + 1.4), layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[map_height] * rows + [BAR_HEIGHT])
    sums = metric.stats(target=drawn.truth[None], pred=drawn.forecast[None], valid=drawn.valid[None])
    shown: dict[str, Any] = {}
    for lead in range(leads):
        truth, valid = drawn.truth[..., lead], drawn.valid[..., lead]
        maps = {"forecast": drawn.forecast[..., lead], "truth": truth, "error": drawn.forecast[..., lead] - truth}
        for part, (label, values) in enumerate(maps.items()):
            place = (0, part) if beside else (3 * (lead // columns) + part, lead % columns)
            axis = figure.add_subplot(grid[place])
            shown[label] = _map(axis, values, valid, scale, of_error=label == "error")
            _edge(axis, truth, valid, metric.threshold, EDGE_ON_ERROR if label == "error" else EDGE)
            if beside:
                axis.set_title(f"error: {_figures(sums, lead, metric)}" if label == "error" else label, fontsize=9)
            elif label == "forecast":
                axis.set_title(f"{drawn.leads[lead]}\n{_figures(sums, lead, metric)}", fontsize=8)
            if not beside and lead % columns == 0:
                axis.set_ylabel(label, fontsize=9)
    half = max(1, columns // 2)
    for label, place, ticks in (
        ("truth", grid[rows, :half], scale.ticks),
        ("error", grid[rows, half:], scale.error_ticks),
    ):
        what = metric.unit.name if label == "truth" else f"forecast - truth, {metric.unit.name}"
        extend = "max" if label == "truth" else "both"
        bar = figure.colorbar(shown[label], cax=figure.add_subplot(place), orientation="horizontal", extend=extend)
        _finish(bar, what, ticks)
    figure.suptitle(title, fontsize=10)
    write_atomic(path, lambda file: figure.savefig(file, dpi=100))


def draw_maps(
    path: Path,
    forecast: np.ndarray,
    valid: np.ndarray | None,
    leads: Sequence[str],
    metric: ErrorBySkill,
    title: str,
) -> None:
    """Write a PNG of a forecast (H, W, L) without a truth: a map for each of `leads`, six side by side at most.

    The line is the edge of the event. valid: bool (H, W, L), None: every cell counts.
    """
    scale, (height, width, count) = SCALES[metric.unit.name], forecast.shape
    columns = min(count, MOST_COLUMNS)
    rows, map_width = -(-count // columns), 2 * WIDTH if count == 1 else WIDTH
    map_height = map_width * height / width
    figure = Figure(figsize=(columns * map_width + 0.4, rows * (map_height + 0.17) + 1.0), layout="constrained")
    grid: Any = figure.add_gridspec(rows + 1, columns, height_ratios=[map_height] * rows + [BAR_HEIGHT])
    counts = np.ones(forecast.shape, dtype=bool) if valid is None else valid
    for lead, name in enumerate(leads):
        axis = figure.add_subplot(grid[lead // columns, lead % columns])
        shown = _map(axis, forecast[..., lead], counts[..., lead], scale)
        _edge(axis, forecast[..., lead], counts[..., lead], metric.threshold, EDGE)
        axis.set_title(name, fontsize=8)
    place = figure.add_subplot(grid[rows, :])
    _finish(figure.colorbar(shown, cax=place, orientation="horizontal", extend="max"), metric.unit.name, scale.ticks)
    figure.suptitle(title, fontsize=10)
    write_atomic(path, lambda file: figure.savefig(file, dpi=100))


def draw_animation(path: Path, drawn: DrawnForecast, metric: ErrorBySkill, title: str) -> None:
    """Write a GIF: the known frames, then the observed beside the forecast ones, frame by frame."""
    scale = SCALES[metric.unit.name]
    height, width = drawn.forecast.shape[:2]
    figure = Figure(figsize=(6.4, 3.0 * height / width + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    canvas = FigureCanvasAgg(figure)
    land: np.ndarray = np.any(drawn.valid, axis=-1)
    steps = [(f"known: {name}", frame, frame, land) for name, frame in zip(drawn.frames, drawn.known, strict=True)]
    for lead, name in enumerate(drawn.leads):
        steps.append((name, drawn.truth[..., lead], drawn.forecast[..., lead], drawn.valid[..., lead]))
    heading = figure.suptitle("", fontsize=9)
    images: list[Image.Image] = []
    for name, observed, forecast, valid in steps:
        for axis, values, what in ((left, observed, "observed"), (right, forecast, "forecast")):
            axis.clear()
            shown = _map(axis, values, valid, scale)
            _edge(axis, observed, valid, metric.threshold, EDGE)
            axis.set_title(what if not name.startswith("known") else "known", fontsize=9)
        if not images:
            bar = figure.colorbar(shown, ax=[left, right], location="bottom", shrink=0.6, aspect=45, extend="max")
            _finish(bar, metric.unit.name, scale.ticks)
        heading.set_text(f"{title}\n{name}")
        canvas.draw()
        figure.set_layout_engine("none")  # as the first frame was laid out, so that the maps stay where they are
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = images[-1].quantize(256, method=Image.Quantize.MAXCOVERAGE)  # of the whole bar, not of the map alone
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    milliseconds = [FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    write_atomic(
        path,
        lambda beside: frames[0].save(
            beside, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
        ),
    )


def _map(axis: Axes, values: np.ndarray, valid: np.ndarray, scale: Scale, *, of_error: bool = False) -> Any:
    hidden = ~valid if of_error else ~valid | (values < scale.limits[0])
    axis.imshow(np.where(valid, np.nan, 1.0), cmap=ListedColormap([GREY]), vmin=0, vmax=1, interpolation="nearest")
    shown = axis.imshow(
        np.ma.masked_array(values, hidden),
        cmap=scale.error_colours if of_error else scale.colours,
        norm=scale.error_norm if of_error else scale.norm,
        interpolation="nearest",
    )
    axis.set(facecolor="white", xticks=[], yticks=[])
    return shown


def _edge(axis: Axes, truth: np.ndarray, valid: np.ndarray, threshold: float, colour: str) -> None:
    """Not along coasts, behind which nothing is known."""
    event = (truth >= threshold)[valid]
    if event.any() and not event.all():
        axis.contour(np.ma.masked_array(truth, ~valid), levels=[threshold], colors=colour, linewidths=0.6)


def _finish(bar: Any, label: str, ticks: Sequence[float]) -> None:
    bar.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
    bar.ax.minorticks_off()
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)


def _figures(sums: np.ndarray, lead: int, metric: ErrorBySkill) -> str:
    """Error and skill of one lead time. sums: (1, 5 L)."""
    own = sums.reshape(1, SUMS, -1)[..., lead]
    return f"MAE {mean_error_of(own):.2f}, {metric.skill.upper()} {skill_of(own, metric.skill):.2f}"
