"""Audit the labels of a data set with out-of-fold predictions: all images, those first whose mask is most likely wrong.

Each reason has a strength of about 0 to 1, and an image has that of its strongest one:

    score      by how much its score is below the mean of its neighbours', images alike in colour and texture
    empty      an empty mask that every given entry fills: the same, times the predicted pixels over those of masks that
               are not empty, at most 1
    place      a mask that fits its prediction better when it is moved: RISE times the rise of their correlation
    copy       1 - Dice with the mask of a near-identical image
    pixels     1 - Dice of the mask with and without its pieces and holes of a few pixels
    straight   CUT times the longest straight part of its border, over the shorter side; unless more than COMMON of the
               masks have one, which is then how they were drawn
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.config.blend import PostprocessConfig
from skyfold.config.data import DataConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset, open_masks
from skyfold.data.images import Resizable
from skyfold.data.mask_checks import Displacement, displacement, specks, straight_border
from skyfold.data.thumbnails import Thumbnails as ImageThumbnails
from skyfold.data.thumbnails import look_at
from skyfold.errors import ConfigError
from skyfold.files import digest, write_csv, write_text
from skyfold.metrics.segmentation import dice_score
from skyfold.pipeline.audit import copies_among
from skyfold.pipeline.public_scores import now
from skyfold.pipeline.site.images import Thumbnails
from skyfold.postprocess.evaluate import Evaluation, evaluate
from skyfold.postprocess.measure import measure
from skyfold.progress import map_in_threads
from skyfold.reports.mask_plot import COLOURS, ERRORS
from skyfold.reports.site.pages import Section, Sections, Site, Table, render, static_files
from skyfold.store.contents import require_unchanged
from skyfold.store.runs import StoredRun, read_run
from skyfold.tasks import task_class
from skyfold.types import JsonDict, Samples
from skyfold.workspace import Workspace

NEIGHBOURS = 10
RISE = 2.0
LEAST_RISE = 0.02  # of the correlation: less is found in good masks, too
CUT = 0.5
LEAST_CUT = 0.2  # of the shorter side
COMMON = 0.1
LEAST = 0.005  # a reason that is weaker is left out
SHOWN = 60  # images with pictures


@dataclass
class Suspect:
    """A training image. score: mean over the entries, of its map that is farthest below `expected`, the mean of its
    neighbours; reasons: (strength, text)."""

    row: int
    id: str
    fold: int
    score: float
    expected: float
    reasons: list[tuple[float, str]] = field(default_factory=list)

    @property
    def strength(self) -> float:
        """Of the strongest reason; without any, by how much the score is below what is expected."""
        return max((strength for strength, _ in self.reasons), default=min(self.expected - self.score, 0.0))

    @property
    def reason(self) -> str:
        """All reasons, the strongest first."""
        return "; ".join(text for _, text in sorted(self.reasons, key=lambda each: -each[0]))


@dataclass(frozen=True)
class LabelAudit:
    """suspects: all images, the most suspect first; common: marks that too many masks have to be a reason; table, page:
    the CSV and the HTML file that were written."""

    suspects: Sequence[Suspect]
    common: Sequence[str]
    table: Path
    page: Path

    def lines(self) -> list[str]:
        """For people."""
        named = [one for one in self.suspects if one.reasons]
        listed = [f"{one.strength:.2f}  {one.id}: {one.reason}" for one in named[:10]]
        count = f"{len(named)} of {len(self.suspects)} images have a label to look at"
        return [count + (", first:" if named else "."), *listed, *self.common, f"all: {self.table}, {self.page}"]

    def told(self) -> list[JsonDict]:
        """For --json."""
        return [
            {"id": one.id, "strength": one.strength, "reason": one.reason, "score": one.score, "expected": one.expected}
            for one in self.suspects
        ]


@dataclass(frozen=True)
class _Entry:
    """A stored run or blend, and its cross-fitted thresholds and scores."""

    run: StoredRun
    evaluation: Evaluation

    def masks(self, row: int, valid: np.ndarray | None) -> np.ndarray:
        """Predicted masks of a sample, bool (H, W, K), by thresholds chosen without its fold."""
        place = int(np.searchsorted(self.evaluation.sweep.rows, row))
        chosen = self.evaluation.by_fold[int(self.evaluation.fold[place])]
        one = None if valid is None else valid[np.newaxis]
        return np.asarray(chosen.apply(np.asarray(self.run.oof.values[row : row + 1]), valid=one)[0])

    @property
    def scores(self) -> np.ndarray:
        """Of each map, float64 (n, K), greater is better."""
        return self.evaluation.map_scores * (1 if self.evaluation.sweep.metric.greater_is_better else -1)


@dataclass(frozen=True)
class _Seen:
    """What the masks of one sample look like, by class: true and predicted fractions of the pixels that count, the
    least of the entries; and the checks of `mask_checks`."""

    filled: Sequence[float]
    predicted: Sequence[float]
    places: Sequence[Displacement]
    specks: Sequence[float]
    cuts: Sequence[float]


def audit_labels(data: DataConfig, names: Sequence[str], workspace: Workspace) -> LabelAudit:
    """Rank all training images by how likely their masks are wrong, with the out-of-fold rows of the runs and blends
    `names`; writes `oof/<data>/audit/labels.csv` and pages with pictures beside it.

    ConfigError where an entry predicts no masks or other classes than the first; OofMismatch where its predictions are
    missing, or the data changed since.
    """
    dataset = open_masks(data, workspace)
    if not isinstance(dataset.train.inputs, Resizable):
        raise ConfigError(f"--labels: looks at images; the samples of '{data.competition}' are none.")
    entries = [_entry(name, data, dataset, workspace) for name in names]
    classes = entries[0].run.info.classes
    for entry in entries[1:]:
        if entry.run.info.classes != classes:
            raise ConfigError(f"--labels: '{entry.run.info.name}' knows other classes than '{names[0]}'. Leave it out.")
    samples = of_classes(dataset.train, dataset.competition.classes, classes)
    rows = entries[0].evaluation.sweep.rows
    seen = list(map_in_threads("looking at masks", lambda row: _look(row, samples, entries), rows.tolist(), "images"))
    suspects, common = _suspects(dataset, samples, entries, seen)
    suspects.sort(key=lambda one: (-one.strength, one.id))
    folder = workspace.oof(data.folder) / "audit"
    table = folder / "labels.csv"
    figures = [
        (place, one.id, one.fold, f"{one.strength:.4f}", one.reason, f"{one.score:.4f}", f"{one.expected:.4f}")
        for place, one in enumerate(suspects, start=1)
    ]
    write_csv(table, [("rank", "id", "fold", "strength", "reason", "score", "neighbours"), *figures])
    page = _write_pages(folder / "labels", suspects, common, data, dataset, samples, entries[0])
    return LabelAudit(suspects, common, table, page)


def _entry(name: str, data: DataConfig, dataset: Dataset, workspace: Workspace) -> _Entry:
    folder, post = workspace.run(data.folder, name), PostprocessConfig()
    run = read_run(folder, dataset.folds)
    if not task_class(run.info.task).MASKS:
        raise ConfigError(f"--labels: '{name}' predicts {run.info.task}; name a run or blend that predicts masks.")
    remedy = "Make it again on these data."
    require_unchanged(folder, dataset.contents.of("train"), since=f"'{name}' was made", remedy=remedy)
    samples = of_classes(dataset.train, dataset.competition.classes, run.info.classes)
    sweep = measure(run.oof, samples, dataset.folds, dataset.competition.metric, post, folder=folder)
    return _Entry(run, evaluate(sweep, dataset.folds, post))


def _look(row: int, samples: Samples, entries: Sequence[_Entry]) -> _Seen:
    assert samples.targets is not None
    truth = samples.targets[row].astype(bool)
    valid = None if samples.valid is None else samples.valid[row]
    if valid is not None:
        truth = truth & valid[..., np.newaxis]
    pixels = max(int(valid.sum()) if valid is not None else truth[..., 0].size, 1)
    prob = np.mean([np.asarray(entry.run.oof.values[row]) for entry in entries], axis=0)
    predicted = [entry.masks(row, valid).sum(axis=(0, 1)) for entry in entries]
    planes = [np.ascontiguousarray(truth[..., k]) for k in range(truth.shape[-1])]
    return _Seen(
        filled=[plane.sum() / pixels for plane in planes],
        predicted=(np.min(predicted, axis=0) / pixels).tolist(),
        places=[displacement(plane, prob[..., k], valid) for k, plane in enumerate(planes)],
        specks=[specks(plane) for plane in planes],
        cuts=[straight_border(plane, valid) for plane in planes],
    )


def _suspects(
    dataset: Dataset, samples: Samples, entries: Sequence[_Entry], seen: Sequence[_Seen]
) -> tuple[list[Suspect], list[str]]:
    """All images, in the order of the rows, with their reasons; and what is common to too many masks."""
    assert isinstance(samples.inputs, Resizable)
    of_images = look_at(samples.inputs)
    rows, classes = entries[0].evaluation.sweep.rows, entries[0].run.info.classes
    scores = np.mean([entry.scores for entry in entries], axis=0)
    expected = scores[_neighbours(of_images.features[rows])].mean(axis=1)
    filled, predicted = (np.array([getattr(one, name) for one in seen]) for name in ("filled", "predicted"))
    cuts, common = np.array([one.cuts for one in seen]), []
    for k, own in enumerate(cuts.T):
        drawn = filled[:, k] > 0
        if drawn.any() and (often := float((own[drawn] >= LEAST_CUT).mean())) > COMMON:
            common.append(f"{often:.0%} of the masks of {classes[k]} have straight borders: so they were drawn.")
            cuts[:, k] = 0
    usual = [float(own[own > 0].mean()) if (own > 0).any() else 1.0 for own in filled.T]
    suspects = []
    for place, row in enumerate(rows.tolist()):
        worst = int(np.argmax(expected[place] - scores[place]))
        figures = float(scores[place, worst]), float(expected[place, worst])
        one = Suspect(row, str(samples.ids[row]), int(dataset.folds.fold[row]), *figures)
        for k, name in enumerate(classes):
            reasons, moved = [], seen[place].places[k]
            share, below = float(predicted[place, k]), float(expected[place, k] - scores[place, k])
            if filled[place, k] == 0 and share > 0:
                text = f"empty; {share:.1%} of the pixels are predicted"
                reasons.append((below * min(share / usual[k], 1.0), text))
            elif below > 0:
                reasons.append((below, f"scores {scores[place, k]:.2f}, its neighbours {expected[place, k]:.2f}"))
            if moved.rise >= LEAST_RISE:
                reasons.append((RISE * moved.rise, f"fits better {_direction(moved)}"))
            reasons.append((seen[place].specks[k], f"{seen[place].specks[k]:.0%} of it is single pixels"))
            if cuts[place, k] >= LEAST_CUT:
                text = f"has a straight border along {cuts[place, k]:.0%} of the shorter side"
                reasons.append((CUT * float(cuts[place, k]), text))
            of_class = f"{name}: " if len(classes) > 1 else ""
            one.reasons += [(strength, of_class + text) for strength, text in reasons if strength >= LEAST]
        suspects.append(one)
    for row, reason in _unlike_copies(samples, of_images).items():
        if row in rows:
            suspects[int(np.searchsorted(rows, row))].reasons += reason
    return suspects, common


def _neighbours(features: np.ndarray) -> np.ndarray:
    """The rows of the images that are most alike in the features (n, F): int64 (n, m), none its own."""
    from sklearn.neighbors import NearestNeighbors

    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    count = min(NEIGHBOURS, len(features) - 1)
    return np.asarray(NearestNeighbors(n_neighbors=count).fit(scaled).kneighbors(return_distance=False))


def _direction(moved: Displacement) -> str:
    """
    >>> _direction(Displacement(-3, 0, 0.1))
    'moved by 3 pixels up'
    """
    if moved.farthest:
        return "elsewhere"
    parts = [(moved.down, "down", "up"), (moved.right, "right", "left")]
    return "moved by " + " and ".join(
        f"{abs(by)} pixels {plus if by > 0 else minus}" for by, plus, minus in parts if by
    )


def _unlike_copies(samples: Samples, seen: ImageThumbnails) -> dict[int, list[tuple[float, str]]]:
    """Reasons, by row, of images whose near-identical copy has another mask."""
    found: dict[int, list[tuple[float, str]]] = defaultdict(list)
    assert samples.targets is not None
    for copy in copies_among(samples, None, seen):
        first, second = (samples.targets[row].astype(bool) for row in (copy.first, copy.second))
        if not copy.laid_alike or first.shape != second.shape:
            continue
        dice = float(dice_score(target=first[np.newaxis], pred=second[np.newaxis]).min())
        if 1 - dice >= LEAST:
            for row, other in ((copy.first, copy.second), (copy.second, copy.first)):
                found[row].append((1 - dice, f"its copy '{samples.ids[other]}' has another mask (Dice {dice:.2f})"))
    return found


def _write_pages(
    folder: Path,
    suspects: Sequence[Suspect],
    common: Sequence[str],
    data: DataConfig,
    dataset: Dataset,
    samples: Samples,
    entry: _Entry,
) -> Path:
    """Write the list and, of the first images, the mask, the prediction of `entry` and their difference."""
    shown: set[str] = set()
    thumbnails, listed = Thumbnails(dataset, folder, shown), [one for one in suspects if one.reasons]
    pictures = []
    for one in listed[:SHOWN]:
        mask = entry.masks(one.row, None if samples.valid is None else samples.valid[one.row])
        key = digest("audit", entry.run.info.name, mask.tobytes())
        caption = f"{one.strength:.2f}: {one.reason}"
        pictures.append(thumbnails.prediction(one.id, caption, samples, partial(np.asarray, mask), key, errors=True))
    heads = [("image", "text"), ("fold", "number"), ("strength", "score"), ("reason", "text")]
    heads += [("score", "score"), ("neighbours", "score")]
    rows = [[one.id, one.fold, one.strength, one.reason, one.score, one.expected] for one in listed]
    classes = entry.run.info.classes
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(classes)} | ERRORS
    sections = [
        Section("Masks to look at", predictions={f"The first {len(pictures)}": pictures}, colours=colours),
        Section("List", table=Table(heads, rows)),
    ]
    facts = [f"{len(listed)} of {len(suspects)} images have a reason; predictions of {entry.run.info.name}.", *common]
    metric, folds = dataset.competition.metric, dataset.folds
    site = Site(data.folder, metric.name, metric.greater_is_better, len(suspects), folds.k, now(), images=bool(shown))
    page = folder / "index.html"
    heading = f"Labels of {data.folder}"
    for name, text in static_files().items():
        write_text(folder / name, text)
    write_text(page, render(Sections(heading, facts, sections), site, title=heading))
    for path in (folder / "images").glob("*.webp"):
        if path.relative_to(folder).as_posix() not in shown:
            path.unlink()
    return page
