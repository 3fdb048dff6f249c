"""What each entry would add to the best blend, and which runs to blend next, from stored out-of-fold rows.

Means of stored rows are scored with a threshold per class, cross-fitted. That is expensive: each mean is scored once
and kept in the cache by the checksums of its rows, on `MOST_BYTES` of maps only where there are more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as cache_of
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from skyfold.blending.combine import combine
from skyfold.config.blend import PostprocessConfig
from skyfold.config.data import DataConfig
from skyfold.config.run import RunConfig
from skyfold.data.cache import fingerprint_of
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset
from skyfold.files import digest
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.pipeline.site.compare import Compared, interval_cells
from skyfold.pipeline.site.stored import StoredEntry, once
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import sweep_maps, threshold_grid
from skyfold.postprocess.threshold_sweep import Maps
from skyfold.reports.site.charts import scale_of
from skyfold.reports.site.pages import Link, Section, Table
from skyfold.store.folds import Folds
from skyfold.store.rows import release_pages, row_shape
from skyfold.tasks import task_class
from skyfold.types import ArraySequence, CountMetric, JsonDict, LazyArrays

FILE = "next_blend.yaml"  # of the site
MOST_BYTES = 18 << 20  # of the maps of an entry that are scored
LARGE = 1 << 16  # pixels of a map, of which every second one is scored, in both directions
ADDED = 5, 3  # entries: the best, and of the others the least correlated with the best blend
CANDIDATES = 3, 2  # runs of the next blend: the best, and of the others those that add most to the best blend
MOST_MEMBERS = 3
POST = PostprocessConfig()  # thresholds only
Parts = Mapping[str, int]  # whole parts of weight by entry


@dataclass(frozen=True)
class ScoredMean:
    """Scores of a mean of stored rows.

    whole: of all rows, thresholds chosen on them; without: the same of the rows of all other folds, by fold; stats:
    float64 (n, S), each row by thresholds that were chosen without its fold.
    """

    whole: float
    without: Mapping[int, float]
    stats: np.ndarray


@dataclass(frozen=True)
class Suggestion:
    """The runs of the next blend, and its gain over the best one; each fold is scored with the runs that were chosen
    without it."""

    runs: tuple[str, ...]
    gain: Interval


class StoredMeans:
    """Means of the rows of `entries`, which have the same samples, folds and classes, by name; kept in `cache`.

    Only `few_rows` are read, of large maps every second pixel in both directions, which choose thresholds as well.
    """

    def __init__(self, entries: Mapping[str, StoredEntry], dataset: Dataset, cache: Path) -> None:
        first = next(iter(entries.values()))
        self.entries, self.cache, self.metric = entries, cache, dataset.competition.metric
        self.samples = of_classes(dataset.train, dataset.competition.classes, first.info.classes)
        self._checksums = {name: own.oof.checksum() for name, own in entries.items()}
        folds, shape = dataset.folds, first.oof.values[0].shape
        self.rows, self._step = few_rows(folds, shape), _step(shape)
        self.folds = Folds(folds.ids[self.rows], folds.fold[self.rows], folds.groups[self.rows])
        self._maps_of = cache_of(self._read_maps)

    @cached_property
    def _key(self) -> str:
        truth = fingerprint_of(self.samples.targets)
        return digest(f"mean 2 {self._step}", repr(self.metric), POST.model_dump_json(), self.rows.tobytes(), truth)

    @cached_property
    def _truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets, and which of their pixels count."""
        assert self.samples.targets is not None
        stored = next(iter(self.entries.values())).oof.values
        everywhere = LazyArrays(len(stored), lambda row: np.ones(row_shape(stored, row)[:2], dtype=bool))
        valid = everywhere if self.samples.valid is None else self.samples.valid
        return self._thinned(self.samples.targets).astype(bool), self._thinned(valid)

    def _read_maps(self, name: str) -> np.ndarray:
        store = self.entries[name].oof
        maps = self._thinned(store.checked)
        release_pages(store.values)
        return maps

    def _thinned(self, arrays: ArraySequence) -> np.ndarray:
        """The rows that are scored; at the ends of smaller ones zeros, of `valid` pixels that do not count."""
        rows = [arrays[row][:: self._step, :: self._step] for row in self.rows.tolist()]
        height, width = np.max([row.shape[:2] for row in rows], axis=0)
        stacked = np.zeros((len(rows), height, width, *rows[0].shape[2:]), dtype=rows[0].dtype)
        for row, own in zip(rows, stacked, strict=True):
            own[: row.shape[0], : row.shape[1]] = row
        return stacked

    def scored(self, parts: Parts) -> ScoredMean:
        """The mean of the entries in `parts`."""
        made_of = [f"{self._checksums[name]} {many}" for name, many in sorted(parts.items())]
        found = once(self.cache / f"{digest(self._key, *made_of)}.json", lambda: self._computed(parts))
        without = {int(fold): score for fold, score in found["without"].items()}
        return ScoredMean(found["whole"], without, np.array(found["stats"], dtype=np.float64))

    def gain(self, ours: np.ndarray, theirs: np.ndarray) -> Interval:
        """Of statistics over those of another mean, paired."""
        return paired_difference(self.metric, ours, theirs, groups=self.folds.groups)

    def _computed(self, parts: Parts) -> JsonDict:
        maps = [self._maps_of(name) for name in parts]
        mean = np.concatenate([part for _, part in combine(maps, list(parts.values()))])
        sweep = sweep_maps(
            Maps(mean, *self._truth),
            self.metric,
            rule=POST.rule,
            thresholds=threshold_grid(POST.thresholds),
            min_areas=np.array(POST.min_areas),
            label=f"mean of {', '.join(parts)}",
        )
        found = evaluate(sweep, self.folds, POST)
        others = {fold: np.flatnonzero(found.fold != fold) for fold in found.by_fold}
        chosen = {fold: sweep.evaluate(found.by_fold[fold], rows=own)[0] for fold, own in others.items()}
        return {
            "whole": found.in_sample,
            "without": {str(fold): self.metric.score(stats) for fold, stats in chosen.items()},
            "stats": found.stats.tolist(),
        }


