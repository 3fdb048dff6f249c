"""Past frames and targets of a forecasting network, as its frame adapter gives them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.errors import ConfigError
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.past_frames import PastFramesSource
from skyfold.types import ArraySequence, LazyArrays, Samples

MAX_BYTES = 2 << 30  # of arrays that are kept in memory, so that later epochs need not compute them again


@dataclass(frozen=True)
class ForecastArrays(WholeRows):
    """Training arrays of forecasting samples.

    ids      (n,) str
    source   what was known on each date
    adapter  makes the network's arrays of it
    inputs   [i]: float32 (h, w, C)
    targets  [i]: float32 (h, w, 2 L), the target values and their weights; None where no outcome is known
    """

    ids: np.ndarray
    source: PastFramesSource
    adapter: FrameAdapter
    inputs: ArraySequence
    targets: ArraySequence | None
    sizes: None = None

    @property
    def checksum(self) -> str:
        """Digest of the frames."""
        return self.source.checksum

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C), the shape of one input of the network.

        The first sample is read for it.
        """
        height, width, bands = self.inputs[0].shape
        return height, width, bands

    def trainable_rows(self, rows: np.ndarray, newest: int | None) -> np.ndarray:
        """Those of `rows`, int (m,) in the order of time, that a network can be trained on.

        newest: only so many of the last ones; None: all.
        """
        rows = self.adapter.trainable_rows(self.source, rows)
        return rows if newest is None else rows[-newest:]


def forecast_arrays(samples: Samples, adapter: FrameAdapter) -> ForecastArrays:
    """Arrays of `samples` as `adapter` makes them, computed when they are first read and kept up to `MAX_BYTES`.

    ConfigError where the inputs of the samples are not a `PastFramesSource`.
    """
    source = samples.inputs
    if not isinstance(source, PastFramesSource):
        raise ConfigError("task: forecasting: these data are no sequences of frames. Use task: segmentation.")

    def target(row: int) -> np.ndarray:
        assert samples.targets is not None
        truth = np.asarray(samples.targets[row], dtype=np.float32)
        valid = np.ones(truth.shape, dtype=bool) if samples.valid is None else samples.valid[row]
        return adapter.target(source.history(row), truth, valid)

    return ForecastArrays(
        ids=samples.ids,
        source=source,
        adapter=adapter,
        inputs=_Cached(len(samples), lambda row: adapter.inputs(source.history(row))),
        targets=None if samples.targets is None else _Cached(len(samples), target),
    )


@dataclass(frozen=True)
class _Cached(LazyArrays):
    """Arrays kept up to `MAX_BYTES`; two threads may compute the same one, with the same result."""

    cache: dict[int, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, index: int) -> np.ndarray:
        row = int(index)
        found = self.cache.get(row)
        if found is None:
            found = self.make(row)
            found.flags.writeable = False
            if (len(self.cache) + 1) * found.nbytes <= MAX_BYTES:
                self.cache[row] = found
        return found
