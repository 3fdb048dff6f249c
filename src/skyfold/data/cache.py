"""What is decoded once and kept on disk: images and masks at the size a network sees, and truth packed into bits.

Every store can be begun, killed and gone on with: rows that are done stay done. A store made from other files, sizes
or masks is begun afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.data.images import THREADS, Resizable, resize
from skyfold.errors import DataLayoutError
from skyfold.files import digest
from skyfold.progress import Progress
from skyfold.store.rows import RowStore
from skyfold.types import ArraySequence, IntPair, Samples

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class TrainingArrays(WholeRows):
    """Samples at the size a network sees, memory-mapped.

    ids      (n,) str
    inputs   (n, h, w, C) uint8
    targets  (n, h, w, K + 1) uint8 or None: planes 0..K-1 are the masks, 0 or 1; the last is 1 where the pixel counts
    content  a digest of what the arrays hold, the same wherever and whenever the files were decoded
    on_grid  (n, H, W, C) uint8, the images on the competition's grid, where maps follow their edges; else None
    """

    ids: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray | None
    checksum: str = ""
    on_grid: np.ndarray | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C)."""
        height, width, bands = self.inputs.shape[1:]
        return height, width, bands


def training_arrays(
    samples: Samples, *, size: IntPair, folder: Path, fingerprint: str, classes: Sequence[str] = ()
) -> TrainingArrays:
    """Decode and reduce every sample to `size` (h, w), or take over what `folder` holds of it already.

    Images are averaged over areas. A pixel counts where more than half of the area it covers counts; a mask is 1
    where it fills more than half of that counting area. `stamp`: whatever else the arrays depend on; names, sizes and
    times of the files, run-length text and class tables are looked after here. `classes`: where targets are of some
    classes alone; they are kept beside those of all. DataLayoutError names a broken file.
    """
    own = f"targets {digest(*classes)}" if classes else "targets"
    inputs = _input_store(samples, size, folder / "inputs", fingerprint)
    targets = None if samples.targets is None else _target_store(samples, size, folder / own, fingerprint)
    return TrainingArrays(
        ids=samples.ids,
        inputs=inputs.values,
        targets=None if targets is None else targets.values,
        checksum=digest(inputs.checksum(), "" if targets is None else targets.checksum()),
    )


def images_of_size(samples: Samples, *, size: IntPair, folder: Path, fingerprint: str) -> np.ndarray:
    """uint8 (n, h, w, C), memory-mapped: the images alone, as `training_arrays` has them."""
    return _input_store(samples, size, folder / "inputs", fingerprint).values


def _input_store(samples: Samples, size: IntPair, folder: Path, fingerprint: str) -> RowStore:
    def resized(row: int) -> np.ndarray:
        if isinstance(samples.inputs, Resizable):
            return samples.inputs.resized(row, size)
        image = samples.inputs[row]
        if image.dtype != np.uint8 or image.ndim != 3:
            raise DataLayoutError(f"'{samples.ids[row]}': expected uint8 (H, W, C), got {image.dtype} {image.shape}.")
        return resize(image, size)

    store = RowStore.open_or_create(
        folder,
        ids=samples.ids,
        shape=resized(0).shape,
        dtype="uint8",
        fingerprint=digest(fingerprint, repr(size), fingerprint_of(samples.inputs)),
    )
    fill(store, resized, label="decoding images")
    return store


def _target_store(samples: Samples, size: IntPair, folder: Path, fingerprint: str) -> RowStore:
    targets, valid = samples.targets, samples.valid
    assert targets is not None

    def resized(row: int) -> np.ndarray:
        return reduce_masks(targets[row], None if valid is None else valid[row], size)

    store = RowStore.open_or_create(
        folder,
        ids=samples.ids,
        shape=(*size, targets[0].shape[-1] + 1),
        dtype="uint8",
        fingerprint=digest(fingerprint, repr(size), fingerprint_of(targets), fingerprint_of(valid)),
    )
    fill(store, resized, label="decoding masks")
    return store


def reduce_masks(target: np.ndarray, valid: np.ndarray | None, size: IntPair) -> np.ndarray:
    """target 0/1 (H, W, K), valid bool (H, W) or None for all. Returns uint8 (*size, K + 1) as in `TrainingArrays`."""
    counting = np.ones(target.shape[:2], np.float32) if valid is None else valid.astype(np.float32)
    share = resize(counting[..., np.newaxis], size)
    filled = resize(target.astype(np.float32) * counting[..., np.newaxis], size)
    return np.concatenate([filled > 0.5 * share, share > 0.5], axis=-1).astype(np.uint8)


@dataclass(frozen=True)
class PackedPlanes:
    """Some planes of 0/1 arrays (H, W, P), kept as bits in a RowStore: uint8 (H, W, k), or bool (H, W) of one plane."""

    store: RowStore
    shape: tuple[int, int, int]
    planes: slice | int

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> np.ndarray:
        bits = np.unpackbits(self.store[index], count=int(np.prod(self.shape))).reshape(self.shape)
        chosen = bits[..., self.planes]
        return np.ascontiguousarray(chosen) if isinstance(self.planes, slice) else chosen.astype(bool)

    def fingerprint(self) -> str:
        return digest(self.store.fingerprint, repr((self.shape, self.planes)))


def with_packed_masks(samples: Samples, folder: Path, fingerprint: str = "") -> Samples:
    """The same samples, targets and valid decoded once into bits in `folder`: 92 kB for four masks of 350 x 525.

    A cache made from the same masks (and `stamp`) is used as far as it goes; samples without targets stay as they are.
    """
    if samples.targets is None or not len(samples):
        return samples
    height, width, classes = samples.targets[0].shape
    shape = (height, width, classes + 1)
    store = RowStore.open_or_create(
        folder,
        ids=samples.ids,
        shape=((int(np.prod(shape)) + 7) // 8,),
        dtype="uint8",
        fingerprint=digest(fingerprint, fingerprint_of(samples.targets), fingerprint_of(samples.valid)),
    )

    def packed(row: int) -> np.ndarray:
        assert samples.targets is not None
        valid = samples.valid[row] if samples.valid is not None else np.ones((height, width), bool)
        return np.packbits(np.dstack([samples.targets[row], valid]).astype(bool))

    fill(store, packed, label="decoding masks")
    return replace(
        samples,
        targets=PackedPlanes(store, shape, slice(0, classes)),
        valid=None if samples.valid is None else PackedPlanes(store, shape, classes),
    )


def fill(store: RowStore, make: Callable[[int], np.ndarray], label: str) -> None:
    """Write `make(row)` into every row not done yet, on two threads, with progress."""
    missing = np.flatnonzero(~store.complete)
    if not len(missing):
        return
    with Progress(label, len(missing)) as progress, ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(missing), ROWS_AT_ONCE):
            rows = missing[start : start + ROWS_AT_ONCE]
            store.write(rows, np.stack(list(pool.map(make, rows.tolist()))))
            progress.advance(len(rows))
    store.flush()


def fingerprint_of(arrays: ArraySequence | None) -> str:
    """A digest that changes with the arrays: their own `stamp()` where they are read from files, else their bytes."""
    if arrays is None:
        return "none"
    own = getattr(arrays, "fingerprint", None)
    if own is not None:
        return str(own() if callable(own) else own)
    rows = (np.ascontiguousarray(arrays[row]) for row in range(len(arrays)))
    return digest(*(part for row in rows for part in (repr((row.shape, row.dtype.str)), row.tobytes())))
