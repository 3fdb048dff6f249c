"""What differs between two runs or blends: config, data, folds, and by how much they score apart.

Two entries of a leaderboard that look alike may come from other folds or another data set; their scores then cannot be
compared, and this says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skyfold.competition import build
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import read_json
from skyfold.metrics.bootstrap import Interval
from skyfold.metrics.forecast_sums import better_in, paired_by_case, read_sums
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.plugins import nearest
from skyfold.postprocess.evaluate import difference
from skyfold.reports.text_table import aligned
from skyfold.store.runs import RunInfo, read_info
from skyfold.types import JsonDict, Metric

SCORES = {"cv_at_0.5": "at 0.5", "cv_in_sample": "in-sample", "cv_cross_fitted": "cross-fitted"}
NAMES_NOTHING = {"name"}
WEIGHTS = "sha256 of the weights begun with"  # a file may change and keep its name
NOT_SET = "not set"  # a key at its default is not stored where it was added to configs later
LONGEST = 60


@dataclass(frozen=True)
class Comparison:
    """config: dotted key -> (value of the first, of the second), where they differ; None: the key is absent.

    kinds: of both, "segmentation", "classification", "blend" or "forecasting"; data: whether they learned from the
    same images and
    masks, or were made from the same frames, in words; same_folds: whether they are; metrics: that each is scored by;
    scores: of both, by name; members: of a blend, what it is made of, in words, else ''; gain: first minus second,
    paired, None for the reason in `not_paired`; paired: what is paired, in words.
    """

    names: tuple[str, str]
    kinds: tuple[str, str]
    are_forecasts: bool
    config: dict[str, tuple[object, object]]
    data: str
    same_folds: bool
    metrics: tuple[str, str]
    scores: dict[str, tuple[float | None, float | None]]
    members: tuple[str, str]
    gain: Interval | None
    not_paired: str
    paired: str = "cross-fitted, paired"


def compare(first: Path, second: Path) -> Comparison:
    """Compare the run folders `first` and `second`; OofMismatch where there is no run, naming those that are there."""
    one, other = (_info(folder) for folder in (first, second))
    if one.task == other.task == "forecasting":
        return _forecasts(first, second, one, other)
    metrics = str(one.scores.get("metric", "mean_dice")), str(other.scores.get("metric", "mean_dice"))
    gain, reason = None, f"{one.name} is scored by {metrics[0]}, {other.name} by {metrics[1]}"
    unscored = [
        info.name for info in (one, other) if info.task != "classification" and "cv_cross_fitted" not in info.scores
    ]
    if unscored:
        reason = f"{' and '.join(unscored)} not scored yet"
    elif metrics[0] == metrics[1]:
        try:
            gain = difference(first / "rows.csv", second / "rows.csv", metric=_metric(metrics[0], one))
        except (OofMismatch, ConfigError) as error:
            reason = str(error)
    return Comparison(
        names=_names(first, second, one.name, other.name),
        kinds=(one.kind, other.kind),
        are_forecasts=one.task == other.task == "forecasting",
        config=_differing(one, other),
        data=_data(one, other),
        same_folds=one.fingerprint.folds == other.fingerprint.folds,
        metrics=metrics,
        scores={name: (one.scores.get(name), other.scores.get(name)) for name in SCORES},
        members=(_members(first), _members(second)),
        gain=gain,
        not_paired=reason,
    )


def as_lines(comparison: Comparison) -> list[str]:
    """The comparison in words, most important first."""
    one, other = comparison.names
    metric = comparison.metrics[0] if len(set(comparison.metrics)) == 1 else "score"
    scores = [[SCORES.get(name, name), *map(_figure, both)] for name, both in comparison.scores.items()]
    lines = aligned([[metric, one, other], *scores]).splitlines()
    if comparison.gain is not None:
        gain = comparison.gain
        lines.append(
            f"{one} - {other}: {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), {comparison.paired}, 95 %"
        )
    elif comparison.are_forecasts:
        lines.append(f"not compared date by date: {comparison.not_paired}")
    else:
        lines.append(f"not compared image by image: {comparison.not_paired}")
    lines.append(f"folds: {'the same' if comparison.same_folds else 'DIFFERENT, the scores cannot be compared'}")
    made_from = "frames" if comparison.are_forecasts else "training images and masks"
    lines.append(f"{made_from}: {comparison.data}")
    lines += [f"{name}: {words}" for name, words in zip(comparison.names, comparison.members, strict=True) if words]
    if comparison.kinds[0] != comparison.kinds[1]:
        return [*lines, f"config: not compared, they are of two kinds, {' and '.join(comparison.kinds)}"]
    if not comparison.config:
        return [*lines, "config: the same"]
    rows = [[key, *map(_shown, values)] for key, values in comparison.config.items()]
    return [*lines, "", *aligned([["config", one, other], *rows]).splitlines()]


def _forecasts(first: Path, second: Path, one: RunInfo, other: RunInfo) -> Comparison:
    gain, reason, paired = None, "", ""
    metrics = ("score", "score")
    scores: dict[str, tuple[float | None, float | None]] = {}
    try:
        ours, theirs = read_sums(first), read_sums(second)
        metrics = ours.metric.name, theirs.metric.name
        own, others = (float(sums.metric.score(sums.contest)) for sums in (ours, theirs))
        scores = {"out of fold, less is better": (own, others)}
        gain = paired_by_case(ours, theirs)
        paired = f"paired, better in {better_in(ours, theirs)} of {len(ours.cases)} dates or events"
    except OofMismatch as error:
        reason = str(error)
    return Comparison(
        names=_names(first, second, one.name, other.name),
        kinds=(one.kind, other.kind),
        are_forecasts=one.task == other.task == "forecasting",
        config=_differing(one, other),
        data=_data(one, other),
        same_folds=one.fingerprint.folds == other.fingerprint.folds,
        metrics=metrics,
        scores=scores,
        members=("", ""),
        gain=gain,
        not_paired=reason,
        paired=paired,
    )


def _metric(name: str, info: RunInfo) -> Metric:
    """The metric of this name; ConfigError where neither skyfold nor the run's competition has it."""
    if name in METRICS or "data" not in info.config:
        return named_metric(name)
    return build(info.config["data"]["competition"], info.config["data"]["options"]).metric


