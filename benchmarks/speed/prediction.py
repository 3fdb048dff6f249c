"""Predicting on a CPU with a bundle: memory, time to the first mask, many images.

Images are the JPEGs of 1400 x 2100 of the procedural sample, predicted at 350 x 525 by the fits of two folds.

Memory is what the process has for itself (RssAnon), sampled every few milliseconds, above that of `import keras`. The
first mask is timed from the start of the command to its end, with one image: in the second run of a folder, with the
caches of the libraries that lie there, and in a new one.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from timing import Line

from skyfold.cli.main import main as skyfold

SIZE = (350, 525)
EXTRA_MB, WARM_SECONDS, EMPTY_SECONDS = 400, 8, 15  # what is wanted
RUN = """
name: {name}
data: {{competition: understanding_clouds, name: speed, folds: {{k: 2, phash_max_distance: -1}}, sample: {sample}}}
image: {{size: {size}}}
model: {model}
training: {{epochs: 1, batch_size: 4}}
"""
MODELS = {
    "resnet18": "{family: segmentation_models, options: {encoder: resnet18, encoder_weights: none}}",
    "small": "{family: plain_unet, options: {filters: [8, 16, 32]}}",
}


def lines(*, quick: bool) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        bundles = _bundles(Path(folder), quick=quick)
        images = sorted((Path(folder) / "data" / "speed" / "test_images").iterdir())
        return [
            *_memory(bundles, images, Path(folder), many=(3, 5) if quick else (60, 1000)),
            *_first_mask(bundles["resnet18"], images[0], Path(folder), rounds=1 if quick else 3),
        ]


@dataclass(frozen=True)
class Taken:
    """What a command took: most memory of its own in MB, seconds, and seconds of the processor."""

    megabytes: float
    seconds: float
    cpu_seconds: float


def taken(command: Sequence[str | Path]) -> Taken:
    """Run a command to its end; RuntimeError where it fails."""
    start, before, most = time.perf_counter(), _children(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            own = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0")
            most = max(most, int(own.split()[1]) / 1024)
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(map(str, command))}")
    return Taken(most, time.perf_counter() - start, _children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bundles(root: Path, *, quick: bool) -> dict[str, Path]:
    """A bundle of each of `MODELS`, trained for one epoch on a few images."""
    (root / "configs").mkdir()
    size = (32, 48) if quick else SIZE
    sample = f"{{train: 4, test: 3, height: {112 if quick else 1400}}}"
    bundles = {name: root / f"bundle_{name}" for name in MODELS}
    for name, bundle in bundles.items():
        config = root / "configs" / f"{name}.yaml"
        config.write_text(RUN.format(name=name, sample=sample, size=list(size), model=MODELS[name]))
        for command in (["run", config], ["pack", config, "--out", bundle]):
            if code := skyfold([*map(str, command), "--root", str(root)]):
                raise RuntimeError(f"exit code {code}: {command}")
    return bundles


def _predict(bundle: Path, images: Path, out: Path) -> list[str | Path]:
    return [sys.executable, "-m", "skyfold", "predict", bundle, "--images", images, "--out", out, "--write", "masks"]


def _copies(images: Sequence[Path], count: int, folder: Path) -> Path:
    """A folder of `count` images, hard links of `images` in turns."""
    folder.mkdir()
    for number in range(count):
        os.link(images[number % len(images)], folder / f"i{number:04}.jpg")
    return folder


def _memory(bundles: dict[str, Path], images: Sequence[Path], root: Path, *, many: tuple[int, int]) -> list[Line]:
    bare = taken([sys.executable, "-c", "import keras"]).megabytes
    found = [Line("memory: import keras", "", bare, bare, bare, "MB")]
    for (name, bundle), count in zip(bundles.items(), many, strict=True):
        folder = _copies(images, count, root / f"images_{name}")
        took = taken(_predict(bundle, folder, root / f"out_{name}"))
        above, what = took.megabytes - bare, f"{count} images of {SIZE[0]} x {SIZE[1]}, {name}"
        note = f"{took.megabytes:.0f} MB in all"
        found.append(Line(f"memory above it: {what}", "", above, above, above, "MB", EXTRA_MB, note))
        rate = count / took.seconds
        note = f"{took.seconds:.0f} s, {took.cpu_seconds:.0f} s of the processor"
        found.append(Line(f"predict: {what}", "", rate, rate, rate, "images/s", None, note))
    return found


def _first_mask(bundle: Path, image: Path, root: Path, *, rounds: int) -> list[Line]:
    one = _copies([image], 1, root / "one")
    took: dict[str, list[Taken]] = {"warm": [], "empty": []}
    for number in range(rounds):
        out = root / f"first{number}"
        took["empty"].append(taken(_predict(bundle, one, out)))
        for made in (out / "masks", out / ".work" / "rows", out / ".work" / "cache"):
            shutil.rmtree(made)
        took["warm"].append(taken(_predict(bundle, one, out)))
    found = []
    for caches, wanted in (("warm", WARM_SECONDS), ("empty", EMPTY_SECONDS)):
        each = [one.seconds for one in took[caches]]
        note = f"{median(one.cpu_seconds for one in took[caches]):.1f} s of the processor"
        what = f"first mask, {caches} caches"
        found.append(Line(what, "", median(each), min(each), max(each), "s", wanted, note))
    return found
