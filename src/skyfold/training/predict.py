"""Predictions averaged over the members of an ensemble and test-time augmentations, written as stored rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from skyfold.config.data import GuidedFilterConfig
from skyfold.data.batches import Rows, prediction_batches
from skyfold.data.colour import colour_plane
from skyfold.data.rescale import Rescale
from skyfold.progress import Progress
from skyfold.store.rows import RowStore
from skyfold.training import tta
from skyfold.training.network import Network
from skyfold.training.objective import Objective, RunArrays
from skyfold.types import IntPair

CHUNK_BYTES = 32 << 20  # of float32 outputs that are averaged at once; members are loaded anew for each chunk

# Loads the weights of one member of an ensemble into its network; returns the rescale of the member's inputs.
LoadWeights = Callable[[], Rescale | None]


class NotFinite(Exception):
    """A network, or a family without training, answers with NaN or infinity for the sample `row`.

    member: place of the network in its ensemble.
    """

    def __init__(self, row: int, member: int) -> None:
        super().__init__(row, member)
        self.row, self.member = row, member


def require_finite(outputs: np.ndarray, rows: np.ndarray, member: int = 0) -> None:
    """NotFinite for the first of `rows` (n,) whose outputs (n, ...) are not finite.

    To be asked before an activation, which may make 1 of infinity, and before a cast, which makes 0 of NaN.
    """
    if not np.isfinite(outputs).all():
        finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
        raise NotFinite(int(rows[np.flatnonzero(~finite)[0]]), member)


def mean_predictions(
    network: Network, members: Sequence[LoadWeights], objective: Objective, arrays: Rows, rows: np.ndarray
) -> np.ndarray:
    """Mean of `objective.activate` of the outputs for `rows`, over `members` and the transforms of `config.tta`.

    Returns float32 (n, h, w, K), or (n, K) for image labels, at the size the network reads. NotFinite where an output
    is NaN or infinite.
    """
    views = tta.views(objective.config.tta)
    total: np.ndarray | None = None
    for member, load in enumerate(members):
        rescale = load()
        start = 0
        for batch in prediction_batches(
            arrays,
            rows,
            batch_size=network.predicted_batch_size,
            normalization=objective.normalization,
            rescale=rescale,
        ):
            for view in views:
                outputs = network.logits(np.ascontiguousarray(tta.apply(batch.inputs, view)))[: batch.count]
                require_finite(outputs, rows[start : start + batch.count], member)
                if total is None:
                    total = np.zeros((len(rows), *outputs.shape[1:]), dtype=np.float32)
                total[start : start + batch.count] += tta.undo(objective.activate(outputs), view)
            start += batch.count
    assert total is not None, "no members, or no rows"
    total /= np.float32(len(members) * len(views))
    return total


def write_predictions(
    predict: Callable[[Rows, np.ndarray], np.ndarray],
    objective: Objective,
    arrays: RunArrays,
    rows: np.ndarray,
    store: RowStore,
    *,
    batch_size: int,
    label: str,
) -> None:
    """Write what `predict` returns for `rows` into `store`, converted by `objective.to_rows`.

    predict: arrays and row numbers (n,) -> float32 (n, ...). Called for multiples of `batch_size`, except for the last
    rows. Chunks of `rows` that are complete are left as they are.
    """
    output_bytes = 4 * math.prod(objective.output_shape(arrays.input_shape))
    # Whole batches, cut by `rows` only: a resumed run puts each image into the same batch, and gets the same bits.
    size = max(1, CHUNK_BYTES // (output_bytes * batch_size)) * batch_size
    with Progress(f"{label}: predicting", len(rows)) as progress:
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            if not store.complete[chunk].all():
                store.write(chunk, objective.to_rows(predict(cast(Rows, arrays), chunk), arrays, chunk))
            progress.advance(len(chunk))
    store.flush()


def sigmoid(outputs: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of logits in float32, without overflow: (1 + tanh(x / 2)) / 2."""
    half = np.float32(0.5)
    return half * np.tanh(half * outputs.astype(np.float32)) + half


def on_grid(
    values: np.ndarray, grid: IntPair, edges: GuidedFilterConfig | None = None, images: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities, float32 (n, h, w, K), resized bilinearly to `grid` (H, W), as uint8: 255 times each, rounded.

    edges: where given, the maps then follow the edges of `images`, uint8 (n, H, W, C) on the grid.
    """
    import cv2

    from skyfold.postprocess.guided_filter import guided_filter

    height, width = grid
    stored = np.empty((len(values), height, width, values.shape[-1]), dtype=np.uint8)
    for index, value in enumerate(values):
        if value.shape[:2] != grid:
            planes = [
                cv2.resize(np.ascontiguousarray(value[..., k]), (width, height), interpolation=cv2.INTER_LINEAR)
                for k in range(value.shape[-1])
            ]
            value = np.stack(planes, axis=-1)
        if edges is not None and images is not None:
            value = guided_filter(value, colour_plane(images[index], edges.guide), radius=edges.radius, eps=edges.eps)
        stored[index] = np.rint(np.clip(value, 0, 1) * np.float32(255)).astype(np.uint8)
    return stored
