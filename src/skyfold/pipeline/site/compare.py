"""Comparisons of entries of the same samples, folds and metric: pairs, all at once, and their correlation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from skyfold.metrics.bootstrap import Interval, difference_of_draws
from skyfold.pipeline.compare import config_differences
from skyfold.pipeline.site.draws import class_draws, entry_draws
from skyfold.pipeline.site.images import Thumbnails
from skyfold.pipeline.site.stored import StoredEntry, section
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.mask_plot import COLOURS
from skyfold.reports.site.charts import heat_map, interval_bar, scale_of
from skyfold.reports.site.pages import Comparison, Link, Prediction, Section, Sections, Table
from skyfold.types import VolumeMetric

FOLDER = "compare"  # of the site
INDEX = f"{FOLDER}/index.html"
SCRIPTS = f"{FOLDER}/scripts"
BEST = 10  # entries whose pairs have a page of their own
DIFFERENT = 6  # images of a pair in which either is better
HEADS = [("difference", "difference"), ("95 % interval", "text"), ("", "drawn")]


@dataclass(frozen=True)
class Compared:
    """Entries that are scored on the same samples, by the name of their folder, the best first.

    scores: of each sample; draws: score of each entry in common bootstrap draws; class_draws: of the best, by class.
    """

    entries: Mapping[str, StoredEntry]
    scores: Mapping[str, SampleScores]
    draws: Mapping[str, np.ndarray]
    class_draws: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def first(self) -> SampleScores:
        """Of the best; samples, folds and metric are those of all."""
        return next(iter(self.scores.values()))

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Score of each sample by itself, float64 (n,)."""
        return {name: one.of_samples() for name, one in self.scores.items()}

    @cached_property
    def values(self) -> dict[str, float]:
        """Score of each entry."""
        return {name: float(one.metric.score(one.stats)) for name, one in self.scores.items()}

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Interval]:
        """Score of the better minus that of the worse, paired, of every two."""
        return {
            (a, b): difference_of_draws((self.values[a], self.values[b]), (self.draws[a], self.draws[b]))
            for a, b in combinations(self.scores, 2)
        }

    def name(self, key: str) -> str:
        """What the entry is called."""
        return self.entries[key].info.name

    def by_fold(self, key: str) -> dict[int, float]:
        """Score of each fold; none where there is one only."""
        one, fold = self.scores[key], self.first.rows["fold"].to_numpy()
        if len(np.unique(fold)) < 2:
            return {}
        return {int(number): float(one.metric.score(one.stats[fold == number])) for number in np.unique(fold)}

    def classes(self, key: str) -> dict[str, float]:
        """Mean score of the maps of each class; none where they are not stored."""
        labels, scores = self.entries[key].info.classes, self.scores[key]
        return {label: float(own.mean()) for label in labels if (own := scores.of_class(label)) is not None}


def compared(
    alike: Sequence[str], stored: Mapping[str, StoredEntry], scores: Mapping[str, SampleScores], cache: Path
) -> Compared:
    """The entries `alike`, the best first; what is drawn of each is kept in `cache`."""
    return Compared(
        entries={name: stored[name] for name in alike},
        scores={name: scores[name] for name in alike},
        draws={name: entry_draws(scores[name], cache) for name in alike},
        class_draws={name: class_draws(scores[name], stored[name].info.classes, cache) for name in alike[:BEST]},
    )


def pair_address(a: str, b: str) -> str:
    """Of the page of a pair, from the site's folder."""
    return f"{FOLDER}/{a}_vs_{b}.html"


def pair_page(found: Compared, a: str, b: str, thumbnails: Thumbnails | None) -> Sections:
    """What two entries differ in, the better one first."""
    names, gain = (found.name(a), found.name(b)), found.pairs[a, b]
    better = int((_sign(found) * (found.rows[a] - found.rows[b]) > 0).sum())
    worse = int((_sign(found) * (found.rows[a] - found.rows[b]) < 0).sum())
    facts = [
        f"{names[0]} {found.values[a]:.4f}, {names[1]} {found.values[b]:.4f}: {_told(gain)}, paired",
        f"better in {better} of {len(found.first.rows)} samples, worse in {worse}",
    ]
    heads = [(name, "score") for name in names]
    config = config_differences(found.entries[a].info, found.entries[b].info)
    sections = [
        Section(
            "By class",
            "Mean over the maps of a class.",
            Table([("class", "text"), *heads, *HEADS], _by_class(found, a, b)),
        ),
        Section("By fold", table=Table([("fold", "text"), *heads, HEADS[0]], _by_fold(found, a, b))),
        section("Images", lambda: _differing_images(found, a, b, thumbnails)),
        Section("Config", table=Table([("key", "text"), *((name, "text") for name in names)], config)),
    ]
    return Sections(f"{names[0]} and {names[1]}", facts, sections)