def _info(folder: Path) -> RunInfo:
    if not (folder / "run.json").is_file() and folder.parent.is_dir():
        there = sorted(path.parent.name for path in folder.parent.glob("*/run.json"))
        if there:
            raise OofMismatch(
                f"{folder}: no run here{nearest(folder.name, there)}. There are: {', '.join(there)}. For one of "
                "another data set or working folder, give its folder."
            )
    return read_info(folder)


def _names(first: Path, second: Path, one: str, other: str) -> tuple[str, str]:
    """As short as tells them apart."""
    if one != other:
        return one, other
    with_data = f"{first.parent.name}/{one}", f"{second.parent.name}/{other}"
    return with_data if with_data[0] != with_data[1] else (str(first), str(second))


def _data(one: RunInfo, other: RunInfo) -> str:
    """The digests are of images and masks as the network sees them, and tell nothing where that differs."""
    if one.fingerprint.data == other.fingerprint.data:
        return "the same" if one.fingerprint.data else "not recorded of blends; look at their runs"
    if not one.fingerprint.data or not other.fingerprint.data:
        return "not recorded of a blend; look at its runs"
    sizes = [(info.config.get("image") or {}).get("size") for info in (one, other)]
    if sizes[0] != sizes[1]:
        return f"seen at other sizes, {sizes[0]} and {sizes[1]}; not compared"
    cut = [bool((info.config.get("image") or {}).get("crop")) for info in (one, other)]
    if cut[0] != cut[1]:
        return "seen whole by one and by crops by the other; not compared"
    if one.classes != other.classes:
        return f"of other classes, {', '.join(one.classes)} and {', '.join(other.classes)}; not compared"
    return "DIFFERENT"


def _members(folder: Path) -> str:
    if not (folder / "blend.json").is_file():
        return ""
    made: JsonDict = read_json(folder / "blend.json")
    config = made["config"]
    weighed = config.get("merge") is None and config["combine"] != "stack"
    runs = [
        f"{run['name']} {weight:.2f}" if weighed else str(run["name"])
        for run, weight in zip(made["runs"], made["weights"], strict=True)
    ]
    merge = f", merged by {config['merge']['rule']}" if config.get("merge") else ""
    gate = f", gated by {made['gate']['name']}" if made["gate"] else ""
    return f"{config['combine']} of {', '.join(runs)}{merge}{gate}"


def _differing(one: RunInfo, other: RunInfo) -> dict[str, tuple[object, object]]:
    flat = [_flat(info.config, "") for info in (one, other)]
    for values, info in zip(flat, (one, other), strict=True):
        values[WEIGHTS] = info.fingerprint.init_weights or None
    keys = sorted({*flat[0], *flat[1]} - NAMES_NOTHING)
    return {key: (flat[0].get(key), flat[1].get(key)) for key in keys if flat[0].get(key) != flat[1].get(key)}


def _flat(values: JsonDict, prefix: str) -> JsonDict:
    found: JsonDict = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _shown(value: object) -> str:
    text = NOT_SET if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
