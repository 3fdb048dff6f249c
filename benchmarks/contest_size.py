"""Blend and submit at contest size: 5,546 and 3,698 images of 350x525, four classes, three members and a gate.

    python benchmarks/contest_size.py FOLDER            writes about 30 GB below FOLDER; skipped below 60 GB free
    python benchmarks/contest_size.py FOLDER --images 60 --tests 40       does it run at all?

Members are random smooth maps, stored as training stores them; no file is sparse. The label rows are the real ones of
$SKYFOLD_DATA/clouds_labels, drawn at the images' size. Blend and submit run in a process of their own, first with no
stored threshold sweep, then with those of the members. Beside them: the disk's own read rate, and the same steps as a
NumPy/pandas notebook does them, timed on 200 images and scaled. Figures go to benchmarks/results/contest_size.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from figures import RESULTS
from speed.classic import dice, mask_to_text
from speed.maps import HEIGHT, WIDTH, cloud_masks
from timing import data_folder

from skyfold.cli.main import main as skyfold
from skyfold.config.files import load_blend
from skyfold.config.run import RunConfig
from skyfold.data.dataset import open_masks
from skyfold.files import write_json
from skyfold.rle.codec import encode_many
from skyfold.store import rows as row_store
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import make_folds, save_folds
from skyfold.store.records import RunRecord, read_record, write_record
from skyfold.store.runs import RunInfo, begin_run, open_rows
from skyfold.workspace import Workspace

FREE_BYTES = 60 * 10**9
EXCEL_CELL = 32_767  # characters, at which the reader of tables suspects that a spreadsheet cut a cell off
MEMBERS = ("first", "second", "third")
_bytes_read: Counter[str] = Counter()  # of stored rows in this process, by file
CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
NOTEBOOK_IMAGES = 200
THRESHOLDS = np.linspace(0.1, 0.9, 20)
MIN_AREAS = (0, 1000, 2500, 5000, 7500, 10000, 12500, 15000, 17500, 20000)
CONFIG = f"""
data:
  competition: understanding_clouds
  name: contest
  options: {{grid: [{HEIGHT}, {WIDTH}]}}
  folds: {{phash_max_distance: -1}}
