"""Build the pages of a leaderboard of contest size: 10,000 images of 350x525, four classes, 60 entries.

    python benchmarks/leaderboard_site.py FOLDER                           writes about 9 GB below FOLDER
    python benchmarks/leaderboard_site.py FOLDER --images 100 --entries 4      does it run at all?

Entries are stored as training and scoring store them; of their out-of-fold rows only those are written that a page may
show. The pages are built with no thumbnail there yet, again, and after one more entry, each in a process of its own.
Figures go to benchmarks/results/leaderboard_site.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from figures import RESULTS

from skyfold.config.data import DataConfig
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_masks
from skyfold.files import write_json
from skyfold.pipeline.site.next_blend import few_rows
from skyfold.postprocess.evaluate import map_columns, write_rows
from skyfold.store import rows as row_store
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import WEIGHTS, write_history
from skyfold.store.folds import make_folds, save_folds
from skyfold.store.records import write_record
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo, begin_run, open_rows
from skyfold.workspace import Workspace

HEIGHT, WIDTH, CLASSES = 350, 525, ("a", "b", "c", "d")
DISTINCT = 100  # images; the others are the same files under other names
DISPUTED = 60  # images that entries score differently
DATA = {
    "competition": "mask_folder",
    "name": "sky",
    "options": {"classes": {name: value for value, name in enumerate(CLASSES, start=1)}},
    "folds": {"phash_max_distance": -1},
}


def write_data(folder: Path, images: int) -> None:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(images):
        image, mask = folder / "images" / f"{number:05}.jpg", folder / "masks" / f"{number:05}.png"
        if number >= DISTINCT:
            for path in (image, mask):
                os.link(path.with_stem(f"{number % DISTINCT:05}"), path)
            continue
        field = cv2.resize(rng.random((8, 12, 3), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(image), (field * 220 + rng.normal(0, 12, field.shape)).clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(mask), np.minimum(np.digitize(field[..., 0], [0.4, 0.55, 0.7, 0.85]), 4).astype(np.uint8))


def write_entry(dataset: Dataset, data: DataConfig, workspace: Workspace, number: int) -> None:
    """A run of five fits, scored."""
    rng, samples, folds = np.random.default_rng(number), dataset.train, dataset.folds
    config = RunConfig(name=f"run_{number:02}", data=data, model={"family": "unet"}, image={"size": [64, 96]})
    folder = workspace.run(data.folder, config.name)
    fingerprint = Fingerprint(folds=folds.hash(), fit=config.fit_hash(), rows=config.hash())
    info = RunInfo(config.name, "run", config.task, CLASSES, "probability", config.stored(), fingerprint)
    # Images differ in difficulty, in the same way for all entries, but for some on which these differ most.
    drawn = np.random.default_rng(1)
    difficulty, disputed = drawn.random((len(samples), 1)), drawn.permutation(len(samples))[:DISPUTED]
    noise = rng.normal(0, 0.03, (len(samples), 4))
    noise[disputed] *= 10
    scores = np.clip(0.3 + 0.4 * difficulty + noise + 0.001 * number, 0, 1)
    mean = float(scores.mean())
    info.scores.update({"cv_at_0.5": mean - 0.01, "cv_in_sample": mean + 0.01, "cv_cross_fitted": mean})
    info.scores.update({"low": mean - 0.005, "high": mean + 0.005, "optimism": 0.01, "metric": "mean_dice"})
    begin_run(folder, info)
    dataset.contents.record(folder)
    columns = {}
    for stage in ("cv_at_0.5", "cv_in_sample", "cv_cross_fitted", "all_empty"):
        columns |= map_columns(stage, scores, CLASSES)
    write_rows(folder / "rows.csv", samples.ids, folds, columns)
    counts = np.sort(rng.integers(0, 40000, (DISTINCT, 4, 2, 256), dtype=np.int32))[..., ::-1]
    counts[:, :, 1] += counts[:, :, 0]
    histogram = RowStore.open_or_create(
        folder / "threshold_sweep" / "histogram", ids=samples.ids, shape=(4, 2, 256), dtype="<i4", fingerprint="sweep"
    )
    histogram.write(np.arange(len(samples)), [counts[row % DISTINCT] for row in range(len(samples))])
    oof = open_rows(folder, "oof", info, ids=samples.ids, shape=(HEIGHT, WIDTH, 4), dtype="uint8")
    order = np.argsort(scores.mean(axis=1), kind="stable")
    rows = {
        *order[:12].tolist(),
        *order[-12:].tolist(),
        *np.random.default_rng(0).permutation(len(samples))[:12].tolist(),
    }
    rows |= set(disputed.tolist())
    rows |= set(few_rows(folds, (HEIGHT, WIDTH, len(CLASSES))).tolist())
    assert samples.targets is not None
    for row in sorted(rows):
        noise = cv2.resize(rng.random((9, 14, 4), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        soft = cv2.GaussianBlur(samples.targets[row].astype(np.float32), (0, 0), 7) * 0.7 + noise * 0.4
        oof.write(np.array([row]), [np.clip(soft * 255, 0, 255).astype(np.uint8)])
    (folder / "models").mkdir(exist_ok=True)
    for fold in range(5):
        losses = np.exp(-np.arange(60) / 20) + rng.normal(0, 0.02, 60)
        history = [
            {"epoch": e + 1, "loss": loss, "val_loss": loss + 0.1, "val_score": 1 - loss, "lr": 1e-3, "seconds": 30.0}
            | {"images_per_second": 80.0}
            for e, loss in enumerate(losses.tolist())
        ]
        stem = folder / "models" / f"fold{fold}_seed0"
        write_history(stem.with_suffix(".csv"), history)
        stem.with_suffix(WEIGHTS).write_bytes(b"weights")
        about = {"score": 0.6, "best_epoch": 50, "epochs": 60, "seconds": 1800.0, "weights_sha256": "0" * 64}
        write_record(stem.with_suffix(".json"), {"fingerprint": fingerprint.to_json(), **about})


def built(folder: Path, *options: str) -> dict[str, float]:
    """CPU seconds and the greatest memory of the command in a process of its own."""
    command = [sys.executable, "-m", "skyfold", "leaderboard", "sky", "--root", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed; its error stands above")
    return {"cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss_gb": usage.ru_maxrss / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=60)
    given = parser.parse_args()
    # Rows that no page shows are never written; training reserves their space.
    row_store.os = argparse.Namespace(**{name: vars(os)[name] for name in vars(os) if name != "posix_fallocate"})
    workspace, data, site = Workspace(given.folder), DataConfig(**DATA), given.folder / "site"
    (given.folder / "configs").mkdir(parents=True)
    write_data(workspace.root / "data" / "sky", given.images)
    ids = np.array([path.stem for path in sorted((workspace.root / "data" / "sky" / "masks").iterdir())])
    labels = np.zeros((len(ids), 0), dtype=bool)
    save_folds(data, make_folds(ids=ids, labels=labels, groups=np.arange(len(ids)), k=5, seed=0), workspace)
    dataset = open_masks(data, workspace)
    for number in range(given.entries):
        write_entry(dataset, data, workspace, number)
    html = ("--html", str(site))
    found: dict[str, object] = {"images": given.images, "entries": given.entries, "table alone": built(given.folder)}
    found |= {"first build": built(given.folder, *html), "second build": built(given.folder, *html)}
    write_entry(dataset, data, workspace, given.entries)
    found["build after one more entry"] = built(given.folder, *html)
    sizes = {path: path.stat().st_size for path in site.rglob("*") if path.is_file()}
    found["site_mb"] = sum(sizes.values()) / 1e6
    found["board_kb"] = sum(sizes[site / name] for name in ("index.html", "site.css", "site.js")) / 1e3
    found["thumbnails"] = sum(path.suffix == ".webp" for path in sizes)
    print(json.dumps(found, indent=2))
    write_json(RESULTS / "leaderboard_site.json", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
