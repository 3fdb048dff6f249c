"""What differs between two runs or blends: config, data, folds, and by how much they score apart.

Two entries of a leaderboard that look alike may come from other folds or another data set; their scores then cannot be
compared, and this says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skyfold.errors import OofMismatch
from skyfold.metrics.bootstrap import Interval
from skyfold.oof_store import RunInfo, read_info
from skyfold.pipeline.evaluate import difference
from skyfold.types import JsonDict

SCORES = ("at_half", "naive", "cross_fitted")
NAMES_NOTHING = {"name"}


@dataclass(frozen=True)
class Comparison:
    """config: dotted key -> (value of the first, of the second), where they differ; None: the key is absent.

    kinds: of both, "masks", "presence" or "blend"; same_data, same_folds: whether they are; scores: of both, by name;
    gain: first minus second, cross-fitted and paired, None for the reason in `not_paired`.
    """

    names: tuple[str, str]
    kinds: tuple[str, str]
    config: dict[str, tuple[object, object]]
    same_data: bool
    same_folds: bool
    scores: dict[str, tuple[float | None, float | None]]
    gain: Interval | None
    not_paired: str


def compare(first: Path, second: Path) -> Comparison:
    """Compare the run folders `first` and `second`; OofMismatch where there is no run."""
    one, other = read_info(first), read_info(second)
    metrics = [str(info.scores.get("metric", "mean_dice")) for info in (one, other)]
    gain, reason = None, f"{one.name} is scored by {metrics[0]}, {other.name} by {metrics[1]}"
    if metrics[0] == metrics[1]:
        try:
            gain = difference(first / "rows.csv", second / "rows.csv", metric=metrics[0])
        except OofMismatch as error:
            reason = str(error)
    return Comparison(
        names=(one.name, other.name),
        kinds=(one.kind, other.kind),
        config=_differing(one, other),
        same_data=one.data_hash == other.data_hash or not (one.data_hash and other.data_hash),
        same_folds=one.folds_hash == other.folds_hash,
        scores={name: (one.scores.get(name), other.scores.get(name)) for name in SCORES},
        gain=gain,
        not_paired=reason,
    )


def as_lines(comparison: Comparison) -> list[str]:
    """The comparison in words, most important first."""
    one, other = comparison.names
    width = max(len("cross_fitted"), *(len(key) for key in comparison.config), 0)
    lines = [f"{'':{width}}  {one}  |  {other}"]
    for name, (mine, theirs) in comparison.scores.items():
        lines.append(f"{name:{width}}  {_figure(mine)}  |  {_figure(theirs)}")
    if comparison.gain is not None:
        gain = comparison.gain
        lines.append(f"{one} - {other}, cross-fitted, paired: {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})")
    else:
        lines.append(f"not compared image by image: {comparison.not_paired}")
    lines.append(f"folds: {'the same' if comparison.same_folds else 'DIFFERENT, the scores cannot be compared'}")
    lines.append(f"training images and masks: {'the same' if comparison.same_data else 'DIFFERENT'}")
    if comparison.kinds[0] != comparison.kinds[1]:
        return [*lines, f"config: not compared, they are of two kinds, {' and '.join(comparison.kinds)}"]
    lines += [f"{key:{width}}  {_shown(a)}  |  {_shown(b)}" for key, (a, b) in comparison.config.items()]
    return lines if comparison.config else [*lines, "config: the same"]


def _differing(one: RunInfo, other: RunInfo) -> dict[str, tuple[object, object]]:
    flat = [_flat(info.config, "") for info in (one, other)]
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
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