def comparison_page(found: Compared) -> Comparison:
    """The page on which two entries are chosen, and the pairs of the best."""
    best = list(found.scores)[:BEST]
    pairs = {(a, b): found.pairs[a, b] for a, b in combinations(best, 2)}
    scale = _scale(pairs.values())
    rows = [
        [Link(f"{found.name(a)} - {found.name(b)}", pair_address(a, b)), *interval_cells(gain, scale)]
        for (a, b), gain in pairs.items()
    ]
    title = f"Pairs of the best {len(best)}"
    note = "Score of the first minus that of the second; both see the same samples in every draw."
    return Comparison(
        "Compare two entries",
        [],
        [Section(title, note, Table([("pair", "text"), *HEADS], rows))],
        scripts=["scripts/samples.js", "scripts/pairs.js"],
        entries=[(key, found.name(key)) for key in found.scores],
    )


def correlations(found: Compared) -> tuple[np.ndarray, int]:
    """Pearson correlation of the scores of single samples, float64 (E, E), and how many samples have one of all."""
    table = np.stack(list(found.rows.values()))
    known = np.isfinite(table).all(axis=0)
    with np.errstate(invalid="ignore"):
        matrix = np.corrcoef(table[:, known]) if known.sum() > 1 else np.full((len(table),) * 2, np.nan)
    return matrix, int(known.sum())


def correlation_page(found: Compared, matrix: np.ndarray, samples: int, further: Sequence[Section]) -> Sections:
    """How alike the errors of entries are, over samples. matrix, samples: as `correlations`; further: more sections."""
    names, keys = [found.name(key) for key in found.scores], list(found.scores)
    others = sorted(range(1, len(keys)), key=lambda place: (math.isnan(matrix[0, place]), matrix[0, place]))
    with_best = [
        [Link(names[place], found.entries[keys[place]].page), found.values[keys[place]], float(matrix[0, place])]
        for place in others
    ]
    note = (
        "Pearson correlation of the scores of single samples. A low one says that two entries err on different "
        "samples, so that a blend of them has more to gain."
    )
    heads = [("entry", "text"), ("score", "score"), ("correlation", "score")]
    picture = heat_map(names, matrix.tolist(), about="correlation of the scores of single samples")
    return Sections(
        "Correlation of errors",
        [f"{len(names)} entries, {samples:,} samples"],
        [
            Section(f"With the best entry, {names[0]}", "The least alike first.", Table(heads, with_best)),
            *further,
            Section("All entries", note, charts=[picture]),
        ],
    )


def scripts(found: Compared) -> dict[str, str]:
    """Arrays as classic scripts, since pages that are opened from a folder may not fetch: text by address.

    Scores are whole numbers of 1/10000, null where they are not finite.
    """
    first, keys = found.first, list(found.scores)
    samples = {
        "ids": first.rows["id"].tolist(),
        "metric": first.metric.name.replace("_", " "),
        "greater": first.metric.greater_is_better,
    }
    place = {key: index for index, key in enumerate(keys)}
    pairs: list[list[object]] = []
    for (a, b), gain in found.pairs.items():
        numbers = [round(value, 5) if math.isfinite(value) else None for value in (gain.value, gain.low, gain.high)]
        pairs.append([place[a], place[b], *numbers])
    made = {
        f"{SCRIPTS}/samples.js": _script("samples", samples),
        f"{SCRIPTS}/pairs.js": _script("pairs", {"keys": keys, "pairs": pairs}),
    }
    for key in keys:
        entry = {
            "name": found.name(key),
            "score": found.values[key],
            "rows": _whole(found.rows[key]),
            "folds": found.by_fold(key),
            "classes": found.classes(key),
            "config": {name: json.dumps(value) for name, value in found.entries[key].flat_config.items()},
        }
        made[f"{SCRIPTS}/entry_{key}.js"] = _script(f"entry {key}", entry)
    return made


