"""Dice at every threshold x minimum area, all at once, against a labelling of components for every threshold.

The strongest peer labels with OpenCV once a threshold (in 16 bits, without its statistics) and adds all areas up in one
compiled pass over the labels; beside it stands the same with OpenCV's own statistics. The usual one is what notebooks
share: for each threshold, for each minimum size, for each image, label the mask, draw the components that are large
enough one by one, and take Dice with NumPy. All run on one thread; the full search on all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from timing import Line, Work, growth, ratios, under

from skyfold.compiled import compiled
from skyfold.config.blend import PostprocessConfig
from skyfold.metrics.segmentation import MeanDice
from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure, sweep_maps, threshold_grid
from skyfold.postprocess.threshold_sweep import Maps
from skyfold.store.folds import Folds
from skyfold.types import Predictions, Samples
from speed.maps import cloud_masks, probabilities

STRONGEST = "strongest brute force (cv2 components + compiled sums)"
STATISTICS = "brute force with cv2.connectedComponentsWithStats"
IMAGES = 5546  # of "Understanding Clouds", four classes each
ALL_LEVELS = np.arange(255)
MIN_AREAS = np.array([0, 500, 1000, 2000, 4000, 6000, 8000, 10000, 15000, 20000])
TOPS, COUNTS, BOTTOMS = (
    ALL_LEVELS[100:250:5],
    np.array([0, 250, 500, 1000, 2000, 4000, 8000, 12000]),
    ALL_LEVELS[30:200:5],
)


def lines(*, quick: bool) -> list[Line]:
    cv2.setNumThreads(1)
    images, rounds = (1, 1) if quick else (4, 5)
    prob, truth, kind = _maps(images)
    found = _against_peers(prob, truth, kind, rounds=rounds, quick=quick)
    found.append(_triplets(prob, truth, rounds=rounds, quick=quick))
    found.append(_full_search(48 if quick else IMAGES))

    def of_size(size: int) -> Work:
        more, its_truth, _ = _maps(size * (1 if quick else 4))
        return Work(lambda: _ours(more, its_truth, ALL_LEVELS))

    return [*found, *growth("255 thresholds x 10 areas", of_size, rounds=1 if quick else 3)]


def _against_peers(prob: np.ndarray, truth: np.ndarray, kind: str, *, rounds: int, quick: bool) -> list[Line]:
    """The peers take fewer maps a round; the areas and Dice of all ways are held to be equal first."""
    few = threshold_grid(3 if quick else 20)
    count = prob.shape[0] * prob.shape[3]
    one, one_truth = prob[:1, ..., :1], truth[:1, ..., :1]  # a map with a mask: the usual way takes a second on it
    for levels in (few, ALL_LEVELS):
        for peer in (_strongest, _with_statistics):
            np.testing.assert_array_equal(peer(prob[:1], truth[:1], levels), _ours(prob[:1], truth[:1], levels))
    np.testing.assert_array_equal(_usual(one, one_truth, few), _ours(one, one_truth, few))

    ours = Work(lambda: _ours(prob, truth, ALL_LEVELS), count)
    found = ratios(
        f"255 thresholds x 10 areas, {kind}",
        ours,
        {
            STRONGEST: (Work(lambda: _strongest(prob[:1], truth[:1], ALL_LEVELS), prob.shape[3]), 15.0),
            STATISTICS: (Work(lambda: _with_statistics(prob[:1], truth[:1], ALL_LEVELS), prob.shape[3]), None),
        },
        rounds=rounds,
    )
    found += ratios(
        f"{len(few)} thresholds x 10 areas, {kind}",
        Work(lambda: _ours(prob, truth, few), count),
        {
            "the usual notebook loops": (Work(lambda: _usual(prob[:1], truth[:1], few), prob.shape[3]), 300.0),
            STRONGEST: (Work(lambda: _strongest(prob, truth, few), count), 5.0),
            STATISTICS: (Work(lambda: _with_statistics(prob, truth, few), count), None),
        },
        rounds=1 if quick else 3,
    )
    return found


def _ours(prob: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> np.ndarray:
    both, pred = np.moveaxis(component_counts(prob, truth, thresholds=levels, min_areas=MIN_AREAS, workers=1), 2, 0)
    true = np.array([np.count_nonzero(np.moveaxis(one, -1, 0).copy(), axis=(1, 2)) for one in truth])
    return MeanDice().of_counts(both, pred, true[:, :, None, None]).astype(np.float32).swapaxes(2, 3)


def _strongest(prob: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> np.ndarray:
    sweep = np.empty((prob.shape[0], prob.shape[3], len(levels), len(MIN_AREAS)), dtype=np.float32)
    for i, k in np.ndindex(sweep.shape[:2]):
        plane = np.ascontiguousarray(prob[i, :, :, k])
        true = np.ascontiguousarray(truth[i, :, :, k])
        for t, level in enumerate(levels):
            mask = cv2.threshold(plane, int(level), 255, cv2.THRESH_BINARY)[1]
            parts, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_16U)
            _dice_of_parts(labels, true, parts, MIN_AREAS, sweep[i, k, t])
    return sweep


@compiled
def _dice_of_parts(labels, truth, parts, min_areas, dice):  # type: ignore[no-untyped-def]
    """Areas and overlaps in one pass, which together with labels of 16 bits takes a third of cv2's own statistics."""
    areas, overlaps = np.zeros(parts, np.int32), np.zeros(parts, np.int32)
    target = 0
    for r in range(labels.shape[0]):
        for c in range(labels.shape[1]):
            target += truth[r, c]
            areas[labels[r, c]] += 1
            overlaps[labels[r, c]] += truth[r, c]
    for m in range(len(min_areas)):
        both = 0
        total = target
        for part in range(1, parts):
            if areas[part] >= min_areas[m]:
                both += overlaps[part]
                total += areas[part]
        dice[m] = 2.0 * both / total if total else 1.0


