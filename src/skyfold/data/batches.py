"""Batches for training and prediction, prepared ahead in threads while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skyfold.config.training import MixConfig
from skyfold.data.augment import Augmenter, sample_seed
from skyfold.data.mix import mixed
from skyfold.data.normalization import normalized
from skyfold.data.rescale import Rescale
from skyfold.data.seeding import derived_seed
from skyfold.progress import in_order
from skyfold.types import ArraySequence

AHEAD = 4  # batches waiting at most; threads suffice, since resizing, decoding and copying release the interpreter


class Rows(Protocol):
    """What batches are made of, row by row: `data.cache.TrainingArrays`, say."""

    @property
    def inputs(self) -> ArraySequence: ...

    @property
    def targets(self) -> ArraySequence | None: ...


class WholeRows:
    """Rows of which every epoch sees all, each as it is."""

    def epoch_rows(self: Rows, rows: np.ndarray, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        return self, rows

    def validation_rows(self: Rows, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        return self, rows


@dataclass(frozen=True)
class Batch:
    """inputs float32 (B, H, W, C); targets uint8 (B, H, W, K + 1), (B, K) image labels, or float32 (B, H, W, 2 L) for
    forecasts; rows int64 (count,).

    A batch has always B entries, so that a network is traced once; entries beyond `count` repeat the first.
    """

    inputs: np.ndarray
    targets: np.ndarray | None
    rows: np.ndarray

    @property
    def count(self) -> int:
        return len(self.rows)


def training_batches(
    arrays: Rows,
    rows: np.ndarray,
    *,
    batch_size: int,
    normalization: str | None,
    labels: Callable[[np.ndarray], np.ndarray] | None,
    augmenter: Augmenter,
    seed: int,
    epoch: int,
    mix: Sequence[MixConfig] = (),
    gradient_accumulation_steps: int = 1,
    rescale: Rescale | None = None,
) -> Iterator[Batch]:
    """One epoch over `rows`, shuffled by (seed, epoch), rescaled, augmented, and mixed with others of `rows` as `mix`
    says.

    The batches are a multiple of `accumulate`, filled up from the start of the epoch. What a row becomes depends on
    (seed, epoch, row) and on which `rows` there are, not on its batch. labels: augmented targets as the loss reads
    them; None: as they are.
    """
    order = np.random.default_rng(derived_seed("shuffle", seed, epoch)).permutation(rows)
    steps = steps_per_epoch(len(rows), batch_size, gradient_accumulation_steps)
    order = np.resize(order, steps * batch_size)

    assert arrays.targets is not None, "training needs targets"
    images, masks = arrays.inputs, arrays.targets
    first, last = (None, rescale) if augmenter.only_moves else (rescale, None)  # fewer bytes are moved before

    def augmented(row: int, own_seed: int) -> tuple[np.ndarray, np.ndarray]:
        image = images[row] if first is None else first(images[row])
        return augmenter(image, masks[row], seed=own_seed)

    def another(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return augmented(int(rng.choice(rows)), int(rng.integers(2**31)))

    def prepared(row: int) -> tuple[np.ndarray, np.ndarray]:
        own_seed = sample_seed(seed=seed, epoch=epoch, row=row)
        return mixed(*augmented(row, own_seed), config=mix, seed=own_seed, another=another)

    def prepare(step: int) -> Batch:
        chosen = order[step * batch_size : (step + 1) * batch_size]
        changed = [prepared(int(row)) for row in chosen]
        inputs = _stacked([image for image, _ in changed], normalization, last)
        targets = np.stack([target for _, target in changed])
        return Batch(inputs, targets if labels is None else labels(targets), chosen)

    return in_order(prepare, range(steps), ahead=AHEAD)


def prediction_batches(
    arrays: Rows,
    rows: np.ndarray,
    *,
    batch_size: int,
    normalization: str | None,
    labels: Callable[[np.ndarray], np.ndarray] | None = None,
    rescale: Rescale | None = None,
) -> Iterator[Batch]:
    """`rows` in their order, not augmented; with targets where the arrays have them."""
    steps = steps_per_epoch(len(rows), batch_size)

    def prepare(step: int) -> Batch:
        chosen = rows[step * batch_size : (step + 1) * batch_size]
        filled = np.concatenate([chosen, np.repeat(chosen[:1], batch_size - len(chosen))])
        inputs = _stacked([arrays.inputs[row] for row in filled], normalization, rescale)
        if arrays.targets is None:
            return Batch(inputs, None, chosen)
        targets = np.stack([arrays.targets[row] for row in filled])
        return Batch(inputs, targets if labels is None else labels(targets), chosen)

    return in_order(prepare, range(steps), ahead=AHEAD)


def _stacked(images: Sequence[np.ndarray], normalization: str | None, rescale: Rescale | None) -> np.ndarray:
    """Rescaled and normalized images, stacked: bytes at once, others one by one, while they are in the processor's
    cache."""
    if rescale is None and images[0].dtype == np.uint8:
        return normalized(np.stack(images), normalization)
    inputs = np.empty((len(images), *images[0].shape), dtype=np.float32)
    for own, image in zip(inputs, images, strict=True):
        values = normalized((image if rescale is None else rescale(image, out=own))[np.newaxis], normalization)[0]
        if not np.may_share_memory(values, own):
            own[...] = values
    return inputs


def image_labels(targets: np.ndarray) -> np.ndarray:
    """targets uint8 (n, H, W, K + 1), validity last. Returns uint8 (n, K): 1 where the class has a counting pixel."""
    masks, valid = targets[..., :-1], targets[..., -1:]
    labels: np.ndarray = (masks & valid).any(axis=(1, 2)).astype(np.uint8)
    return labels


def steps_per_epoch(count: int, batch_size: int, gradient_accumulation_steps: int = 1) -> int:
    """Batches that hold `count` rows at least once; a multiple of `accumulate`."""
    return -(-count // (batch_size * gradient_accumulation_steps)) * gradient_accumulation_steps
