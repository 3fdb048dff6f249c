"""Cache on disk of what is decoded once: images and masks at the size a network reads, and masks packed into bits.

Images keep the type and the values of their files, so that one cache serves all folds (see data/rescale.py).

Every store can be interrupted and resumed: complete rows are kept. A store made from other files, sizes or masks is
discarded and made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.data.definedness import defined_in, has_undefined, reduce_defined
from skyfold.data.images import Resizable, resize
from skyfold.data.neighbours import NeighbourBands
from skyfold.data.number_types import KEPT
from skyfold.errors import DataLayoutError
from skyfold.files import digest, remove_unfinished
from skyfold.progress import Progress, in_order
from skyfold.store.locks import waited_for
from skyfold.store.rows import RowStore, Shape
from skyfold.types import ArraySequence, IntPair, Samples, SoftTargets

ROWS_AT_ONCE = 4  # few, so that memory is used again while the processor has it at hand


@dataclass(frozen=True)
class TrainingArrays(WholeRows):
    """Samples at the size a network reads, memory-mapped.

    ids       (n,) str
    inputs    (n, h, w, C) of the images' own type, of which undefined pixels are filled (see data/definedness.py), or
              these with their neighbours
    targets   (n, h, w, K + 1) uint8 or None: planes 0..K-1 are the masks, 0 or 1; the last one is 1 at valid pixels
    checksum  a digest of what the arrays hold, the same wherever and whenever the files were decoded
    on_grid   (n, H, W, C) uint8, the images on the competition's grid, for the guided filter; else None
    sizes     as `Samples.sizes`
    defined   defined[i] bool (h, w), False where no pixel of an area was defined; None: all are defined
    """

    ids: np.ndarray
    inputs: np.ndarray | NeighbourBands
    targets: np.ndarray | None
    checksum: str = ""
    on_grid: np.ndarray | None = None
    sizes: np.ndarray | None = None
    defined: ArraySequence | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C)."""
        height, width, bands = self.inputs.shape[1:]
        return height, width, bands

    @property
    def dtype(self) -> np.dtype:
        """Type of the inputs."""
        return self.inputs.dtype

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The defined pixels of the samples `rows` as they are stored, (m, C), sample by sample."""
        stored = self.inputs.stored if isinstance(self.inputs, NeighbourBands) else self.inputs
        for row in rows.tolist():
            image = np.asarray(stored[row])
            yield image.reshape(-1, image.shape[-1]) if self.defined is None else image[self.defined[row]]


def training_arrays(
    samples: Samples, *, size: IntPair, folder: Path, fingerprint: str, classes: Sequence[str] = (), soft: bool = False
) -> TrainingArrays:
    """Decode and reduce every sample to `size` (h, w), or read what `folder` holds of it already.

    Images are averaged over areas, of their defined pixels only. A pixel is valid where more than half of the area it
    covers is; a mask is 1 where it fills more than half of that valid area.

    fingerprint  what else the arrays depend on; names, sizes and times of the files, run-length text and class tables
                 are included by themselves
    classes      where targets are of some classes only, these; they are stored beside those of all classes
    soft         planes 0..K-1 of targets are 255 times the fraction of a class, the mean over the area; the samples
                 have `types.SoftTargets`

    DataLayoutError names a broken file, and samples that differ in type or number of bands.
    """
    inputs, partly = _input_store(samples, size, folder, fingerprint)
    defined = _defined_store(samples, size, folder, fingerprint) if partly else None
    undefined = [] if defined is None else [defined.store.checksum()]
    targets, valid = samples.targets, samples.valid
    if targets is None:
        checksum = digest(inputs.checksum(), "", *undefined)
        return TrainingArrays(samples.ids, inputs.values, None, checksum, sizes=samples.sizes, defined=defined)

    def reduced(row: int) -> np.ndarray:
        counting = None if valid is None else valid[row]
        if soft:
            assert isinstance(targets, SoftTargets)
            return reduce_fractions(targets.fractions(row)[0], counting, size)
        return reduce_masks(targets[row], counting, size)

    masks = filled_store(
        folder / ("soft targets" if soft else f"targets {digest(*classes)}" if classes else "targets"),
        samples.ids,
        reduced,
        fingerprint=digest(fingerprint, repr(size), fingerprint_of(targets), fingerprint_of(valid)),
        label="decoding masks",
    )
    checksum = digest(inputs.checksum(), masks.checksum(), *undefined)
    return TrainingArrays(samples.ids, inputs.values, masks.values, checksum, sizes=samples.sizes, defined=defined)


def images_of_size(samples: Samples, *, size: IntPair, folder: Path, fingerprint: str) -> np.ndarray:
    """(n, h, w, C), memory-mapped: the images only, as `training_arrays` stores them."""
    return _input_store(samples, size, folder, fingerprint)[0].values


def _input_store(samples: Samples, size: IntPair, folder: Path, fingerprint: str) -> tuple[RowStore, bool]:
    """The reduced images, and whether any sample may have undefined pixels."""
    answers: dict[int, bool] = {}  # of the rows that are read here, so that no header is read twice

    def reduced(row: int) -> np.ndarray:
        inputs, name = samples.inputs, samples.ids[row]
        defined = defined_in(inputs, row)
        answers[row] = defined is not None
        at_once = defined is None and isinstance(inputs, Resizable)
        image = inputs.resized(row, size) if at_once and isinstance(inputs, Resizable) else inputs[row]
        if image.dtype.name not in KEPT or image.ndim != 3:
            kinds = " or ".join((", ".join(KEPT[:-1]), KEPT[-1]))
            raise DataLayoutError(f"'{name}': expected (H, W, C) of {kinds}, got {image.dtype} {image.shape}.")
        small = resize(image, size) if defined is None else reduce_defined(image, defined, size)[0]
        if small.dtype.kind == "f" and not np.isfinite(small).all():
            raise DataLayoutError(f"'{name}': values are NaN or infinite. Declare them as nodata, or fill them.")
        return small

    own = digest(fingerprint, repr(size), fingerprint_of(samples.inputs))
    store = filled_store(folder / "inputs", samples.ids, reduced, fingerprint=own, label="decoding images")
    others = (row for row in range(len(samples)) if row not in answers)
    partly = any(answers.values()) or has_undefined(samples.inputs, others)
    return store, partly


def _defined_store(samples: Samples, size: IntPair, folder: Path, fingerprint: str) -> PackedPlanes:
    def packed(row: int) -> np.ndarray:
        defined = defined_in(samples.inputs, row)
        if defined is None:
            return np.packbits(np.ones(size, dtype=bool))
        return np.packbits(resize(defined[..., np.newaxis].astype(np.float32), size) > 0)

    own = digest(fingerprint, repr(size), fingerprint_of(samples.inputs))
    label = "looking for undefined pixels"
    store = filled_store(folder / "defined", samples.ids, packed, fingerprint=own, label=label)
    return PackedPlanes(store, (*size, 1), 0)


def reduce_fractions(fractions: np.ndarray, valid: np.ndarray | None, size: IntPair) -> np.ndarray:
    """fractions float32 (H, W, K), valid bool (H, W) or None for all. Returns uint8 (*size, K + 1): 255 times the mean
    fraction of the valid area, and 1 where more than half of the area is valid."""
    counting = np.ones(fractions.shape[:2], np.float32) if valid is None else valid.astype(np.float32)
    share = resize(counting[..., np.newaxis], size)
    mean = resize(fractions * counting[..., np.newaxis], size) / np.maximum(share, np.float32(1e-6))
    stored = np.ceil(255 * np.clip(mean, 0, 1) - 0.5).astype(np.uint8)  # one half is not more than one half
    return np.concatenate([stored, (share > 0.5).astype(np.uint8)], axis=-1)


def reduce_masks(target: np.ndarray, valid: np.ndarray | None, size: IntPair) -> np.ndarray:
    """target 0/1 (H, W, K), valid bool (H, W) or None for all. Returns uint8 (*size, K + 1) as in `TrainingArrays`."""
    counting = np.ones(target.shape[:2], np.float32) if valid is None else valid.astype(np.float32)
    fraction = resize(counting[..., np.newaxis], size)
    filled = resize(target.astype(np.float32) * counting[..., np.newaxis], size)
    return np.concatenate([filled > 0.5 * fraction, fraction > 0.5], axis=-1).astype(np.uint8)


@dataclass(frozen=True)
class PackedPlanes:
    """Some planes of 0/1 arrays (H, W, P), stored as bits: uint8 (H, W, k) for a slice, bool (H, W) for one plane.

    shape: (H, W, P); a list of shapes, one an array, where they differ.
    """

    store: RowStore
    shape: Shape | list[Shape]
    planes: slice | int

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> np.ndarray:
        shape = self.shape if isinstance(self.shape, tuple) else self.shape[index]
        # Unpacked anyway; pages of a map would count as memory.
        packed = self.store.checked.copied(np.arange(len(self))[index, np.newaxis])[0]
        bits = np.unpackbits(packed, count=math.prod(shape)).reshape(shape)
        chosen = bits[..., self.planes]  # of all planes no copy is made
        return np.ascontiguousarray(chosen) if isinstance(self.planes, slice) else chosen.astype(bool)

    def fingerprint(self) -> str:
        """Changes with the stored masks and the planes."""
        return digest(self.store.fingerprint, repr((self.shape, self.planes)))


def with_packed_masks(samples: Samples, folder: Path, *, fingerprint: str = "") -> Samples:
    """The same samples, targets and valid decoded once into bits in `folder`: 92 kB for four masks of 350 x 525, and 23
    for the pixels that count, where not all do.

    A cache made from the same masks is resumed; samples without targets are returned as they are. fingerprint: what
    else the masks depend on.
    """
    targets, valid = samples.targets, samples.valid
    if targets is None or not len(samples):
        return samples
    classes = targets[0].shape[-1]
    sizes = [targets[0].shape[:2]] if samples.sizes is None else samples.sizes.tolist()
    shapes: list[Shape] = [(*size, classes + (valid is not None)) for size in sizes]

    def packed(row: int) -> np.ndarray:
        planes = targets[row] if valid is None else np.dstack([targets[row], valid[row]])
        return np.packbits(planes.astype(bool))

    own = digest(fingerprint, fingerprint_of(targets), fingerprint_of(valid))
    packed_shapes: list[Shape] = [(-(-math.prod(shape) // 8),) for shape in shapes]
    shape, row_shape = (shapes[0], packed_shapes[0]) if samples.sizes is None else (shapes, packed_shapes)
    store = filled_store(folder, samples.ids, packed, fingerprint=own, label="decoding masks", shape=row_shape)
    return replace(
        samples,
        targets=PackedPlanes(store, shape, slice(0, classes)),
        valid=None if valid is None else PackedPlanes(store, shape, classes),
    )


def filled_store(
    folder: Path,
    ids: np.ndarray,
    make: Callable[[int], np.ndarray],
    *,
    fingerprint: str,
    label: str,
    shape: Shape | list[Shape] | None = None,
) -> RowStore:
    """A store in `folder` of `make(row)`, of one type, for every row of `ids` (n,). shape: of rows, None: of the first.

    Rows that are complete under the same fingerprint are kept; the others are made in two threads, with progress. Of
    two processes that want the same rows the second waits for the first.
    """
    with waited_for(folder.with_name(f"{folder.name}.lock")):
        return _filled(folder, ids, make, fingerprint, label, shape)


def _filled(
    folder: Path,
    ids: np.ndarray,
    make: Callable[[int], np.ndarray],
    fingerprint: str,
    label: str,
    given: Shape | list[Shape] | None,
) -> RowStore:
    remove_unfinished(folder)
    first = make(0)
    dtype, shape = first.dtype, first.shape if given is None else given
    store = RowStore.open_or_create(folder, ids=ids, shape=shape, dtype=dtype.name, fingerprint=fingerprint)
    missing = np.flatnonzero(~store.complete)
    if not len(missing):
        return store

    def made(row: int) -> np.ndarray:
        value = first if row == 0 else make(row)
        wanted = shape if isinstance(shape, tuple) else shape[row]
        if (value.shape, value.dtype) != (wanted, dtype):
            raise DataLayoutError(
                f"'{ids[row]}' is {value.dtype} {value.shape}, '{ids[0]}' {dtype} {wanted}, once reduced. Write all "
                "with one type and number of bands."
            )
        return value

    with Progress(label, len(missing)) as progress:
        ahead = in_order(made, missing.tolist(), ahead=2 * ROWS_AT_ONCE)  # while those before them are written
        with closing(ahead):
            for start in range(0, len(missing), ROWS_AT_ONCE):
                rows = missing[start : start + ROWS_AT_ONCE]
                store.write(rows, list(islice(ahead, len(rows))))
                progress.advance(len(rows))
    store.flush()
    return store


def fingerprint_of(arrays: ArraySequence | None) -> str:
    """A digest that changes with the arrays: their own `fingerprint` where they have one, else their bytes."""
    if arrays is None:
        return "none"
    own = getattr(arrays, "fingerprint", None)
    if own is not None:
        return str(own() if callable(own) else own)
    rows = (np.ascontiguousarray(arrays[row]) for row in range(len(arrays)))
    return digest(*(part for row in rows for part in (repr((row.shape, row.dtype.str)), row.tobytes())))
