"""A picture of what a blend predicts: images with the true outlines, beside the same with the predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.files import write_atomic

COLOURS = ("#ff5a5f", "#ffd23f", "#3bceac", "#7aa7ff", "#f78fe0", "#ff9f1c", "#b8f35a", "#c9c9ff")


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
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    height, width = images[0].shape[:2]
    figure = Figure(figsize=(3.6 * len(images), 2 * 3.6 * height / width + 1.0), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    for column, image in enumerate(images):
        for row, masks in enumerate((truth[column], pred[column])):
            axis = axes[row, column]
            axis.imshow(
                _shown(image[..., : 3 if image.shape[2] > 2 else 1]),
                extent=(0, 1, 1, 0),
                aspect=image.shape[0] / image.shape[1],
            )
            _outline(axis, masks)
            # Limits of the image: the grid that outlines are drawn on is larger.
            axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
        axes[1, column].set_xlabel(captions[column])
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("prediction")
    handles = [Line2D([], [], color=COLOURS[k % len(COLOURS)], lw=2.5, label=name) for k, name in enumerate(classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(classes), frameon=False)
    figure.suptitle(title)
    write_atomic(path, lambda beside: figure.savefig(beside, dpi=80))


def _shown(image: np.ndarray) -> np.ndarray:
    """Bytes as they are; values of other types between their percentiles as 0..1, NaN as 0."""
    known = image[np.isfinite(image)]
    if image.dtype == np.uint8 or not len(known):
        return image
    low, high = np.percentile(known, (2, 98))
    return np.nan_to_num(np.clip((image - low) / max(high - low, 1e-9), 0, 1))


def _outline(axis: object, masks: np.ndarray) -> None:
    height, width, classes = masks.shape
    x, y = (np.arange(width + 2) - 0.5) / width, (np.arange(height + 2) - 0.5) / height
    for k in range(classes):
        if masks[..., k].any():
            framed = np.pad(masks[..., k].astype(float), 1)  # so that an outline at the border is closed
            lines = axis.contour(x, y, framed, levels=[0.5], colors=COLOURS[k % len(COLOURS)], linewidths=1.8)  # type: ignore[attr-defined]
            lines.set(clip_on=False, zorder=3)  # at the border, too: above the frame of the axes