name: blend
image: {{size: [64, 96]}}
model: {{family: colour_threshold}}
runs: [{", ".join(f"{{name: {name}}}" for name in MEMBERS)}]
classifier_gate: {{name: gate, task: classification, model: {{family: efficientnet_classifier}}, loss: {{name: bce}}}}
postprocess: {{min_areas: {list(MIN_AREAS)}}}
"""


def write_contest(folder: Path, images: int, tests: int) -> None:
    """Files of the contest: one grey JPEG under many names, and the label rows of real volunteers."""
    data = folder / "data" / "contest"
    grey = np.full((4 * HEIGHT, 4 * WIDTH, 3), 128, dtype=np.uint8)
    names = {"train": [f"{i:07}.jpg" for i in range(images)], "test": [f"t{i:06}.jpg" for i in range(tests)]}
    for part, files in names.items():
        (data / f"{part}_images").mkdir(parents=True)
        first = data / f"{part}_images" / files[0]
        cv2.imwrite(str(first), grey)
        for name in files[1:]:
            os.link(first, first.with_name(name))
    truth = cloud_masks(images, seed=0)[0]
    texts = []
    for mask in truth:
        texts += encode_many(np.repeat(np.repeat(mask, 4, axis=0), 4, axis=1)[np.newaxis])
    texts = [text + " " if len(text) == EXCEL_CELL else text for text in texts]  # one of them is whole, not cut off
    keys = {part: [f"{name}_{kind}" for name, kind in product(files, CLASSES)] for part, files in names.items()}
    pd.DataFrame({"Image_Label": keys["train"], "EncodedPixels": texts}).to_csv(data / "train.csv", index=False)
    sample = pd.DataFrame({"Image_Label": keys["test"], "EncodedPixels": "1 1"})
    sample.to_csv(data / "sample_submission.csv", index=False)


def write_folds(config: Path, workspace: Workspace) -> None:
    """Folds as `prepare` makes them, without decoding the same JPEG thousands of times."""
    data = load_blend(config).data
    texts = pd.read_csv(workspace.data("contest") / "train.csv", keep_default_na=False)["EncodedPixels"]
    labels = (texts != "").to_numpy().reshape(-1, len(CLASSES))
    ids = np.array([path.name for path in sorted((workspace.data("contest") / "train_images").iterdir())])
    save_folds(data, make_folds(ids=ids, labels=labels, groups=np.arange(len(ids)), k=5, seed=0), workspace)


def write_runs(config: Path, workspace: Workspace) -> None:
    """Rows of the members and the gate: the truth of another image for the test part, blurred, with smooth errors."""
    blend = load_blend(config)
    dataset = open_masks(blend.data, workspace)
    assert dataset.train.targets is not None
    tests = np.array([path.name for path in sorted((workspace.data("contest") / "test_images").iterdir())])
    parts = {"oof": dataset.train.ids, "test": tests}
    for seed, run in enumerate(blend.runs):
        rng = np.random.default_rng(seed)
        for part, ids in parts.items():
            rows = open_rows(
                workspace.run("contest", run.name),
                part,
                _begin(run, workspace, dataset.folds.hash()),
                ids=ids,
                shape=(HEIGHT, WIDTH, len(CLASSES)),
                dtype="uint8",
            )
            for i in range(len(ids)):
                rows.write(
                    np.array([i]), _probabilities(dataset.train.targets[i % len(dataset.train)], rng)[np.newaxis]
                )
                if i % 256 == 0:
                    row_store.release_pages(rows.values)
            rows.flush()
    gate = blend.classifier_gate
    assert gate is not None
    rng = np.random.default_rng(9)
    for part, ids in parts.items():
        info = _begin(gate, workspace, dataset.folds.hash())
        rows = open_rows(
            workspace.run("contest", gate.name), part, info, ids=ids, shape=(len(CLASSES),), dtype="float32"
        )
        there = [dataset.train.targets[i % len(dataset.train)].any(axis=(0, 1)) for i in range(len(ids))]
        logits = 2.0 * np.array(there) - 1.0 + rng.standard_normal((len(ids), len(CLASSES)))
        rows.write(np.arange(len(ids)), (1 / (1 + np.exp(-logits))).astype(np.float32))
        rows.flush()


def _begin(run: RunConfig, workspace: Workspace, folds: str) -> RunInfo:
    fingerprint = Fingerprint(folds=folds, fit=run.fit_hash(), rows=run.hash())
    begun = RunInfo(run.name, "run", run.task, CLASSES, "probability", run.stored(), fingerprint)
    return begin_run(workspace.run("contest", run.name), begun)


def _probabilities(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, K): smooth, and about as good as a model's."""
    small = cv2.resize(target.astype(np.float32), (WIDTH // 8, HEIGHT // 8), interpolation=cv2.INTER_AREA)
    errors = cv2.resize(rng.standard_normal((7, 9, len(CLASSES)), dtype=np.float32), small.shape[1::-1])
    fine = cv2.resize(rng.standard_normal((22, 33, len(CLASSES)), dtype=np.float32), small.shape[1::-1])
    logits = 5.0 * (cv2.GaussianBlur(small, (0, 0), 1.5) - 0.5) + 1.8 * errors + 0.4 * fine - 0.6
    large = cv2.resize(255.0 / (1.0 + np.exp(-logits)), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.rint(np.clip(large, 0, 255)).astype(np.uint8)


class _Counted(np.memmap):
    """A memory map that adds up the bytes that are taken from it."""

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        taken = np.asarray(super().__getitem__(index))
        _bytes_read[str(self.filename)] += taken.nbytes
        return taken


def measured(config: Path, workspace: Workspace) -> dict[str, float]:
    """Blend and submit in this process: seconds, CPU seconds, GB of memory, bytes read over bytes stored."""

    plain_map = row_store._map

    def counted_map(path: Path, *arguments):  # type: ignore[no-untyped-def]
        array = plain_map(path, *arguments)
        if path.name == "values.npy" and path.parent.name in ("oof", "test"):
            array.__class__ = _Counted
        return array

    plain_read = row_store.RowStore.read

    def counted_read(store: row_store.RowStore, rows: np.ndarray) -> np.ndarray:
        found = plain_read(store, rows)
        if store.folder.name in ("oof", "test"):
            _bytes_read[str((store.folder / "values.npy").resolve())] += found.nbytes
        return found

    row_store._map = counted_map
    row_store.RowStore.read = counted_read  # type: ignore[method-assign]
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], float(status.split("RssAnon:")[1].split()[0]) / 1e6)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        for command in ("blend", "submit"):
            if skyfold([command, str(config), "--root", str(workspace.root)]):
                raise SystemExit(f"skyfold {command} failed; its error stands above")
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    times_read = {path: read / Path(path).stat().st_size for path, read in _bytes_read.items() if Path(path).is_file()}
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "rss_anon_gb": peak[0],
        "bytes_read_gb": sum(_bytes_read.values()) / 1e9,
        **{"times_read " + "/".join(Path(path).parts[-3:-1]): times for path, times in sorted(times_read.items())},
    }


