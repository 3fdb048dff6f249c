"""Stacking: one logistic regression per class on the members' logits at a pixel.

Its coefficients need not add up to 1. It is fitted on a sample of the pixels, most of them uncertain; the sample weight
of a pixel is the number of pixels that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.blending.combine import check_arrays, chunks
from skyfold.compiled import compiled
from skyfold.store.rows import release_pages, row_shape
from skyfold.types import ArraySequence

SAMPLED = 40_000  # uncertain pixels of each class; of the others a quarter of that
UNCERTAIN = (25, 229)  # some member above the first value, some at or below the last
# The logit of a stored value; 0 and 255 stand for the middle of the half steps that round to them.
LOGIT_OF_STORED = np.log(np.clip(np.arange(256.0), 0.25, 254.75)) - np.log(
    255 - np.clip(np.arange(256.0), 0.25, 254.75)
)


@dataclass(frozen=True)
class LogisticStack:
    """One logistic regression per class: coef_ (K, M), intercept_ (K,)."""

    coef_: tuple[tuple[float, ...], ...]
    intercept_: tuple[float, ...]

    @classmethod
    def of(cls, fitted: Iterable[tuple[tuple[float, ...], float]]) -> LogisticStack:
        """The stack of the classes' coefficients and intercepts, see `fit_logistic`."""
        coef, intercept = zip(*fitted, strict=True)
        return cls(coef, intercept)

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Probability of each class, float64 (n, K). features: float (n, K, M)."""
        logits = np.einsum("nkf,kf->nk", features.astype(np.float64), np.array(self.coef_)) + np.array(self.intercept_)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))

    def combine(self, arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows of the chunk, their probabilities, uint8), chunk by chunk, for all of `rows`.

        arrays: uint8 (N, H, W, K) of each member, in the order of the fit; memory maps are read a chunk at a time.
        """
        tables = (np.array(self.coef_).T[..., None] * LOGIT_OF_STORED).astype(np.float32)
        for chunk in chunks(arrays, rows):
            logits = np.empty((len(chunk), *row_shape(arrays[0], chunk[0])), dtype=np.float32)
            logits[:] = np.array(self.intercept_, dtype=np.float32)
            flat = logits.reshape(-1, logits.shape[-1])
            for array, table in zip(arrays, tables, strict=True):
                _add_logits(flat, np.ascontiguousarray(array[chunk]).reshape(flat.shape), table)
            yield chunk, np.rint(127.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.uint8)


@dataclass(frozen=True)
class PixelSample:
    """Pixels of one class: values uint8 (P, M), truth bool (P,), weight (P,) pixels each stands for, row (P,)."""

    values: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    row: np.ndarray


def sample_pixels(
    arrays: Sequence[np.ndarray],
    targets: ArraySequence,
    valid: ArraySequence | None = None,
    *,
    rows: np.ndarray,
    seed: int = 0,
) -> list[PixelSample]:
    """Draw the pixels that stacks are fitted on, one sample a class, evenly from all `rows`.

    arrays: uint8 (N, H, W, K) of each member; targets[i] 0/1 (H, W, K); valid[i] bool (H, W), undefined pixels are not
    drawn. Raises OofMismatch for arrays that are not uint8 of one shape.
    """
    check_arrays(arrays, stored=True)
    rng = np.random.default_rng(seed)
    classes = arrays[0].shape[-1]
    drawn: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(classes)]
    from_each = max(1, SAMPLED // max(1, len(rows)))
    for row in rows:
        maps = np.stack([array[row].reshape(-1, classes) for array in arrays])
        truth = np.asarray(targets[int(row)], dtype=bool).reshape(-1, classes)
        known = np.ones(len(truth), dtype=bool) if valid is None else np.asarray(valid[int(row)]).reshape(-1)
        uncertain = (maps.max(axis=0) > UNCERTAIN[0]) & (maps.min(axis=0) <= UNCERTAIN[1])
        for k in range(classes):
            strata = ((uncertain[:, k], from_each), (~uncertain[:, k], max(1, from_each // 4)))
            for stratum, count in strata:
                places = np.flatnonzero(stratum & known)
                if len(places):
                    taken = places[rng.integers(0, len(places), count)]
                    weight = np.full(count, len(places) / count)
                    drawn[k].append((maps[:, taken, k].T, truth[taken, k], weight, np.full(count, row)))
        for array in arrays:
            release_pages(array)
    return [PixelSample(*(np.concatenate(part) for part in zip(*parts, strict=True))) for parts in drawn]


def fit_stack(samples: Sequence[PixelSample], rows: np.ndarray) -> LogisticStack:
    """Fit on the sampled pixels of `rows` only. samples: one a class."""
    fitted = []
    for sample in samples:
        own = np.isin(sample.row, rows)
        weight = sample.weight[own]
        fitted.append(fit_logistic(LOGIT_OF_STORED[sample.values[own]], sample.truth[own], weight / weight.mean()))
    return LogisticStack.of(fitted)


def fit_logistic(
    features: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None
) -> tuple[tuple[float, ...], float]:
    """Coefficients (F,) and intercept of a logistic regression. features: float (n, F); truth: bool (n,); weight: (n,).

    Where the truth is the same everywhere, the intercept is its smoothed frequency, and the coefficients are 0.
    """
    from sklearn.linear_model import LogisticRegression

    if truth.all() or not truth.any():
        rate = (truth.sum() + 0.5) / (len(truth) + 1.0)
        return (0.0,) * features.shape[1], float(np.log(rate / (1.0 - rate)))
    model = LogisticRegression(C=1.0, max_iter=1000).fit(features.astype(np.float64), truth, sample_weight=weight)
    return tuple(float(c) for c in model.coef_[0]), float(model.intercept_[0])


@compiled
def _add_logits(logits, values, table):  # type: ignore[no-untyped-def]
    for p in range(logits.shape[0]):
        for k in range(logits.shape[1]):
            logits[p, k] += table[k, values[p, k]]
