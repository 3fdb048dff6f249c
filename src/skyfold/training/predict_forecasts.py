"""Forecasts of trained networks, in the competition's unit and on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skyfold.forecasting.arrays import ForecastArrays
from skyfold.progress import Progress
from skyfold.store.rows import RowStore
from skyfold.training.predict import LoadWeights, chunks, mean_predictions

if TYPE_CHECKING:
    from skyfold.training.network import Network


def write_forecasts(
    network: Network,
    arrays: ForecastArrays,
    rows: np.ndarray,
    store: RowStore,
    *,
    members: Sequence[LoadWeights],
    flips: Sequence[str],
    label: str,
) -> None:
    """Write the forecasts of `rows` into `store`, float32 (H, W, L) each.

    Members and turned views are averaged in what the network says, before its view makes a forecast of it.
    """
    height, width, bands = arrays.input_shape
    row_bytes = 4 * height * width * max(bands, store.values.shape[-1])
    with Progress(f"{label}: predicting", len(rows)) as progress:
        for chunk in chunks(rows, batch_size=network.batch_size, row_bytes=row_bytes):
            if not store.complete[chunk].all():
                outputs = mean_predictions(
                    network, arrays, chunk, members=members, normalization=None, flips=flips, meaning=None
                )
                forecasts = [
                    arrays.view.forecast(output, arrays.source.history(int(row)))
                    for output, row in zip(outputs, chunk, strict=True)
                ]
                store.write(chunk, np.stack(forecasts).astype(np.float32))
            progress.advance(len(chunk))
    store.flush()