def pairs_csv(found: Compared) -> list[list[object]]:
    """Paired differences of all pairs, with a heading."""
    rows = [[found.name(a), found.name(b), gain.value, gain.low, gain.high] for (a, b), gain in found.pairs.items()]
    return [["first", "second", "difference", "low", "high"], *rows]


def _by_class(found: Compared, a: str, b: str) -> list[list[object]]:
    ours, theirs = found.classes(a), found.classes(b)
    gains = {
        label: difference_of_draws(
            (ours[label], theirs[label]), (found.class_draws[a][label], found.class_draws[b][label])
        )
        for label in ours
        if label in theirs
    }
    scale = _scale(gains.values())
    return [[label, ours[label], theirs[label], *interval_cells(gain, scale)] for label, gain in gains.items()]


def _by_fold(found: Compared, a: str, b: str) -> list[list[object]]:
    theirs = found.by_fold(b)
    return [[str(fold), own, theirs[fold], own - theirs[fold]] for fold, own in found.by_fold(a).items()]


def _differing_images(found: Compared, a: str, b: str, thumbnails: Thumbnails | None) -> Section:
    title = "Images in which they differ most"
    if thumbnails is None or isinstance(found.first.metric, VolumeMetric):
        return Section(title)
    gain, ids = _sign(found) * (found.rows[a] - found.rows[b]), found.first.rows["id"].to_numpy(dtype=str)
    order = [row for row in np.argsort(-gain, kind="stable").tolist() if math.isfinite(gain[row])]
    chosen = {
        f"{found.name(a)} is better": [row for row in order[:DIFFERENT] if gain[row] > 0],
        f"{found.name(b)} is better": [row for row in order[: -DIFFERENT - 1 : -1] if gain[row] < 0],
    }
    shown = {}
    for heading, rows in chosen.items():
        captions = {str(ids[row]): f"{found.rows[a][row]:.4f} and {found.rows[b][row]:.4f}" for row in rows}
        both = [thumbnails.predictions(found.entries[key], captions, errors=False) for key in (a, b)]
        shown[heading] = [
            Prediction(
                one.id,
                one.caption,
                one.image,
                [one.layers[0], (found.name(a), one.layers[1][1]), (found.name(b), other.layers[1][1])],
            )
            for one, other in zip(*both, strict=True)
        ]
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(found.entries[a].info.classes)}
    return Section(title, "Out of fold.", predictions=shown, colours=colours)


def _sign(found: Compared) -> int:
    return 1 if found.first.metric.greater_is_better else -1


def _scale(gains: Iterable[Interval]) -> tuple[float, float]:
    """Of the three quarters of the intervals that reach least far, so that one bad entry does not shrink others."""
    known = sorted((gain for gain in gains if gain.known), key=lambda gain: max(abs(gain.low), abs(gain.high)))
    nearest = known[: max(4, math.ceil(0.75 * len(known)))]
    return scale_of([0.0, *(limit for gain in nearest for limit in (gain.low, gain.high))])


def interval_cells(gain: Interval, scale: tuple[float, float]) -> list[object]:
    """Difference, limits and bar, for the columns `HEADS`."""
    if not gain.known:
        return [None, None, None]
    return [gain.value, f"{gain.low:+.4f} to {gain.high:+.4f}", interval_bar(gain.value, gain.low, gain.high, scale)]


def _told(gain: Interval) -> str:
    return f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" if gain.known else "no difference is defined"


def _whole(values: np.ndarray) -> list[int | None]:
    known = np.isfinite(values)
    numbers = np.where(known, np.round(values * 10000), 0).astype(int).tolist()
    return [number if one else None for number, one in zip(numbers, known.tolist(), strict=True)]


def _script(key: str, value: object) -> str:
    """JSON is JavaScript, but for the end of a script element, which an id may hold."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f"(window.skyfold=window.skyfold||{{}})[{json.dumps(key)}]={text};\n"
