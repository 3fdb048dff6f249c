"""What a network for forecasts learns from and predicts: histories and outcomes as its view shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.errors import ConfigError
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.past_frames import PastFramesSource
from skyfold.types import ArraySequence, Samples

MOST_BYTES = 2 << 30  # of arrays that are kept, so that an epoch need not make them anew


@dataclass(frozen=True)
class ForecastArrays(WholeRows):
    """Dates in the place of images.

    ids      (n,) str
    source   what was known on each date
    adapter  how a network sees it
    inputs   [i]: float32 (h, w, C)
    targets  [i]: float32 (h, w, 2 L), the wanted values and their weights; None where no outcome is known
    content  a digest of the frames
    """

    ids: np.ndarray
    source: PastFramesSource
    adapter: FrameAdapter
    inputs: ArraySequence
    targets: ArraySequence | None
    checksum: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C)."""
        height, width, bands = self.inputs[0].shape
        return height, width, bands

    def trainable_rows(self, rows: np.ndarray, newest: int | None) -> np.ndarray:
        """Those of `rows`, in the order of time, that there is something to learn from; the newest alone, if wanted."""
        rows = self.adapter.trainable_rows(self.source, rows)
        return rows if newest is None else rows[-newest:]


def forecast_arrays(samples: Samples, adapter: FrameAdapter) -> ForecastArrays:
    """Nothing is read before it is indexed; what was made once is kept, as far as memory is set aside for it.

    ConfigError where the samples say nothing of what was known when.
    """
    source = samples.inputs
    if not isinstance(source, PastFramesSource):
        raise ConfigError("task: forecasting: these data are no sequences of frames. Use task: segmentation.")

    def inputs(row: int) -> np.ndarray:
        return adapter.inputs(source.history(row))

    def target(row: int) -> np.ndarray:
        assert samples.targets is not None
        truth = np.asarray(samples.targets[row], dtype=np.float32)
        valid = np.ones(truth.shape, dtype=bool) if samples.valid is None else samples.valid[row]
        if valid.ndim < truth.ndim:
            valid = np.broadcast_to(valid[..., None], truth.shape)
        return adapter.target(source.history(row), truth, valid)

    return ForecastArrays(
        ids=samples.ids,
        source=source,
        adapter=adapter,
        inputs=_Kept(inputs, len(samples)),
        targets=None if samples.targets is None else _Kept(target, len(samples)),
        checksum=source.checksum,
    )


@dataclass
class _Kept:
    """Arrays made when they are first asked for; threads may make one twice, and get the same."""

    make: Callable[[int], np.ndarray]
    count: int
    made: dict[int, np.ndarray] = field(default_factory=dict)
    bytes: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        row = int(index)
        found = self.made.get(row)
        if found is None:
            found = self.make(row)
            found.flags.writeable = False
            if self.bytes + found.nbytes <= MOST_BYTES:
                self.made[row] = found
                self.bytes += found.nbytes
        return found
