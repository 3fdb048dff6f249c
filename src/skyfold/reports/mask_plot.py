"""Pictures of predicted masks: images with the true outlines, the same with the predicted ones, and their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.files import write_atomic

ERRORS = {"hit": "#1b9e4b", "false positive": "#c2007a", "false negative": "#ff8c00"}
COLOURS = ("#ff5a5f", "#ffd23f", "#3bceac", "#7aa7ff", "#f78fe0", "#ff9f1c", "#b8f35a", "#c9c9ff")
COLUMNS = 4  # of a contact sheet


def draw_examples(
    path: Path,
    *,
    images: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    pred: Sequence[np.ndarray],
    classes: Sequence[str],
    captions: Sequence[str],
    title: str,
) -> None:
    """Write a PNG with a column per image: above the truth, below the prediction.

    images: (H, W, C), of whose bands the first three are shown, of less than three the first, those of other types
    than uint8 stretched between their 2nd and 98th percentile; truth, pred: bool (h, w, K) on any grid of the same
    view.
    """
    figure, axes = _sheet(2, len(images), images[0])
    for column, image in enumerate(images):
        for row, masks in enumerate((truth[column], pred[column])):
            _draw(axes[row, column], image, masks)
        axes[1, column].set_xlabel(captions[column])
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("prediction")
    _write(path, figure, classes, title)


def draw_masks(
    path: Path,
    *,
    images: Sequence[np.ndarray],
    pred: Sequence[np.ndarray],
    classes: Sequence[str],
    captions: Sequence[str],
    title: str,
) -> None:
    """Write a contact sheet as PNG: images with the outlines of their masks, `COLUMNS` in a row; as `draw_examples`."""
    columns = min(COLUMNS, len(images))
    figure, axes = _sheet(-(-len(images) // columns), columns, images[0])
    for axis in axes.ravel()[len(images) :]:
        axis.set_axis_off()
    for axis, image, masks, caption in zip(axes.ravel(), images, pred, captions, strict=False):
        _draw(axis, image, masks)
        axis.set_xlabel(caption)
    _write(path, figure, classes, title)


@dataclass(frozen=True)
class MaskPanels:
    """An image, its masks and what to write above them; arrays as those of `draw_examples`, None where not known.

    valid: bool (h, w), False counts as no error; None: all count.
    """

    image: np.ndarray
    truth: np.ndarray | None
    pred: np.ndarray | None
    valid: np.ndarray | None = None
    caption: str = ""

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Those that are known, by the name of their panel."""
        return {name: own for name, own in (("truth", self.truth), ("prediction", self.pred)) if own is not None}


def draw_samples(samples: Sequence[MaskPanels], *, classes: Sequence[str], title: str) -> bytes:
    """A PNG with a row of panels for each sample: image, truth, prediction, error; without those that need what is not
    known of the first.

    A pixel is a false positive where any class is predicted that is not there, else a false negative where any class
    is missed, else a hit where there is one.
    """
    columns = ["image", *samples[0].masks, *(["error"] if len(samples[0].masks) == 2 else [])]
    figure, axes = _sheet(len(samples), len(columns), samples[0].image)
    for own, row in zip(samples, axes, strict=True):
        row[0].set_title(own.caption, loc="left", fontsize="medium")
        for axis, name in zip(row, columns, strict=True):
            _draw(axis, own.image, own.masks.get(name))
            axis.set_xlabel(name)
        if own.truth is not None and own.pred is not None:
            layer, (height, width) = error_layer(own.truth, own.pred, own.valid), own.image.shape[:2]
            row[-1].imshow(layer, extent=(0, 1, 1, 0), aspect=height / width)
    _add_legend(figure, _class_colours(classes) | (ERRORS if "error" in columns else {}))
    figure.suptitle(title)
    return _as_png(figure)