def disk_rate(workspace: Workspace) -> float:
    """MB/s of reading a stored file that is not in the system's cache."""
    path = workspace.run("contest", MEMBERS[0]) / "oof" / "values.npy"
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start, read = time.perf_counter(), 0
        while chunk := file.read(1 << 24):
            read += len(chunk)
    return read / 1e6 / (time.perf_counter() - start)


def notebook_seconds(workspace: Workspace, config: Path, images: int, tests: int) -> float:
    """CPU seconds of the usual notebook for all images: timed on some, scaled to `images` and `tests`."""
    dataset = open_masks(load_blend(config).data, workspace)
    assert dataset.train.targets is not None
    maps = [np.load(workspace.run("contest", name) / "oof" / "values.npy", mmap_mode="r") for name in MEMBERS]
    gate = np.load(workspace.run("contest", "gate") / "oof" / "values.npy")
    count = min(NOTEBOOK_IMAGES, images)
    start = time.process_time()
    scores = np.zeros((len(CLASSES), len(THRESHOLDS), len(MIN_AREAS), count))
    for i in range(count):
        prob = np.mean([one[i].astype(np.float32) / 255 for one in maps], axis=0)
        truth = dataset.train.targets[i].astype(np.uint8)
        for k, (t, threshold), (a, area) in product(range(4), enumerate(THRESHOLDS), enumerate(MIN_AREAS)):
            pred = _postprocessed(prob[..., k], threshold, area)
            scores[k, t, a, i] = dice(truth[..., k], pred if gate[i, k] > 0.5 else np.zeros_like(pred))
    searched = (time.process_time() - start) * images / count
    start = time.process_time()
    texts = []
    for i in range(count):
        prob = np.mean([one[i].astype(np.float32) / 255 for one in maps], axis=0)
        texts += [mask_to_text(_postprocessed(prob[..., k], 0.5, 5000)) for k in range(4)]
    pd.DataFrame({"EncodedPixels": texts}).to_csv(workspace.root / "notebook.csv", index=False)
    return searched + (time.process_time() - start) * tests / count


def _postprocessed(prob: np.ndarray, threshold: float, min_area: int) -> np.ndarray:
    """The function `post_process` of the contest's public notebooks."""
    mask = (prob > threshold).astype(np.uint8)
    components, labels = cv2.connectedComponents(mask)
    kept = np.zeros_like(mask)
    for label in range(1, components):
        component = labels == label
        if component.sum() > min_area:
            kept[component] = 1
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=5546)
    parser.add_argument("--tests", type=int, default=3698)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    config, workspace = given.folder / "configs" / "blend.yaml", Workspace(given.folder)
    if given.measure:
        print(json.dumps(measured(config, workspace)))
        return 0
    full = (given.images, given.tests) == (5546, 3698)
    given.folder.mkdir(parents=True, exist_ok=True)
    if full and shutil.disk_usage(given.folder).free < FREE_BYTES and not config.is_file():
        print(f"{given.folder}: skipped, less than {FREE_BYTES / 1e9:.0f} GB are free", file=sys.stderr)
        return 0
    if not config.is_file():
        write_contest(given.folder, given.images, given.tests)
        config.parent.mkdir()
        config.write_text(CONFIG)
        write_folds(config, workspace)
        write_runs(config, workspace)
    found: dict[str, object] = {
        "images": [given.images, given.tests],
        "labels": "real" if data_folder() else "made up",
        "disk_mb_per_s": disk_rate(workspace),
    }
    for name in (*MEMBERS, "blend"):
        shutil.rmtree(workspace.run("contest", name) / "threshold_sweep", ignore_errors=True)
    for name in MEMBERS:  # a member without scores is swept and scored by the blend
        about = workspace.run("contest", name) / "run.json"
        write_record(about, {**read_record(about, RunRecord, remedy=""), "scores": {}})
    for stage in ("no sweep stored", "sweeps of the members stored"):
        shutil.rmtree(workspace.run("contest", "blend"), ignore_errors=True)
        command = [sys.executable, __file__, str(given.folder), "--measure"]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[stage] = json.loads(answer.splitlines()[-1])
    found["notebook_cpu_seconds"] = notebook_seconds(workspace, config, given.images, given.tests)
    print(json.dumps(found, indent=1))
    if full:
        write_json(RESULTS / "contest_size.json", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