def _with_statistics(prob: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> np.ndarray:
    sweep = np.empty((prob.shape[0], prob.shape[3], len(levels), len(MIN_AREAS)), dtype=np.float32)
    for i, k in np.ndindex(sweep.shape[:2]):
        plane, true = prob[i, :, :, k].copy(), truth[i, :, :, k].copy()
        for t, level in enumerate(levels):
            mask = cv2.threshold(plane, int(level), 255, cv2.THRESH_BINARY)[1]
            parts, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            overlaps = np.bincount(labels[true], minlength=parts)[1:]
            areas = stats[1:, cv2.CC_STAT_AREA]
            for m, least in enumerate(MIN_AREAS):
                large = areas >= least
                total = areas[large].sum() + true.sum()
                sweep[i, k, t, m] = 2.0 * overlaps[large].sum() / total if total else 1.0
    return sweep


def _usual(prob: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """On float probabilities, as notebooks have them; a threshold between two stored values is (level + 0.5) / 255."""
    as_float = prob.astype(np.float32) / 255.0
    sweep = np.empty((prob.shape[0], prob.shape[3], len(levels), len(MIN_AREAS)), dtype=np.float32)
    for k in range(prob.shape[3]):
        for t, level in enumerate(levels):
            for m, min_size in enumerate(MIN_AREAS):
                for i in range(len(prob)):
                    kept = _large_enough(as_float[i, :, :, k], (level + 0.5) / 255.0, min_size)
                    sweep[i, k, t, m] = _dice(kept, truth[i, :, :, k])
    return sweep


def _large_enough(probability: np.ndarray, threshold: float, min_size: int) -> np.ndarray:
    mask = cv2.threshold(probability, threshold, 1, cv2.THRESH_BINARY)[1]
    parts, component = cv2.connectedComponents(mask.astype(np.uint8))
    predictions = np.zeros(probability.shape, np.float32)
    for c in range(1, parts):
        p = component == c
        if p.sum() >= min_size:
            predictions[p] = 1
    return predictions


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    first, second = np.asarray(first).astype(bool), np.asarray(second).astype(bool)
    if first.sum() + second.sum() == 0:
        return 1.0
    return float(2.0 * np.logical_and(first, second).sum() / (first.sum() + second.sum()))


def _triplets(prob: np.ndarray, truth: np.ndarray, *, rounds: int, quick: bool) -> Line:
    """All triplets at once from counts, against applying them one by one; the peer applies a few of them."""
    grid = np.union1d(TOPS, BOTTOMS)
    every = len(grid) ** 2 * len(COUNTS) * prob.shape[0] * prob.shape[3]
    rows = np.arange(len(prob))

    def ours() -> np.ndarray:
        """Dice, float32 (n, K, P, M, T): top threshold x count x threshold."""
        sweep = sweep_maps(Maps(prob, truth), MeanDice(), rule="triplet", thresholds=grid, min_areas=COUNTS)
        dice = np.empty((len(prob), sweep.classes, len(grid), len(COUNTS), len(grid)), dtype=np.float32)
        for k, m in np.ndindex(sweep.classes, len(COUNTS)):
            kept = sweep.kept(rows, k, m).T[:, :, None]
            dice[:, k, :, m] = np.where(kept, sweep.scores(rows, k, m)[:, None], sweep.empty[:, k, None, None])
        return dice

    tried = [
        (int(top), int(count), int(bottom)) for top in TOPS[::15] for count in COUNTS[::4] for bottom in BOTTOMS[::17]
    ]
    places = [(*np.searchsorted(grid, (top, bottom)), np.searchsorted(COUNTS, count)) for top, count, bottom in tried]

    def one_by_one() -> np.ndarray:
        return np.stack([_triplet_dice(prob, truth, *triplet) for triplet in tried])

    sweep = ours()
    of_tried = np.stack([sweep[:, :, top, m, bottom] for top, bottom, m in places])
    np.testing.assert_allclose(one_by_one(), of_tried, rtol=1e-6)
    works = {"each applied with NumPy": (Work(one_by_one, len(tried) * prob.shape[0] * prob.shape[3]), None)}
    return ratios("triplets of two thresholds and a count", Work(ours, every), works, rounds=1 if quick else rounds)[0]


def _triplet_dice(prob: np.ndarray, truth: np.ndarray, top: int, count: int, bottom: int) -> np.ndarray:
    enough = (prob > top).sum(axis=(1, 2)) >= count
    mask = (prob > bottom) & enough[:, None, None, :]
    total = mask.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2.0 * (mask & truth).sum(axis=(1, 2)) / np.maximum(total, 1))


def _full_search(images: int) -> Line:
    """Counting and choosing, with a gate, cross-fitted on five folds; 60 s are for all images of the contest."""
    bank = min(images, 48)
    prob, truth, kind = _maps(bank)
    ids = np.arange(images).astype(str)
    rng = np.random.default_rng(0)
    folds = Folds(ids, rng.permutation(images) % 5, np.arange(images))
    gate = np.clip(0.8 * truth.any(axis=(1, 2))[np.arange(images) % bank] + 0.4 * rng.random((images, 4)) - 0.1, 0, 1)
    oof = Predictions(ids, _Repeated(prob, images), np.ones(images, bool), "probability")  # type: ignore[arg-type]
    repeated = _Repeated(truth, images)
    samples = Samples(ids, repeated, repeated)
    post = PostprocessConfig(thresholds=255, min_areas=tuple(MIN_AREAS.tolist()))

    def search() -> object:
        return evaluate(measure(oof, samples, folds, MeanDice(), post), folds, post, gate)

    return under(
        f"full search, {images} x 4 maps, 255 thresholds x 10 areas x gate, 5 folds",
        Work(search),
        wanted=60.0,
        rounds=1,
        note=f"{bank} different images, {kind}",
    )


@dataclass(frozen=True)
class _Repeated:
    """An array of a few images as if it were one of many, without the memory of many."""

    bank: np.ndarray
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.bank.shape[1:])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        values: np.ndarray = self.bank[rows % len(self.bank)]
        return values


@cache
def _maps(images: int) -> tuple[np.ndarray, np.ndarray, str]:
    truth, kind = cloud_masks(images, seed=1)
    return probabilities(truth, seed=2), truth, kind