def draw_panels(panels: Mapping[str, np.ndarray], *, rows: int, title: str) -> bytes:
    """A PNG of arrays (H, W) or (H, W, C) below their names, row by row; those (H, W) in one scale of grey."""
    figure, axes = _sheet(rows, -(-len(panels) // rows), next(iter(panels.values())))
    values = [panel for panel in panels.values() if panel.ndim == 2]
    limits = {"vmin": min(map(np.min, values)), "vmax": max(map(np.max, values))} if values else {}
    for axis, (name, panel) in zip(axes.ravel(), panels.items(), strict=True):
        axis.imshow(panel if panel.ndim == 2 else shown(panel), cmap="gray", **limits)
        axis.set(xticks=[], yticks=[], xlabel=name)
    figure.suptitle(title)
    return _as_png(figure)


def _as_png(figure: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()


def _sheet(rows: int, columns: int, image: np.ndarray) -> tuple[Any, np.ndarray]:
    """A figure with axes (rows, columns) for images of the shape of `image`."""
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    figure = Figure(figsize=(3.6 * columns, rows * 3.6 * height / width + 1.0), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _write(path: Path, figure: Any, classes: Sequence[str], title: str) -> None:
    _add_legend(figure, _class_colours(classes))
    figure.suptitle(title)
    write_atomic(path, lambda beside: figure.savefig(beside, dpi=80))


def error_layer(truth: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Colours, float (h, w, 4) in 0..1, of the errors as in `draw_samples`, transparent where there is nothing to
    show."""
    from matplotlib.colors import to_rgba

    where = [_any_class(masks) for masks in (truth & pred, truth & ~pred, pred & ~truth)]
    code = np.zeros(truth.shape[:2], dtype=np.uint8)
    palette = np.zeros((1 + len(ERRORS), 4))
    for number, (name, pixels) in enumerate(
        zip(("hit", "false negative", "false positive"), where, strict=True), start=1
    ):
        code[pixels if valid is None else pixels & valid] = number
        palette[number] = to_rgba(ERRORS[name], 0.65)
    return palette[code]


def _any_class(masks: np.ndarray) -> np.ndarray:
    """Class by class: NumPy is slow where the last axis is as short as the number of classes."""
    found: np.ndarray = np.logical_or.reduce([masks[..., k] for k in range(masks.shape[-1])])
    return found


def _class_colours(classes: Sequence[str]) -> dict[str, str]:
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(classes)}


def _add_legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, lw=2.5, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(colours), frameon=False)


def _draw(axis: Any, image: np.ndarray, masks: np.ndarray | None) -> None:
    """The image, with the outlines of `masks`."""
    axis.imshow(shown(image), extent=(0, 1, 1, 0), aspect=image.shape[0] / image.shape[1])
    if masks is not None:
        _outline(axis, masks)
    # Limits of the image: the grid that outlines are drawn on is larger.
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))


def shown(image: np.ndarray) -> np.ndarray:
    """The bands of `image` (H, W, C) that are drawn, the first three or, of less than three, the first: bytes as they
    are; values of other types between their 2nd and 98th percentile as 0..1, NaN as 0."""
    image = image[..., : 3 if image.shape[2] > 2 else 1]
    known = image[np.isfinite(image)]
    if image.dtype == np.uint8 or not len(known):
        return image
    low, high = np.percentile(known, (2, 98))
    return np.nan_to_num(np.clip((image - low) / max(high - low, 1e-9), 0, 1))


def _outline(axis: Any, masks: np.ndarray) -> None:
    height, width, classes = masks.shape
    x, y = (np.arange(width + 2) - 0.5) / width, (np.arange(height + 2) - 0.5) / height
    for k in range(classes):
        if masks[..., k].any():
            framed = np.pad(masks[..., k].astype(float), 1)  # so that an outline at the border is closed
            axis.contour(x, y, framed, levels=[0.5], colors=COLOURS[k % len(COLOURS)], linewidths=1.8)
            axis.collections[-1].set(clip_on=False, zorder=3)  # at the border, too: above the frame of the axes
