"""Contract tests of a competition: what skyfold relies on, tried on the files that are there."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.data import DataConfig
from skyfold.data.mask_tables import NoImages
from skyfold.data.number_types import KEPT
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, SkyfoldError, listing
from skyfold.metrics.score_submission import stacks
from skyfold.submission.write import write_submission
from skyfold.types import ArraySequence, LazyArrays, Metric, Samples, VolumeMetric

LOOKED_AT = 8  # samples, evenly over all
SIZES = (
    "Give RleTable the size of the images as shape, or that of each as sizes; where the contest wants masks of another "
    "size, say so: competition(..., resized=True)."
)


def check_competition(data: DataConfig, folder: Path) -> list[str]:
    """Lines that say what holds. ConfigError lists what does not, DataLayoutError as the competition's own check.

    folder: of the files, which stay as they are.
    """
    if not folder.is_dir():
        raise DataLayoutError(f"{folder}: no such folder. Name it with --data, or write a sample: skyfold prepare.")
    competition = build(data.competition, data.options, folder)
    if competition.task != "segmentation":
        raise ConfigError(f"check: '{competition.name}' has task {competition.task}; only segmentation is checked.")
    before = _files(folder)
    lines = [f"files: {competition.check(folder)}"]
    parts = {part: competition.load(folder, part) for part in competition.parts}
    problems: list[str] = []
    for name, samples in parts.items():
        problems += _problems_of(name, samples, competition)
        lines.append(f"{name}: {len(samples)} samples, {_shown(samples, competition)}")
    again = {part: competition.load(folder, part) for part in competition.parts}
    for name, samples in parts.items():
        if not np.array_equal(samples.ids, again[name].ids):
            problems.append(f"{name}: ids or their order differ when it is loaded again. Sort what a folder lists.")
    if not problems:
        problems += _raised("metric", lambda: _problems_of_metric(competition.metric, parts["train"]))
        problems += _raised("submission", lambda: _problems_of_submission(competition, parts["train"]))
        parts_agree = "" if isinstance(competition.metric, VolumeMetric) else ", the same at once and in parts"
        lines.append(f"metric: {competition.metric.name}{parts_agree}; the truth itself scores best")
        lines.append("submission: written, read back and scored")
    if "test" in parts and (table := competition.sample_table(folder)) is not None:
        of_sample = _raised("sample submission", lambda: _of_sample(competition, table, parts["test"]))
        problems += [f"{table}: {problem}" for problem in of_sample]
    if _files(folder) != before:
        problems.append(f"{folder}: reading it has changed its files.")
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ConfigError(f"competition '{competition.name}': {count}\n{listing(problems)}")
    return lines


def _problems_of(part: str, samples: Samples, competition: Competition) -> Iterator[str]:
    """What is wrong with the ids and arrays of a part."""
    names = samples.ids.tolist()
    if samples.ids.dtype.kind != "U" or len(set(names)) < len(names):
        yield f"{part}: ids are no text, or one is there twice. Give each sample an id, as str."
    if not len(samples):
        yield f"{part}: no samples."
    bands = {samples.inputs[i].shape[-1] for i in _some(samples) if not isinstance(samples.inputs, NoImages)}
    if len(bands) > 1:
        yield f"{part}: images have {sorted(bands)} bands. Give all the same number."
    for i in _some(samples):
        what = f"{part}, '{names[i]}'"
        size = competition.grid or tuple(samples.sizes[i].tolist() if samples.sizes is not None else ())
        if not isinstance(samples.inputs, NoImages):
            image = samples.inputs[i]
            if image.ndim != 3 or str(image.dtype) not in KEPT:
                yield f"{what}: image {image.dtype} {image.shape}, expected (H, W, C) of {', '.join(KEPT)}."
            if not np.array_equal(image, samples.inputs[i]):
                yield f"{what}: the image differs when it is read again."
            if image.shape[:2] != size and not competition.resized:
                yield f"{what}: image {_spelled(image.shape[:2])}, masks {_spelled(size)}. {SIZES}"
        if part != "train":
            continue
        if samples.targets is None:
            yield f"{part}: no targets."
            return
        expected, target = (*size, len(competition.classes)), samples.targets[i]
        if target.shape != expected or not np.isin(target, (0, 1)).all():
            yield f"{what}: masks {target.dtype} {target.shape}, expected 0 and 1 in {expected}."
        if samples.valid is not None and (samples.valid[i].shape, samples.valid[i].dtype) != (size, np.bool_):
            yield f"{what}: valid is {samples.valid[i].dtype} {samples.valid[i].shape}, expected bool {size}."


def _problems_of_metric(metric: Metric, samples: Samples) -> Iterator[str]:
    """What is wrong with statistics of single samples, and with the scores of the truth and of its reverse."""
    rows, targets = _some(samples), samples.targets
    assert targets is not None
    stats: dict[str, list[np.ndarray]] = {"right": [], "wrong": []}
    for i in rows:
        target = targets[i].astype(bool)[np.newaxis]
        valid = None if samples.valid is None else samples.valid[i][np.newaxis]
        before = target.copy()
        stats["right"].append(metric.stats(target=target, pred=target.copy(), valid=valid))
        stats["wrong"].append(metric.stats(target=target, pred=~target, valid=valid))
        if not np.array_equal(before, target):
            yield "metric: stats changes the arrays that it is given. Copy them."
    if any(one.shape[0] != 1 or one.ndim != 2 or one.dtype != np.float64 for one in stats["right"]):
        yield "metric: stats of one sample, expected float64 (1, S)."
        return
    right, wrong = (metric.score(np.concatenate(stats[kind])) for kind in ("right", "wrong"))
    if np.isnan([right, wrong]).any():
        yield f"metric: the truth scores {right:g}, its reverse {wrong:g}. Say what a mask scores that is empty twice."
    elif not (right > wrong if metric.greater_is_better else right < wrong):
        yield f"metric: the truth scores {right:g}, its reverse {wrong:g}. Is greater_is_better right?"
    if not isinstance(metric, VolumeMetric):  # rows of a volume belong together
        yield from _problems_of_parts(metric, samples)


def _problems_of_parts(metric: Metric, samples: Samples) -> Iterator[str]:
    """Whether samples, each predicted as the one before it, score the same at once, in two halves and one by one."""
    assert samples.targets is not None
    found = [samples.targets] if samples.valid is None else [samples.targets, samples.valid]
    rows, (target, *valid) = next(stacks(_some(samples), found))
    target = target.astype(bool)
    pred, count, scores = np.roll(target, 1, axis=0), len(rows), {}
    for how, size in (("at once", count), ("in two halves", (count + 1) // 2), ("one by one", 1)):
        stats = []
        for part in (slice(start, start + size) for start in range(0, count, size)):
            own = target[part]
            stats.append(metric.stats(target=own, pred=pred[part], valid=valid[0][part] if valid else None))
            if len(stats[-1]) != len(own):
                yield f"metric: stats of {len(own)} samples have shape {stats[-1].shape}, expected ({len(own)}, S)."
                return
        scores[how] = metric.score(np.concatenate(stats))
    if not np.allclose(list(scores.values()), scores["at once"], rtol=1e-9, atol=0, equal_nan=True):
        told = ", ".join(f"{how} {score:g}" for how, score in scores.items())
        yield f"metric: {count} samples score {told}. Let each row of stats depend on its own sample only."


def _problems_of_submission(competition: Competition, samples: Samples) -> Iterator[str]:
    """What is wrong with a submission of the true masks, written, read back and scored against itself."""
    rows, targets = _some(samples), samples.targets
    assert targets is not None
    masks: ArraySequence = LazyArrays(len(rows), lambda i: targets[rows[i]].astype(bool))
    ids = samples.ids[rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.csv"
        write_submission(path, ids, masks, competition.submission, None, {})
        read = competition.read_pred(path, ids)
    if any(not np.array_equal(read[i], masks[i]) for i in range(len(rows))):
        yield "submission: masks that are written are not those that `read_pred` reads."


def _of_sample(competition: Competition, table: Path, test: Samples) -> Iterator[str]:
    """What is wrong with the sample submission."""
    sample = competition.submission.read(table)
    yield from competition.submission.problems(sample, None)
    try:
        competition.submission.check_sample(table, test.ids)
    except InvalidSubmission as error:
        yield str(error)


def _some(samples: Samples) -> list[int]:
    rows: list[int] = np.unique(np.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).astype(int)).tolist()
    return rows


def _spelled(size: Sequence[int]) -> str:
    return " x ".join(map(str, size)) or "of no size"


def _shown(samples: Samples, competition: Competition) -> str:
    """Images, masks and groups in words."""
    parts = ["no images"]
    if not isinstance(samples.inputs, NoImages):
        images = [samples.inputs[i] for i in _some(samples)]
        parts = [f"images {images[0].dtype} {', '.join(sorted({str(image.shape) for image in images}))}"]
    grid = competition.grid
    parts.append("masks of their size" if grid is None else f"masks {_spelled(grid)}")
    if samples.groups is not None:
        parts.append(f"{len(np.unique(samples.groups))} groups")
    return ", ".join(parts)


def _raised(what: str, find: Callable[[], Iterator[str]]) -> list[str]:
    """What `find` yields; an exception of the competition's own code is one more problem."""
    try:
        return list(find())
    except SkyfoldError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return [f"{what}: {type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})."]


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file."""
    states = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}
