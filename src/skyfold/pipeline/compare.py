"""Differences between two runs, blends or forecasts: scores, folds, data and config.

Two entries of a leaderboard may come from other folds or other data; their scores cannot be compared then.
"""

from __future__ import annotations

from pathlib import Path

from skyfold.errors import OofMismatch
from skyfold.plugins import nearest
from skyfold.reports.mixed_fits import mixed_fits
from skyfold.reports.text_table import aligned
from skyfold.store.contents import read_contents
from skyfold.store.runs import RunInfo, current_fingerprint, read_info, read_made_blend
from skyfold.tasks import task_class
from skyfold.types import JsonDict

WEIGHTS = "initial weights"  # by what they hold: a file may change and keep its name, or move and be the same
INIT_KEYS = ("model.options.encoder_weights", "model.init_from.run", "model.init_from.data")  # where they lie
NOT_RECORDED = "not recorded"  # by an older version
NOT_SET = "not set"  # a key at its default is not stored where it was added to configs later
LONGEST = 60


def compare(first: Path, second: Path) -> list[str]:
    """Compare what is stored in the folders `first` and `second`; lines of text, the most important first.

    The scores of both, their paired difference with a 95 % interval, whether folds and data are the same, the members
    of blends, and the config keys that differ. OofMismatch where a folder holds no run, with the names of those beside.
    """
    infos = _info(first), _info(second)
    names = _names(first, second, *(info.name for info in infos))
    pair = task_class(infos[0].task).paired(first, second)
    rows = [
        [label, *("-" if value is None else f"{value:.4f}" for value in both)] for label, both in pair.scores.items()
    ]
    lines = aligned([[pair.metrics[0] if len(set(pair.metrics)) == 1 else "score", *names], *rows]).splitlines()
    if isinstance(pair.gain, str):
        lines.append(f"not compared {pair.sample}: {pair.gain}")
    else:
        interval = f"({pair.gain.low:+.4f} to {pair.gain.high:+.4f})"
        lines.append(f"{' - '.join(names)}: {pair.gain.value:+.4f} {interval}, {pair.what}, 95 %")
    same_folds = infos[0].fingerprint.folds == infos[1].fingerprint.folds
    lines.append(f"folds: {'the same' if same_folds else 'DIFFERENT, the scores cannot be compared'}")
    lines.append(f"{pair.inputs}: {_contents(first, second) or _data(*infos)}")
    blends = [pair for pair in zip(names, (first, second), strict=True) if (pair[1] / "blend.json").is_file()]
    lines += [f"{name}: {_members(read_made_blend(folder))}" for name, folder in blends]
    mixed = [mixed_fits(name, folder / "models") for name, folder in zip(names, (first, second), strict=True)]
    lines += filter(None, mixed)
    if infos[0].kind != infos[1].kind:
        return [*lines, f"config: not compared, they are of two kinds, {' and '.join(info.kind for info in infos)}"]
    differing = config_differences(*infos)
    if not differing:
        return [*lines, "config: the same"]
    return [*lines, "", *aligned([["config", *names], *differing]).splitlines()]


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


def _contents(first: Path, second: Path) -> str:
    """Whether both were made from the same samples; '' where this was not recorded."""
    one, other = read_contents(first), read_contents(second)
    if one is None or other is None:
        return ""
    changes = one.changes(other)
    return f"DIFFERENT: {changes[0]}" if changes else "the same"


def _data(one: RunInfo, other: RunInfo) -> str:
    """Whether both learned from the same data. Digests are of images as the network sees them, at its size."""
    if one.fingerprint.data == other.fingerprint.data:
        return "the same" if one.fingerprint.data else "not recorded of blends; look at their runs"
    if not one.fingerprint.data or not other.fingerprint.data:
        return "not recorded of a blend; look at its runs"
    images = [info.config.get("image") or {} for info in (one, other)]
    sizes = [image.get("size") for image in images]
    if sizes[0] != sizes[1]:
        return f"seen at other sizes, {sizes[0]} and {sizes[1]}; not compared"
    if bool(images[0].get("crop")) != bool(images[1].get("crop")):
        return "seen whole by one and by crops by the other; not compared"
    if one.classes != other.classes:
        return f"of other classes, {', '.join(one.classes)} and {', '.join(other.classes)}; not compared"
    return "DIFFERENT"


def _members(made: JsonDict) -> str:
    """What a blend is made of, from its `blend.json`."""
    config = made["config"]
    weighed = config.get("merge") is None and config["combine"] != "stack"
    runs = [
        f"{run['name']} {weight:.2f}" if weighed else str(run["name"])
        for run, weight in zip(made["runs"], made["weights"], strict=True)
    ]
    merge = f", merged by {config['merge']['rule']}" if config.get("merge") else ""
    gate = f", gated by {made['gate']['name']}" if made["gate"] else ""
    return f"{config['combine']} of {', '.join(runs)}{merge}{gate}"


def config_differences(*infos: RunInfo) -> list[list[str]]:
    """Dotted key and both values, as text, of each key of the configs of two infos that differs."""
    flat, weights = [_flat(info.config, "") for info in infos], [current_fingerprint(i).init_weights for i in infos]
    keys = sorted({*flat[0], *flat[1]} - {"name"})
    if weights[0] and weights[0] == weights[1]:
        keys = [key for key in keys if key not in INIT_KEYS]
    elif any(weights):
        keys.append(WEIGHTS)
        for values, own in zip(flat, weights, strict=True):
            values[WEIGHTS] = NOT_RECORDED if own is None else own or None
    both = {key: [values.get(key) for values in flat] for key in keys}
    return [[key, *map(_shown, values)] for key, values in both.items() if values[0] != values[1]]


def _flat(values: JsonDict, prefix: str) -> JsonDict:
    found: JsonDict = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _shown(value: object) -> str:
    text = NOT_SET if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