def next_blend_sections(
    found: Compared, dataset: Dataset | None, correlation_with: Mapping[str, float], cache: Path
) -> tuple[list[Section], str]:
    """Sections of the page of correlations, and the config of the next blend as YAML, '' where there is none.

    dataset: the data, None where they cannot be read; correlation_with: of each entry, with the best blend.
    """
    best = best_blend(found)
    if dataset is None or not task_class(found.entries[best].info.task).MASKS:
        return [], ""
    metric = dataset.competition.metric
    if not isinstance(metric, CountMetric) or not metric.greater_is_better:  # else every threshold costs a pass
        return [], ""
    classes = found.entries[best].info.classes
    fitting = {
        name: own
        for name, own in found.entries.items()
        if own.info.classes == classes and own.has_rows_of(dataset.train.ids)
    }
    if best not in fitting or len(fitting) < 2 or set(classes) != set(dataset.competition.classes):
        return [], ""
    means = StoredMeans(fitting, dataset, cache)
    others = [name for name in fitting if name != best]
    rest = sorted(others[ADDED[0] :], key=lambda name: correlation_with.get(name, 1.0))
    gains, base = {}, means.scored({best: 1})
    made = found.entries[best].blend
    members = len(made["runs"]) if made else 1
    for name in [*others[: ADDED[0]], *rest[: ADDED[1]]]:
        gains[name] = means.gain(means.scored({best: members, name: 1}).stats, base.stats)
    scale = scale_of([0.0, *(limit for gain in gains.values() for limit in (gain.low, gain.high))])
    ordered = sorted(gains, key=lambda name: -gains[name].value)
    rows = [
        [Link(found.name(name), fitting[name].page), found.values[name], *interval_cells(gains[name], scale)]
        for name in ordered
    ]
    heads = [("entry", "text"), ("score", "score"), ("gain", "difference"), ("95 % interval", "text"), ("", "drawn")]
    what = f"best blend, {found.name(best)}" if made else f"best entry, {found.name(best)}"
    scored, held = len(means.rows), len(found.first.rows)
    few = f" on {scored:,} of {held:,} samples" if scored < held else ""
    note = (
        f"The mean of its probability maps (weight {members}) and those of the entry (weight 1), with a threshold per "
        f"class, cross-fitted{few}, against its maps alone; paired. Weights that the blend has fitted are kept."
    )
    adds = Section(f"What each adds to the {what}", note, Table(heads, rows))
    runs = [name for name in fitting if fitting[name].info.kind in ("run", "imported")]
    if not runs:
        return [adds], ""
    best_runs = runs[: CANDIDATES[0]]
    adding = [name for name in ordered if name in runs and name not in best_runs]
    suggested = suggested_blend(means, [*best_runs, *adding[: CANDIDATES[1]]], base)
    text = _config(suggested.runs, fitting, found) if suggested.gain.value > 0 else ""
    return [adds, _suggested(suggested, text, found, what, few)], text


def best_blend(found: Compared) -> str:
    """The best of the blends; where there is none, the best entry."""
    blends = (name for name, own in found.entries.items() if own.blend is not None)
    return next(blends, next(iter(found.entries)))


def suggested_blend(means: StoredMeans, candidates: Sequence[str], base: ScoredMean) -> Suggestion:
    """Add to the best of `candidates` the one whose mean with those before scores best, while that gains and up to
    `MOST_MEMBERS`. base: what the gain is over."""

    def mean_of(runs: Iterable[str]) -> ScoredMean:
        return means.scored(dict.fromkeys(runs, 1))

    def chosen(fold: int | None) -> tuple[str, ...]:
        """By the rows of all folds but one."""

        def score(runs: Iterable[str]) -> float:
            own = mean_of(runs)
            return own.whole if fold is None else own.without[fold]

        runs: tuple[str, ...] = (max(candidates, key=lambda one: score([one])),)
        while len(runs) < min(MOST_MEMBERS, len(candidates)):
            further = max((one for one in candidates if one not in runs), key=lambda one: score([*runs, one]))
            if score([*runs, further]) <= score(runs):
                break
            runs = (*runs, further)
        return runs

    stats, fold_of = np.empty_like(base.stats), means.folds.fold
    for fold in np.unique(fold_of).tolist():
        stats[fold_of == fold] = mean_of(chosen(fold)).stats[fold_of == fold]
    return Suggestion(chosen(None), means.gain(stats, base.stats))


def _suggested(suggested: Suggestion, text: str, found: Compared, what: str, few: str) -> Section:
    gain, names = suggested.gain, ", ".join(found.name(one) for one in suggested.runs)
    told = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    if not text:
        note = (
            f"No mean of stored runs gains over the {what}: the best, {names}, {told}{few}. A run that errs on other "
            "samples may."
        )
        return Section("A next blend", note, note_alone=True)
    first = f"The mean of {names}" if len(suggested.runs) > 1 else f"No mean of runs scores above {names} alone, which"
    note = (
        f"{first} gains {told} over the {what}{few}; runs and thresholds were chosen without the fold that is scored. "
        "To the best run others are added while the score rises, out of the best and of those that add most. The "
        f"config lies beside these pages: skyfold run {FILE}."
    )
    return Section("A next blend", note, text=text)


def _config(runs: Sequence[str], entries: Mapping[str, StoredEntry], found: Compared) -> str:
    """YAML of a blend of `runs`, which are stored, each with the keys that differ from their defaults."""
    first = entries[runs[0]].info
    data = DataConfig.model_validate(first.config["data"]).model_dump(mode="json", exclude_defaults=True)
    classes = data.get("options", {}).get("classes")
    if isinstance(classes, dict) and set(classes) == set(first.classes):  # records are sorted, and the order counts
        data["options"]["classes"] = {name: classes[name] for name in first.classes}
    members = []
    for name in runs:
        own = {key: value for key, value in entries[name].info.config.items() if key in RunConfig.model_fields}
        kept = RunConfig.model_validate(own).model_dump(mode="json", exclude_defaults=True, exclude={"data"})
        members.append(kept)
    taken = {own.info.name for own in found.entries.values()}
    free = (one for one in ("next_blend", *(f"next_blend_{number}" for number in range(2, 1000))) if one not in taken)
    config = {"name": next(free), "data": data, "runs": members}
    return str(yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=110))


def few_rows(folds: Folds, shape: tuple[int, ...]) -> np.ndarray:
    """Rows that are scored, int64, as many as `MOST_BYTES` hold, drawn at random, the same for all entries.

    shape: of a stored row.
    """
    rows, step = folds.scored, _step(shape)
    most = max(2 * folds.k, MOST_BYTES * step**2 // math.prod(shape))
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _step(shape: tuple[int, ...]) -> int:
    """Of the pixels that are scored, in both directions."""
    return 2 if shape[0] * shape[1] >= LARGE else 1
